// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// hooks says which programs of others hang on a device, remembered for a
// moment: a storm of drops asks once.
type hooks struct {
	mu    sync.Mutex
	known map[hookKey]hookPrograms
}

type hookKey struct {
	netns   uint64
	ifindex uint32
	reason  string
}

type hookPrograms struct {
	names []string
	at    time.Time
}

const (
	hooksFor = 5 * time.Second
	maxHooks = 1024
)

// on lists the programs of the hook that a drop's reason speaks of; none if it
// speaks of no such hook. path leads to the device's namespace.
// uid is of the pod whose own that is.
func (h *hooks) on(d *wire.Drop, uid string, path func(inode uint64) (string, bool)) []string {
	k := hookKey{d.GetNetns(), d.GetIfindex(), hookOf(d)}
	direction, ofCgroup := cgroupHooks[k.reason]
	switch {
	case ofCgroup:
		k.ifindex = 0
	case k.reason == "" || k.ifindex == 0:
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, ok := h.known[k]; ok && time.Since(p.at) < hooksFor {
		return p.names
	}
	if h.known == nil || len(h.known) >= maxHooks {
		h.known = map[hookKey]hookPrograms{}
	}
	var names []string
	if ofCgroup {
		names = cgroupPrograms(uid, direction)
	} else if at, ok := path(k.netns); ok {
		_ = inside(at, func() error { // a namespace that has gone has no programs to name
			names = programsOn(int(k.ifindex), k.reason)
			return nil
		})
	}
	h.known[k] = hookPrograms{names, time.Now()}
	return names
}

// hookOf is the hook that a drop's reason, or its place, speaks of.
func hookOf(d *wire.Drop) string {
	switch r := d.GetReasonName(); {
	case r == "TC_INGRESS", r == "TC_EGRESS", r == "XDP", r == "SOCKET_FILTER", r == "BPF_CGROUP_EGRESS":
		return r
	case (r == "" || r == "NOT_SPECIFIED") && strings.HasPrefix(d.GetLocation(), "do_xdp_generic"):
		return "XDP"
	}
	return ""
}

// programsOn must be called inside the device's namespace.
func programsOn(index int, reason string) (names []string) {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil
	}
	if reason == "XDP" {
		if x := l.Attrs().Xdp; x != nil && x.Attached {
			names = append(names, programName(ebpf.ProgramID(x.ProgId)))
		}
		return names
	}
	at, parent, peer := ebpf.AttachTCXIngress, uint32(netlink.HANDLE_MIN_INGRESS), ebpf.AttachNetkitPeer
	if reason == "TC_EGRESS" {
		at, parent, peer = ebpf.AttachTCXEgress, uint32(netlink.HANDLE_MIN_EGRESS), ebpf.AttachNetkitPrimary
	}
	all := namesOn(index, at)
	if l.Type() == "netkit" {
		all = append(all, namesOn(index, peer)...)
	}
	for _, n := range append(all, filterNames(l, parent)...) {
		if !strings.HasPrefix(n, "ebpol_") && !strings.HasPrefix(n, filterPrefix) {
			names = append(names, n)
		}
	}
	return names
}

// nodePath leads to the node's network namespace.
func (p *Probe) nodePath() string {
	if p.options.Node != "" {
		return p.options.Node
	}
	return "/proc/self/ns/net"
}

// pathOf leads to a namespace of this node: its own or that of a watched pod.
func (p *Probe) pathOf(inode uint64) (string, bool) {
	if inode == p.finder.own {
		return p.nodePath(), true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		if e.ns != nil && e.ns.inode == inode {
			now, err := inodeOf(e.ns.path)
			return e.ns.path, err == nil && now == inode
		}
	}
	return "", false
}

// podIn is the pod whose own network namespace it is.
func (p *Probe) podIn(inode uint64) (id uint32, uid string) {
	if inode == p.finder.own {
		return 0, ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		if e.ns != nil && e.ns.inode == inode && !e.host {
			return e.id, e.uid
		}
	}
	return 0, ""
}

// homeOf is the network namespace of a watched pod's own.
func (p *Probe) homeOf(id uint32) (inode uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.endpoints[id]
	if e == nil || e.ns == nil || e.host {
		return 0, false
	}
	return e.ns.inode, true
}
