// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// owners knows which process opened a connection or waits for it. The kernel
// tells of sockets as processes act on them; what was open before is looked up
// once. It is nil if the kernel can't, and off until enabled.
type owners struct {
	maps  bpf.WhoMaps
	vars  bpf.WhoVariables
	progs []*ebpf.Program // of tracepoints
	links []link.Link
	ring  *kernel.Ring

	mu        sync.Mutex // guards what follows, and the reading of the ring
	senders   senders
	on        bool
	closed    bool
	record    ringbuf.Record
	spaces    map[uint32]bool
	endpoints map[uint32]uint32 // endpoint -> network namespace
	processes processes
	opened    map[connKey]opened
	ports     map[portKey]*portOwner
	pending   map[connKey][]*opening // by namespace and peer alone: own port not known yet
	lastSweep time.Time
	unsent    []unsent      // not told yet
	failures  chan struct{} // holds one token while there are such
}

// connKey is a TCP connection as the end that opened it sees it. Namespaces
// may have the same addresses.
// There are tens of thousands after a burst, so it is small and has no pointers.
type connKey struct {
	local, peer         [16]byte
	netns               uint32
	localPort, peerPort uint16
}

func connOf(netns uint32, local, peer netip.AddrPort) connKey {
	return connKey{local.Addr().As16(), peer.Addr().As16(), netns, local.Port(), peer.Port()}
}

// waiting is the key of pending: what is known of it before it has a port,
// whose place the protocol takes.
func (k connKey) waiting(p flow.Protocol) connKey {
	return connKey{netns: k.netns, localPort: uint16(p), peer: k.peer, peerPort: k.peerPort}
}

func (k connKey) localAddr() netip.Addr { return netip.AddrFrom16(k.local).Unmap() }

type portKey struct {
	netns    uint32
	protocol flow.Protocol
	port     uint16
}

type opened struct {
	process     *process // nil: not known
	retransmits uint32
}

type opening struct {
	socket  uint64
	at      time.Time
	process *process
}

type portOwner struct {
	process *process
	ip      netip.Addr
	listens bool
	at      time.Time // when it was told to speak; zero: it had the socket before the trace began
}

const (
	maxOpened  = 65_536
	maxPorts   = 65_536
	maxPending = 4096
	// pendingFor is how long a connection that hasn't got its port may stand
	// for one that was seen leaving.
	pendingFor = 2 * time.Second
)

// openOwners loads the trace, switched off.
func openOwners(files system, types *btf.Cache) (*owners, error) {
	if _, err := files.types(types); err != nil {
		return nil, err
	}
	spec, err := bpf.LoadWho()
	if err != nil {
		return nil, err
	}
	o := &owners{
		spaces: map[uint32]bool{}, endpoints: map[uint32]uint32{}, opened: map[connKey]opened{},
		failures: make(chan struct{}, 1), ports: map[portKey]*portOwner{}, pending: map[connKey][]*opening{},
	}
	o.senders.hooks = map[ebpf.AttachType]*ebpf.Program{}
	o.processes.init("/proc")
	// Each of these is one ability; the first is what the rest stands on.
	names := []string{bpf.WhoProgEbpolWhoState, bpf.WhoProgEbpolWhoAgain, bpf.WhoProgEbpolWhoGone, bpf.WhoProgEbpolWhoRuns}
	bare := spec.Copy()
	clear(bare.Programs)
	c, err := ebpf.NewCollection(bare)
	if err != nil {
		return nil, fmt.Errorf("load the trace of sockets: %w", err)
	}
	defer c.Close()
	for i, name := range names {
		prog, err := load(name, spec, c, types)
		switch {
		case err == nil:
			o.progs = append(o.progs, prog)
		case i == 0:
			return nil, fmt.Errorf("trace sockets: %w", err)
		}
	}
	if prog, err := load(bpf.WhoProgEbpolWhoSends, spec, c, types); err == nil {
		o.senders.prog = prog
	}
	for at, name := range senderHooks {
		if prog, err := load(name, spec, c, types); err == nil {
			o.senders.hooks[at] = prog
		}
	}
	if err := errors.Join(c.Assign(&o.maps), c.Assign(&o.vars)); err != nil {
		return nil, errors.Join(err, o.close())
	}
	if o.ring, err = kernel.OpenRing(o.maps.WhoEvents, o.maps.Asleep, whoPace); err != nil {
		return nil, errors.Join(fmt.Errorf("open the trace of sockets: %w", err), o.close())
	}
	return o, nil
}

