// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

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
	progs []*ebpf.Program
	links []link.Link
	ring  *ringbuf.Reader

	mu        sync.Mutex // guards what follows, and the reading of the ring
	on        bool
	closed    bool
	record    ringbuf.Record
	spaces    map[uint32]bool
	endpoints map[uint32]uint32 // endpoint -> network namespace
	processes processes
	opened    map[connKey]*opened
	oldest    []connKey // of opened, in order; may repeat
	ports     map[portKey]*portOwner
	pending   map[connKey][]*opening // by namespace and peer alone: own port not known yet
	lastSweep time.Time
}

// connKey is a TCP connection as the end that opened it sees it. Namespaces
// may have the same addresses.
type connKey struct {
	netns       uint32
	local, peer netip.AddrPort
}

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
}

const (
	maxOpened  = 65_536
	maxPorts   = 65_536
	maxPending = 4096
	// pendingFor is how long a connection that hasn't got its port may stand
	// for one that was seen leaving.
	pendingFor = 2 * time.Second
)

// openOwners loads and attaches the trace, switched off.
func openOwners() (*owners, error) {
	spec, err := bpf.LoadWho()
	if err != nil {
		return nil, err
	}
	o := &owners{
		spaces: map[uint32]bool{}, endpoints: map[uint32]uint32{}, opened: map[connKey]*opened{},
		ports: map[portKey]*portOwner{}, pending: map[connKey][]*opening{},
	}
	o.processes.init("/proc")
	// Each of these is one ability; the first is what the rest stands on.
	names := []string{bpf.WhoProgEbpolWhoState, bpf.WhoProgEbpolWhoAgain, bpf.WhoProgEbpolWhoGone, bpf.WhoProgEbpolWhoRuns, bpf.WhoProgEbpolWhoSends, bpf.WhoProgEbpolWhoReads}
	programs := spec.Programs
	spec.Programs = nil
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load the trace of sockets: %w", err)
	}
	defer c.Close()
	for i, name := range names {
		err := o.attach(programs[name], c)
		if err != nil && i == 0 {
			return nil, fmt.Errorf("trace sockets: %w", err)
		}
	}
	if err := errors.Join(c.Assign(&o.maps), c.Assign(&o.vars)); err != nil {
		return nil, errors.Join(err, o.close())
	}
	if o.ring, err = ringbuf.NewReader(o.maps.WhoEvents); err != nil {
		return nil, errors.Join(fmt.Errorf("open the trace of sockets: %w", err), o.close())
	}
	return o, nil
}

// attach loads one program onto the maps of c.
func (o *owners) attach(p *ebpf.ProgramSpec, c *ebpf.Collection) error {
	p = p.Copy()
	for i := range p.Instructions {
		ins := &p.Instructions[i]
		if !ins.IsLoadFromMap() {
			continue
		}
		m := c.Maps[ins.Reference()]
		if m == nil {
			return fmt.Errorf("program %q: no map %q", p.Name, ins.Reference())
		}
		if err := ins.AssociateMap(m); err != nil {
			return err
		}
	}
	prog, err := ebpf.NewProgram(p)
	if err != nil {
		return err
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: prog})
	if err != nil {
		return errors.Join(err, prog.Close())
	}
	o.progs, o.links = append(o.progs, prog), append(o.links, l)
	return nil
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

func (o *owners) forget(netns uint32) {
	maps.DeleteFunc(o.opened, func(k connKey, _ *opened) bool { return k.netns == netns })
	maps.DeleteFunc(o.ports, func(k portKey, _ *portOwner) bool { return k.netns == netns })
	maps.DeleteFunc(o.pending, func(k connKey, _ []*opening) bool { return k.netns == netns })
}

// fill writes what is known of a connection's process into its message.
func (o *owners) fill(f *wire.Flow) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.on || o.closed {
		return
	}
	if f.Owner, f.Retransmits = o.of(f); f.Owner == nil {
		o.drain()
		f.Owner, f.Retransmits = o.of(f)
	}
}

func (o *owners) of(f *wire.Flow) (*wire.Owner, uint32) {
	netns, ok := o.endpoints[f.GetEndpoint()]
	if !ok {
		return nil, 0
	}
	local, _ := wire.Addr(f.GetLocalIp())
	peer, _ := wire.Addr(f.GetPeerIp())
	protocol := flow.Protocol(f.GetProtocol())
	k := connKey{netns, netip.AddrPortFrom(local, uint16(f.GetLocalPort())), netip.AddrPortFrom(peer, uint16(f.GetPeerPort()))}
	known := o.opened[k]
	if protocol == flow.TCP && known != nil && known.process != nil {
		return known.process.owner(), known.retransmits
	}
	var again uint32
	if known != nil && protocol == flow.TCP {
		again = known.retransmits
	}
	if protocol == flow.TCP && flow.Direction(f.GetDirection()) == flow.Egress {
		if p := o.onlyPending(k); p != nil {
			return p.owner(), again
		}
		return nil, again
	}
	if p := o.ports[portKey{netns, protocol, k.local.Port()}]; p != nil && p.process != nil && p.accepts(local) && (protocol == flow.UDP || p.listens) {
		return p.process.owner(), again
	}
	return nil, again
}

