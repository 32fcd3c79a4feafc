// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// hosts are the programs for pods on the host's network, and who is observed
// with them.
type hosts struct {
	objects *hostObjects // loaded when first asked for
	alive   map[ruleset.EndpointID]bool
}

type hostObjects struct {
	bpf.HostPrograms
	Hosts     *ebpf.Map      `ebpf:"hosts"`
	ReadHeads *ebpf.Variable `ebpf:"read_heads"`
	TickNs    *ebpf.Variable `ebpf:"tick_ns"`
	TickZero  *ebpf.Variable `ebpf:"tick_zero"`
}

// HostPod is a pod on the host's network that is observed through its cgroup.
// Close it when its cgroup is gone, too.
type HostPod struct {
	k     *Kernel
	id    ruleset.EndpointID
	links []link.Link
}

// AttachHost observes the sockets of a cgroup (v2) and of those below it as the
// endpoint's. Their connections are in the same table and told by the same
// events, with CONN_NOT_JUDGED set and no verdict. Call it where Watch may be called.
func (k *Kernel) AttachHost(cgroup string, id ruleset.EndpointID) (*HostPod, error) {
	if err := k.loadHost(); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(cgroup, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: cgroup, Err: err}
	}
	h := &HostPod{k: k, id: id}
	k.hosts.alive[id] = true
	k.publish(nil)
	for _, way := range []struct {
		attach  ebpf.AttachType
		program *ebpf.Program
	}{{ebpf.AttachCGroupInetIngress, k.hosts.objects.EbpolHostIn}, {ebpf.AttachCGroupInetEgress, k.hosts.objects.EbpolHostOut}} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: way.attach, Program: way.program})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach to cgroup %q: %w", cgroup, err), h.Close())
		}
		h.links = append(h.links, l)
		key := make([]byte, 16) // cgroup, hook, padding
		binary.LittleEndian.PutUint64(key, st.Ino)
		binary.LittleEndian.PutUint32(key[8:], uint32(way.attach))
		if err := k.hosts.objects.Hosts.Update(key, uint32(id), ebpf.UpdateExist); err != nil {
			return nil, errors.Join(fmt.Errorf("say whose cgroup %q is: %w", cgroup, err), h.Close())
		}
	}
	return h, nil
}

// Close ends it; the connections are reported as closed by the next scan.
func (h *HostPod) Close() error {
	delete(h.k.hosts.alive, h.id)
	h.k.publish(nil)
	var err error
	for _, l := range h.links {
		err = errors.Join(err, l.Close())
	}
	h.links = nil
	return err
}

func (k *Kernel) loadHost() error {
	if k.hosts.objects != nil {
		return nil
	}
	spec, err := bpf.LoadHost()
	if err != nil {
		return err
	}
	if err := spec.Variables[bpf.HostVarNoLinkHeader].Set(uint32(1)); err != nil {
		return err
	}
	for _, name := range []string{bpf.HostVarHeadsPerSecond, bpf.HostVarWakeAbove} {
		if v := k.spec.Variables[name].Value; v != nil {
			spec.Variables[name].Value = v
		}
	}
	shared := make(map[string]*ebpf.Map)
	for name, m := range k.objects.shared() {
		if spec.Maps[name] != nil && name[0] != '.' { // its variables are its own, of which it needs one
			shared[name] = m
			spec.Maps[name].MaxEntries = m.MaxEntries()
		}
	}
	var o hostObjects
	if err := spec.LoadAndAssign(&o, &ebpf.CollectionOptions{MapReplacements: shared}); err != nil {
		return fmt.Errorf("load the programs for pods on the host's network: %w", err)
	}
	k.hosts.objects = &o
	for from, to := range map[*ebpf.Variable]*ebpf.Variable{k.objects.TickZero: o.TickZero, k.objects.TickNs: o.TickNs} {
		var v uint64
		if err := errors.Join(from.Get(&v), to.Set(v)); err != nil {
			return err
		}
	}
	var heads uint32
	if err := k.objects.ReadHeads.Get(&heads); err != nil {
		return err
	}
	return k.hosts.readHeads(heads)
}

func (h *hosts) readHeads(on uint32) error {
	if h.objects == nil {
		return nil
	}
	return h.objects.ReadHeads.Set(on)
}

func (h *hosts) close() error {
	if h.objects == nil {
		return nil
	}
	return errors.Join(h.objects.HostPrograms.Close(), h.objects.Hosts.Close())
}
