// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// pace is how long an event may wait in the ring. After a rest, who opened a
// connection is told a moment later than the connection.
var pace = Pace{First: 10 * time.Millisecond, Next: 20 * time.Millisecond}

// Events reads what the programs report. Make one for a Kernel, no more.
type Events struct {
	ring   *Ring
	errors *ebpf.Map
	heads  func(*Head)
}

// Head is the start of a packet's payload: of the first that a TCP connection's
// opener sends and of up to three more if that is a request whose head isn't
// whole, of each UDP packet to or from port 53, and of the first answer
// from port 53 over TCP. None is read unless [Kernel.ReadHeads] asked for it.
type Head struct {
	Time        time.Duration // boottime
	Endpoint    uint32
	Conn        uint64 // id of the connection
	Local, Peer netip.AddrPort
	Protocol    flow.Protocol
	Egress      bool   // the endpoint sent it
	Opener      bool   // whoever opened the connection sent it
	Length      int    // of the whole payload of the packet
	Data        []byte // its first 1,024 bytes at most; the callback's until it returns
}

// Events opens the ring.
func (k *Kernel) Events() (*Events, error) {
	r, err := OpenRing(k.objects.Events, k.objects.Asleep, pace)
	if err != nil {
		return nil, fmt.Errorf("open the events: %w", err)
	}
	e := &Events{ring: r, errors: k.objects.IcmpErrors}
	k.events.Store(e)
	return e, nil
}

// Heads gives the heads of payloads to the visitor. Call it before Follow,
// whose goroutine calls the visitor.
func (e *Events) Heads(visit func(*Head)) { e.heads = visit }

// Follow gives each event to the visitor, and calls idle each time that
// nothing is left to read: at once, after each rest, and as soon as idle says
// that it wants to be called again, if that isn't 0. It returns nil after Close.
func (e *Events) Follow(visit func(*Record), idle func() (again time.Duration)) error {
	var raw ringbuf.Record
	var r Record
	for {
		skew := Boottime() - monotonic()
		busy := false
		for {
			ok, err := e.ring.Next(&raw)
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read an event: %w", err)
			}
			if !ok {
				break
			}
			busy = true
			switch kindOf(raw.RawSample) {
			case bpf.FlowEventKindEVENT_NEW:
				if decodeOpening(raw.RawSample, &r, skew) {
					visit(&r)
				}
			case bpf.FlowEventKindEVENT_HEAD:
				var h Head
				if e.heads != nil && decodeHead(raw.RawSample, &h, skew) {
					e.heads(&h)
				}
			default:
				if decode(raw.RawSample, &r, skew) {
					r.addError(e.errors)
					visit(&r)
				}
			}
		}
		if err := e.ring.Rest(busy, idle()); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("wait for an event: %w", err)
		}
	}
}

// Close ends Follow.
func (e *Events) Close() error { return e.ring.Close() }

// kindOf is 0 for what is no event.
func kindOf(b []byte) bpf.FlowEventKind {
	if len(b) < int(unsafe.Sizeof(bpf.FlowHead{})) { // the shortest
		return 0
	}
	return bpf.FlowEventKind((*bpf.FlowHead)(unsafe.Pointer(unsafe.SliceData(b))).Kind)
}

// decodeOpening makes the connection of what is told of a new one.
func decodeOpening(b []byte, r *Record, skew time.Duration) bool {
	if len(b) < int(unsafe.Sizeof(bpf.FlowOpening{})) {
		return false
	}
	v := (*bpf.FlowOpening)(unsafe.Pointer(unsafe.SliceData(b)))
	*r = Record{
		Kind: New, Local: netAddr(v.Local), Peer: netAddr(v.Peer), LocalPort: swap16(v.LocalPort), PeerPort: swap16(v.PeerPort),
		Protocol: flow.Protocol(v.Protocol), Time: time.Duration(v.TimeNs) + skew, Skew: skew,
		Conn: bpf.FlowConn{
			Id: v.Conn, FirstNs: v.TimeNs, LastNs: v.TimeNs, JudgedNs: v.TimeNs, Endpoint: v.Endpoint, Flags: v.Flags,
			Direction: v.Direction, Drop: v.Judgement.Drop, Judgement: v.Judgement, Dropped: uint64(v.First >> 1),
		},
	}
	way := v.First & 1
	r.Conn.Packets[way], r.Conn.Bytes[way], r.Conn.TcpFlags[way] = uint64(v.Packets), uint64(v.Bytes), v.TcpFlags
	return true
}

func decodeHead(b []byte, h *Head, skew time.Duration) bool {
	v := (*bpf.FlowHead)(unsafe.Pointer(unsafe.SliceData(b)))
	data := b[unsafe.Sizeof(*v):]
	if int(v.Length) > len(data) {
		return false
	}
	*h = Head{
		Time: time.Duration(v.TimeNs) + skew, Endpoint: v.Endpoint, Conn: v.Conn,
		Local: netip.AddrPortFrom(netAddr(v.Local), swap16(v.LocalPort)), Peer: netip.AddrPortFrom(netAddr(v.Peer), swap16(v.PeerPort)),
		Protocol: flow.Protocol(v.Protocol), Egress: v.Direction == uint8(flow.Egress), Opener: v.Direction == v.Opened,
		Length: int(v.Payload), Data: data[:v.Length],
	}
	return true
}

func decode(b []byte, r *Record, skew time.Duration) bool {
	if len(b) < int(unsafe.Sizeof(bpf.FlowEvent{})) {
		return false
	}
	v := (*bpf.FlowEvent)(unsafe.Pointer(unsafe.SliceData(b))) // the ring aligns records to 8 bytes
	*r = Record{
		Local: netAddr(v.Local), Peer: netAddr(v.Peer), LocalPort: swap16(v.LocalPort), PeerPort: swap16(v.PeerPort),
		Protocol: flow.Protocol(v.Protocol), Time: time.Duration(v.TimeNs) + skew, Conn: v.Conn, Skew: skew,
		Length: v.Length, Direction: flow.Direction(v.Direction),
	}
	switch bpf.FlowEventKind(v.Kind) {
	case bpf.FlowEventKindEVENT_VERDICT:
		r.Kind = Verdict
	case bpf.FlowEventKindEVENT_CLOSE:
		r.Kind, r.Reason = Closed, Reopened
	case bpf.FlowEventKindEVENT_DROP:
		r.Kind = Dropped
	case bpf.FlowEventKindEVENT_ICMP:
		r.Kind = Counters
	default:
		return false
	}
	return true
}