func (p *portOwner) accepts(ip netip.Addr) bool {
	return !p.ip.IsValid() || p.ip.IsUnspecified() || p.ip == ip
}

// onlyPending is the process of the one connection that is being opened to k's
// peer from k's namespace; nil if there are several, or none: then a port will
// tell.
func (o *owners) onlyPending(k connKey) *process {
	list := o.pending[connKey{netns: k.netns, peer: k.peer}]
	var p *process
	for _, one := range list {
		if time.Since(one.at) > pendingFor {
			continue
		}
		if p != nil && p != one.process {
			return nil
		}
		p = one.process
	}
	return p
}

// poll reads what the kernel told; called now and then.
func (o *owners) poll() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain()
	if time.Since(o.lastSweep) > 10*time.Second {
		o.lastSweep = time.Now()
		o.sweep()
	}
}

// drain reads all events that are there, without waiting.
func (o *owners) drain() {
	if o.closed {
		return
	}
	o.ring.SetDeadline(time.Unix(1, 0))
	for {
		if err := o.ring.ReadInto(&o.record); err != nil {
			return
		}
		if len(o.record.RawSample) >= int(unsafe.Sizeof(bpf.WhoWhoEvent{})) {
			o.take((*bpf.WhoWhoEvent)(unsafe.Pointer(unsafe.SliceData(o.record.RawSample))))
		}
	}
}

func (o *owners) take(e *bpf.WhoWhoEvent) {
	local := netip.AddrPortFrom(kernel.Address(e.Local.Word), e.LocalPort)
	peer := netip.AddrPortFrom(kernel.Address(e.Peer.Word), e.PeerPort)
	k := connKey{e.Netns, local, peer}
	var p *process
	if e.Process.Pid != 0 {
		p = o.processes.get(&e.Process)
	}
	switch bpf.WhoWhoKind(e.Kind) {
	case bpf.WhoWhoKindWHO_OPENS:
		at := connKey{netns: e.Netns, peer: peer}
		if len(o.pending) < maxPending && len(o.pending[at]) < 64 {
			o.pending[at] = append(o.pending[at], &opening{e.Socket, time.Now(), p})
		}
	case bpf.WhoWhoKindWHO_OPENED, bpf.WhoWhoKindWHO_RETRANSMITS:
		o.settle(e.Socket, connKey{netns: e.Netns, peer: peer})
		o.put(k, p, e.Count)
	case bpf.WhoWhoKindWHO_LISTENS:
		o.port(portKey{e.Netns, flow.TCP, e.LocalPort}, &portOwner{p, local.Addr(), true})
	case bpf.WhoWhoKindWHO_STOPPED:
		delete(o.ports, portKey{e.Netns, flow.TCP, e.LocalPort})
	case bpf.WhoWhoKindWHO_SPEAKS:
		o.port(portKey{e.Netns, flow.UDP, e.LocalPort}, &portOwner{process: p})
	case bpf.WhoWhoKindWHO_RUNS:
		p.runs(unix.ByteSliceToString(asBytes(e.Path[:])))
	}
}

// settle forgets a connection that has got its port.
func (o *owners) settle(socket uint64, at connKey) {
	list := o.pending[at]
	for i, one := range list {
		if one.socket == socket {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(o.pending, at)
	} else {
		o.pending[at] = list
	}
}

func (o *owners) put(k connKey, p *process, retransmits uint32) {
	if k.local.Port() == 0 || !k.local.Addr().IsValid() {
		return
	}
	have := o.opened[k]
	if have == nil {
		for len(o.oldest) >= maxOpened {
			delete(o.opened, o.oldest[0])
			o.oldest = o.oldest[1:]
		}
		have = &opened{}
		o.opened[k] = have
		o.oldest = append(o.oldest, k)
	}
	if p != nil && p != have.process {
		*have = opened{process: p} // the same ports again
	}
	have.retransmits = max(have.retransmits, retransmits)
}

func (o *owners) port(k portKey, owner *portOwner) {
	if _, ok := o.ports[k]; !ok && len(o.ports) >= maxPorts {
		clear(o.ports) // they are told again as they speak; listeners by the next look
	}
	o.ports[k] = owner
}

// sweep lets go what never got its port.
func (o *owners) sweep() {
	for k, list := range o.pending {
		n := 0
		for _, one := range list {
			if time.Since(one.at) <= pendingFor {
				list[n] = one
				n++
			}
		}
		if o.pending[k] = list[:n]; n == 0 {
			delete(o.pending, k)
		}
	}
	o.processes.sweep()
}

func (o *owners) programs() []*ebpf.Program {
	if o == nil {
		return nil
	}
	return o.progs
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
	for _, l := range o.links {
		errs = append(errs, l.Close())
	}
	for _, p := range o.progs {
		errs = append(errs, p.Close())
	}
	if o.ring != nil {
		errs = append(errs, o.ring.Close())
	}
	return errors.Join(append(errs, o.maps.Close())...)
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
