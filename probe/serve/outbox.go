// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Bounds of what waits to be sent. Measured: a flow takes about 100 bytes on
// the wire when it is new and 40 afterwards.
const (
	defaultBudget = 512 << 10 // bytes a second
	minBudget     = 16 << 10
	resendBytes   = 4 << 20
	maxSamples    = 4096
	maxDrops      = 1024
	maxControl    = 4096
	flowsAFrame   = 256
	dropsAFrame   = 128
	countsAFrame  = 256
)

// outbox numbers what goes to the plugin and keeps it for a while. It decides
// what is left out when more wants to go than the budget allows.
type outbox struct {
	mu   sync.Mutex
	wake chan struct{} // holds one token while something may have become sendable

	seq       uint64  // of the newest frame
	ring      []entry // numbered and not acknowledged, oldest first
	ringBytes int
	cursor    uint64 // seq that the present connection gets next
	ack       uint64 // highest seq received from the plugin

	budget  float64 // bytes a second
	tokens  float64 // may be negative: what was sent ahead
	counted time.Time

	control []*wire.Frame
	flows   flowQueue
	drops   dropQueue
	thinned uint64
	resent  uint64
}

type entry struct {
	seq   uint64
	bytes []byte
}

func newOutbox() *outbox {
	return &outbox{
		wake: make(chan struct{}, 1), budget: defaultBudget, tokens: defaultBudget, counted: time.Now(), cursor: 1,
		flows: newFlowQueue(), drops: newDropQueue(),
	}
}

// signal must be called with mu held, or not: it never blocks.
func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) setBudget(bytes uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.budget = defaultBudget
	if bytes != 0 {
		o.budget = float64(max(bytes, minBudget))
	}
	o.tokens = min(o.tokens, o.budget)
}

// send queues a frame that is never left out. Its order among those is kept.
func (o *outbox) send(f *wire.Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.control) >= maxControl {
		o.thinned++ // only notices come in such numbers
		return
	}
	o.control = append(o.control, f)
	o.signal()
}

func (o *outbox) addFlows(list []*wire.Flow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range list {
		o.flows.add(f)
	}
	o.signal()
}

func (o *outbox) addDrops(samples []*wire.Drop, counts []*wire.DropCount) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drops.add(samples, counts)
	o.signal()
}

// received notes what the plugin has and what we have of it.
func (o *outbox) received(seq, ack uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ack = max(o.ack, seq)
	n := 0
	for n < len(o.ring) && o.ring[n].seq <= ack && o.ring[n].seq < o.cursor {
		o.ringBytes -= len(o.ring[n].bytes)
		n++
	}
	o.ring = o.ring[n:]
}

// resume sets where the next connection goes on. If what comes after seq is no
// longer there it returns the gap; the caller then has everything told again.
func (o *outbox) resume(seq uint64) *wire.Gap {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.seq + 1
	if len(o.ring) > 0 {
		first = o.ring[0].seq
	}
	o.signal()
	if seq <= o.seq && seq+1 >= first {
		o.cursor = seq + 1
		return nil
	}
	gap := &wire.Gap{From: seq + 1, To: o.seq, Reason: "the stream was cut for longer than the probe could remember"}
	if seq > o.seq {
		gap.From = 1
		gap.Reason = "the probe was started anew: what the one before had still to say is lost"
	}
	if o.seq >= gap.From {
		o.resent += o.seq - gap.From + 1
	}
	o.ring, o.ringBytes, o.cursor = nil, 0, o.seq+1
	o.flows.forgetNames()
	return gap
}

// next returns the next frame's bytes. If there is none it returns how long to
// wait for the budget; 0: until wake.
func (o *outbox) next(now time.Time) ([]byte, time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b := o.fromRing(); b != nil {
		return b, 0
	}
	wait := o.build(now)
	return o.fromRing(), wait
}

func (o *outbox) fromRing() []byte {
	if len(o.ring) == 0 || o.cursor > o.seq {
		return nil
	}
	e := o.ring[o.cursor-o.ring[0].seq] // seqs have no holes
	o.cursor++
	return e.bytes
}

// hoard numbers what waits while nobody is connected, and lets go of the
// oldest when there is no more room.
func (o *outbox) hoard(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		before := o.seq
		if o.build(now); o.seq == before {
			return
		}
	}
}

// build numbers one more frame if something waits and the budget allows it.
// Otherwise it says how long until the budget does; 0: nothing waits.
func (o *outbox) build(now time.Time) time.Duration {
	o.tokens = min(o.budget, o.tokens+o.budget*now.Sub(o.counted).Seconds())
	o.counted = now
	if len(o.control) > 0 {
		f := o.control[0]
		o.control[0] = nil
		o.control = o.control[1:]
		o.number(f, now)
		return 0
	}
	if o.flows.empty() && o.drops.empty() {
		return 0
	}
	if o.tokens <= 0 {
		return time.Duration((1 - o.tokens) / o.budget * float64(time.Second))
	}
	// A flood of one kind must not starve the other.
	if !o.drops.empty() && (o.flows.empty() || o.seq%2 == 0) {
		o.number(&wire.Frame{Body: &wire.Frame_Drops{Drops: o.drops.take()}}, now)
	} else {
		o.number(&wire.Frame{Body: &wire.Frame_Flows{Flows: o.flows.take()}}, now)
	}
	return 0
}

func (o *outbox) number(f *wire.Frame, now time.Time) {
	f.Seq, f.Ack, f.TimeNs = o.seq+1, o.ack, now.UnixNano()
	b, err := wire.Append(nil, f)
	if err != nil {
		// Only text of the kernel or of the plugin could be at fault; the
		// stream goes on without the frame, and says so.
		f.Body = &wire.Frame_Notice{Notice: &wire.Notice{Level: wire.Notice_WARN, Text: wire.Clean("a frame could not be sent: "+err.Error(), 500)}}
		if b, err = wire.Append(nil, f); err != nil {
			return
		}
	}
	o.seq++
	o.ring = append(o.ring, entry{o.seq, b})
	o.ringBytes += len(b)
	o.tokens -= float64(len(b))
	for o.ringBytes > resendBytes && len(o.ring) > 1 {
		o.ringBytes -= len(o.ring[0].bytes)
		o.ring = o.ring[1:]
	}
}

// loss is what this side left out, added to what the kernel's side did.
func (o *outbox) loss(kernel *wire.Loss) *wire.Loss {
	o.mu.Lock()
	defer o.mu.Unlock()
	return &wire.Loss{
		Ring: kernel.GetRing(), Table: kernel.GetTable(),
		Thinned: kernel.GetThinned() + o.thinned + o.flows.thinned + o.drops.thinned, Resent: o.resent,
		UntrackedPackets: kernel.GetUntrackedPackets() + o.flows.untrackedPackets,
		UntrackedBytes:   kernel.GetUntrackedBytes() + o.flows.untrackedBytes,
	}
}

// heartbeat is a frame of the connection: it has no number of its own.
func (o *outbox) heartbeat(now time.Time, kernel *wire.Loss) *wire.Frame {
	loss := o.loss(kernel)
	o.mu.Lock()
	defer o.mu.Unlock()
	return &wire.Frame{Ack: o.ack, TimeNs: now.UnixNano(), Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: loss}}}
}
