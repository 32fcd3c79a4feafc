// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// pause is how long an event may wait in the ring. The programs wake nobody
// unless a quarter of it is full: waking costs more than the event.
const pause = 20 * time.Millisecond

// Events reads what the programs report. Make one for a Kernel, no more.
type Events struct {
	ring   *ringbuf.Reader
	size   int
	mu     sync.RWMutex // guards closed: a closed ring can't be asked
	closed bool
}

// Events opens the ring.
func (k *Kernel) Events() (*Events, error) {
	r, err := ringbuf.NewReader(k.objects.Events)
	if err != nil {
		return nil, fmt.Errorf("open the events: %w", err)
	}
	e := &Events{ring: r, size: int(k.objects.Events.MaxEntries())}
	k.events.Store(e)
	return e, nil
}

// Follow gives each event to the visitor, and calls idle each time that
// nothing is left to read. It returns nil after Close.
func (e *Events) Follow(visit func(*Record), idle func()) error {
	var raw ringbuf.Record
	var r Record
	for {
		e.ring.SetDeadline(time.Now().Add(pause))
		skew := Boottime() - monotonic()
		for {
			err := e.ring.ReadInto(&raw)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if errors.Is(err, ringbuf.ErrClosed) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read an event: %w", err)
			}
			if decode(raw.RawSample, &r, skew) {
				visit(&r)
			}
		}
		idle()
	}
}

// Close ends Follow.
func (e *Events) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.ring.Close()
}

// fill is how much waits to be read, in thousandths of the ring.
func (e *Events) fill() uint32 {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return 0
	}
	return uint32(e.ring.AvailableBytes() * 1000 / e.size)
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
	case bpf.FlowEventKindEVENT_NEW:
		r.Kind = New
	case bpf.FlowEventKindEVENT_VERDICT:
		r.Kind = Verdict
	case bpf.FlowEventKindEVENT_CLOSE:
		r.Kind, r.Reason = Closed, "reopened"
	case bpf.FlowEventKindEVENT_DROP:
		r.Kind = Dropped
	default:
		return false
	}
	return true
}
