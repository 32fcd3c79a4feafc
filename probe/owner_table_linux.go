// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"maps"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

func (o *owners) forget(netns uint32) {
	maps.DeleteFunc(o.opened, func(k connKey, _ opened) bool { return k.netns == netns })
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
	if f.GetKind() == wire.Flow_CLOSE && f.GetCloseReason() != kernel.Reopened {
		if k, ok := o.key(f); ok {
			delete(o.opened, k)
		}
	}
}

// key is where a flow's connection is in opened, if the endpoint opened it.
func (o *owners) key(f *wire.Flow) (k connKey, ok bool) {
	netns, ok := o.endpoints[f.GetEndpoint()]
	local, _ := wire.Addr(f.GetLocalIp())
	peer, _ := wire.Addr(f.GetPeerIp())
	return connOf(netns, netip.AddrPortFrom(local, uint16(f.GetLocalPort())), netip.AddrPortFrom(peer, uint16(f.GetPeerPort()))), ok
}

func (o *owners) of(f *wire.Flow) (*wire.Owner, uint32) {
	k, ok := o.key(f)
	if !ok {
		return nil, 0
	}
	protocol := flow.Protocol(f.GetProtocol())
	known := o.opened[k]
	if protocol == flow.TCP && known.process != nil {
		return known.process.owner(), known.retransmits
	}
	var again uint32
	if protocol == flow.TCP {
		again = known.retransmits
	}
	egress := flow.Direction(f.GetDirection()) == flow.Egress
	p := o.ports[portKey{k.netns, protocol, k.localPort}]
	if egress && (protocol == flow.TCP || protocol == flow.UDP) {
		first := o.onlyPending(k.waiting(protocol))
		if protocol == flow.TCP {
			if first == nil {
				return nil, again
			}
			return first.process.owner(), again
		}
		if first != nil && (p == nil || p.at.Before(first.at)) {
			p = &portOwner{process: first.process, at: first.at}
			o.port(portKey{k.netns, protocol, k.localPort}, p) // it may never send another
			o.settle(first.socket, k.waiting(protocol))
		}
	}
	if p != nil && p.process != nil && p.accepts(k.localAddr()) && (protocol == flow.UDP || p.listens) {
		return p.process.owner(), again
	}
	if egress && protocol == flow.UDP && o.senders.begun {
		o.listen() // a socket that was silent until now
	}
	return nil, again
}

func (p *portOwner) accepts(ip netip.Addr) bool {
	return !p.ip.IsValid() || p.ip.IsUnspecified() || p.ip == ip
}

// onlyPending is what is being opened there, if it is by one process alone that
// is known; nil if there are several, or none: then a port will tell.
func (o *owners) onlyPending(there connKey) (found *opening) {
	for _, one := range o.pending[there] {
		if time.Since(one.at) > pendingFor {
			continue
		}
		if one.process == nil || found != nil && found.process != one.process {
			return nil
		}
		found = one
	}
	return found
}

// whoPace is how soon is read what processes do: at once after a rest, as one
// that ends soon can't be asked later.
var whoPace = kernel.Pace{Next: 20 * time.Millisecond}

// follow reads what the kernel tells until stop is called.
func (o *owners) follow() {
	for o.ring.Rest(o.poll(), o.again()) == nil {
	}
}

// poll reads what the kernel told, and says whether that was something.
func (o *owners) poll() (some bool) {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	some = o.drain()
	if time.Since(o.lastSweep) > 10*time.Second {
		o.lastSweep = time.Now()
		o.sweep()
		_ = o.rest() // the next sweep tries again
	}
	return some
}

// drain reads all events that are there, without waiting.
func (o *owners) drain() (some bool) {
	for {
		if ok, err := o.ring.Next(&o.record); !ok || err != nil {
			return some
		}
		some = true
		if len(o.record.RawSample) >= int(unsafe.Sizeof(bpf.WhoWhoEvent{})) {
			o.take((*bpf.WhoWhoEvent)(unsafe.Pointer(unsafe.SliceData(o.record.RawSample))))
		}
	}
}

func (o *owners) take(e *bpf.WhoWhoEvent) {
	local := netip.AddrPortFrom(kernel.Address(e.Local.Word), e.LocalPort)
	peer := netip.AddrPortFrom(kernel.Address(e.Peer.Word), e.PeerPort)
	k := connOf(e.Netns, local, peer)
	var p *process
	if e.Process.Pid != 0 {
		p = o.processes.get(&e.Process)
	}
	switch bpf.WhoWhoKind(e.Kind) {
	case bpf.WhoWhoKindWHO_OPENS:
		o.opens(e.Socket, k.waiting(flow.TCP), p)
	case bpf.WhoWhoKindWHO_OPENED, bpf.WhoWhoKindWHO_RETRANSMITS:
		o.settle(e.Socket, k.waiting(flow.TCP))
		o.put(k, p, e.Count)
	case bpf.WhoWhoKindWHO_LISTENS:
		o.port(portKey{e.Netns, flow.TCP, e.LocalPort}, &portOwner{process: p, ip: local.Addr(), listens: true})
	case bpf.WhoWhoKindWHO_STOPPED:
		delete(o.ports, portKey{e.Netns, flow.TCP, e.LocalPort})
	case bpf.WhoWhoKindWHO_SPEAKS:
		o.speaks(e, k, p)
	case bpf.WhoWhoKindWHO_UNSENT:
		o.failed(e, peer, p)
	case bpf.WhoWhoKindWHO_RUNS:
		p.runs(unix.ByteSliceToString(asBytes(e.Path[:])))
	}
}

// opens notes one that has no port of its own yet.
func (o *owners) opens(socket uint64, at connKey, p *process) {
	if len(o.pending) < maxPending && len(o.pending[at]) < 64 {
		o.pending[at] = append(o.pending[at], &opening{socket, time.Now(), p})
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
	if k.localPort == 0 || k.localAddr().IsLoopback() {
		return // what stays in the pod is no flow, and nobody would say that it ended
	}
	have, ok := o.opened[k]
	if !ok {
		for any := range o.opened { // most of those that ended are gone already
			if len(o.opened) < maxOpened {
				break
			}
			delete(o.opened, any)
		}
	}
	if p != nil && p != have.process {
		have = opened{process: p} // the same ports again
	}
	have.retransmits = max(have.retransmits, retransmits)
	o.opened[k] = have
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