// load loads one program of a collection onto the maps of c.
func load(name string, all *ebpf.CollectionSpec, c *ebpf.Collection, types *btf.Cache) (*ebpf.Program, error) {
	spec := all.Copy()
	maps.DeleteFunc(spec.Programs, func(other string, _ *ebpf.ProgramSpec) bool { return other != name })
	one, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: c.Maps, Cache: types})
	if err != nil {
		return nil, err
	}
	defer one.Close()
	return one.DetachProgram(name), nil
}

// attach puts the programs to work. Some run whenever any process of the
// machine opens or closes something, so they hang there only while they are
// asked for.
func (o *owners) attach() error {
	for i, p := range o.progs {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		switch {
		case err == nil:
			o.links = append(o.links, l)
		case i == 0: // what the rest stands on
			return fmt.Errorf("trace sockets: %w", err)
		}
	}
	return o.attachHooks()
}

func (o *owners) detach() error {
	errs := []error{o.deafen()}
	for _, l := range o.links {
		errs = append(errs, l.Close())
	}
	o.links = nil
	return errors.Join(errs...)
}

// enable switches the trace on or off.
func (o *owners) enable(on bool) error {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	pidns, err := inodeOf(filepath.Join(o.processes.proc, "self/ns/pid"))
	if err != nil {
		return fmt.Errorf("process namespace of this process: %w", err)
	}
	if err := o.vars.WhoPidns.Set(uint32(pidns)); err != nil {
		return fmt.Errorf("switch the trace of sockets: %w", err)
	}
	v := uint32(0)
	if on {
		v = 1
	}
	if err := o.vars.WhoEnabled.Set(v); err != nil {
		return fmt.Errorf("switch the trace of sockets: %w", err)
	}
	switch {
	case !on:
		if err := o.detach(); err != nil {
			return fmt.Errorf("switch off the trace of sockets: %w", err)
		}
	case len(o.links) == 0:
		if err := o.attach(); err != nil {
			return err
		}
	}
	fresh := on && !o.on
	o.on = on
	if !fresh {
		return nil
	}
	return o.existing(o.spaces)
}

// watch says whose sockets are told of: endpoint -> inode of its namespace.
func (o *owners) watch(endpoints map[uint32]uint64) error {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	want, fresh := map[uint32]bool{}, map[uint32]bool{}
	clear(o.endpoints)
	for id, inode := range endpoints {
		o.endpoints[id] = uint32(inode)
		want[uint32(inode)] = true
	}
	for i := range want {
		if !o.spaces[i] {
			if err := o.maps.WhoSpaces.Put(i, uint8(1)); err != nil {
				return fmt.Errorf("trace the sockets of one more namespace: %w", err)
			}
			fresh[i] = true
		}
	}
	for i := range o.spaces {
		if !want[i] {
			if err := o.maps.WhoSpaces.Delete(i); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("trace the sockets of one namespace less: %w", err)
			}
			o.forget(i)
		}
	}
	o.spaces = want
	if !o.on || len(fresh) == 0 {
		return nil
	}
	return o.existing(fresh)
}

func (o *owners) programs() []*ebpf.Program {
	if o == nil {
		return nil
	}
	list := slices.AppendSeq(slices.Clone(o.progs), maps.Values(o.senders.hooks))
	if o.senders.prog != nil {
		list = append(list, o.senders.prog)
	}
	return list
}

func (o *owners) close() error {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	var errs []error
	errs = append(errs, o.detach(), o.stop())
	for _, p := range o.programs() {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, o.maps.Close())...)
}

// stop ends follow.
func (o *owners) stop() error {
	if o == nil || o.ring == nil {
		return nil
	}
	return o.ring.Close()
}

// ownerFeature says whether processes are told here.
func ownerFeature(o *owners, err error) *wire.Feature {
	f := &wire.Feature{Name: "owners", Present: o != nil}
	switch {
	case errors.Is(err, os.ErrPermission):
		f.Why = "which process opened a connection isn't told: the kernel doesn't let us trace sockets"
	case err != nil:
		f.Why = "which process opened a connection isn't told: " + err.Error()
	}
	return f
}
