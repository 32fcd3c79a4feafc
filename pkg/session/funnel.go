// SPDX-License-Identifier: Apache-2.0

package session

import (
	"sync"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Bounds of what waits for a consumer that is slower than the probes.
const (
	maxWaiting = 20_000  // flows and drops in frames that wait
	maxFrames  = 10_000  // frames that wait; beyond it heartbeats and statistics are left out
	maxMerged  = 100_000 // connections whose newest state waits apart
	lateAFrame = 256
)

// funnel joins the frames of all probes into one channel without ever making
// a probe's reader wait. If the consumer is too slow it merges what it can
// (the newest totals of a connection replace older ones) and counts the rest
// as thinned in the node's heartbeats.
type funnel struct {
	out chan *wire.Frame

	mu      sync.Mutex
	ready   chan struct{} // holds one token while something waits
	queue   []*wire.Frame
	waiting int // flows and drops in queue
	merged  map[flowAt]*wire.Flow
	order   []flowAt
	counts  map[countAt]*wire.DropCount
	lost    map[string]uint64 // by node
}

type flowAt struct {
	node string
	id   uint64
}

type countAt struct {
	node, reason, location string
	endpoint               uint32
	enforced               bool
}

func newFunnel() *funnel {
	return &funnel{
		out: make(chan *wire.Frame, 64), ready: make(chan struct{}, 1),
		merged: map[flowAt]*wire.Flow{}, counts: map[countAt]*wire.DropCount{}, lost: map[string]uint64{},
	}
}

// put queues a frame. It never waits.
func (f *funnel) put(fr *wire.Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch b := fr.GetBody().(type) {
	case *wire.Frame_Flows:
		if !f.takeFlows(fr.GetNode(), b.Flows) {
			return
		}
	case *wire.Frame_Drops:
		if f.waiting > maxWaiting {
			f.takeDrops(fr.GetNode(), b.Drops)
			break
		}
		f.waiting += len(b.Drops.GetDrops())
	case *wire.Frame_Heartbeat:
		if len(f.queue) > maxFrames {
			return
		}
		if lost := f.lost[fr.GetNode()]; lost > 0 && b.Heartbeat.GetLoss() != nil {
			b.Heartbeat.Loss.Thinned += lost
		}
	case *wire.Frame_Stats:
		if len(f.queue) > maxFrames {
			return
		}
	case nil:
		return
	}
	f.queue = append(f.queue, fr)
	f.signal()
}

func (f *funnel) signal() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// takeFlows leaves in b what goes on in order, and merges the rest; false if
// nothing is left.
func (f *funnel) takeFlows(node string, b *wire.Flows) bool {
	full := f.waiting > maxWaiting
	if !full && len(f.merged) == 0 {
		f.waiting += len(b.Flows)
		return true
	}
	kept := b.Flows[:0]
	for _, fl := range b.Flows {
		at := flowAt{node, fl.GetId()}
		old, waits := f.merged[at]
		switch {
		case waits: // order within a connection is kept
			f.merged[at] = f.merge(node, old, fl)
		case !full:
			kept = append(kept, fl)
		case len(f.merged) < maxMerged:
			f.merged[at] = fl
			f.order = append(f.order, at)
		default:
			f.lost[node]++
		}
	}
	f.signal()
	b.Flows = kept
	f.waiting += len(kept)
	return len(kept) > 0
}

// merge makes one message of two about a connection.
func (f *funnel) merge(node string, old, fl *wire.Flow) *wire.Flow {
	if fl.GetEndpoint() == 0 {
		fl.Endpoint, fl.Direction, fl.Protocol = old.Endpoint, old.Direction, old.Protocol
		fl.LocalIp, fl.PeerIp, fl.LocalPort, fl.PeerPort = old.LocalIp, old.PeerIp, old.LocalPort, old.PeerPort
	}
	switch {
	case fl.GetKind() == wire.Flow_COUNTERS:
		fl.Kind = old.Kind
	case old.GetKind() == wire.Flow_NEW && fl.GetKind() == wire.Flow_VERDICT:
		fl.Kind = wire.Flow_NEW
		f.lost[node]++
	case old.GetKind() != wire.Flow_COUNTERS:
		f.lost[node]++
	}
	return fl
}

func (f *funnel) takeDrops(node string, b *wire.Drops) {
	for _, d := range b.GetDrops() {
		f.lost[node] += max(1, d.GetWeight())
	}
	for _, c := range b.GetCounts() {
		at := countAt{node, c.GetReasonName(), c.GetLocation(), c.GetEndpoint(), c.GetEnforced()}
		if _, ok := f.counts[at]; ok || len(f.counts) < maxMerged {
			f.counts[at] = c
		}
	}
	b.Drops, b.Counts = nil, nil
}

// take returns the next frame, nil if none waits.
func (f *funnel) take() *wire.Frame {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.queue) > 0 {
		fr := f.queue[0]
		f.queue[0] = nil
		if f.queue = f.queue[1:]; len(f.queue) == 0 {
			f.queue = nil
		}
		f.waiting -= len(fr.GetFlows().GetFlows()) + len(fr.GetDrops().GetDrops())
		if d := fr.GetDrops(); d != nil && len(d.GetDrops())+len(d.GetCounts()) == 0 {
			continue // emptied by takeDrops
		}
		return fr
	}
	if len(f.order) > 0 {
		return f.lateFlows()
	}
	if len(f.counts) > 0 {
		return f.lateCounts()
	}
	return nil
}

// lateFlows makes a frame of merged flows of one node.
func (f *funnel) lateFlows() *wire.Frame {
	node := f.order[0].node
	out := &wire.Flows{}
	for len(f.order) > 0 && f.order[0].node == node && len(out.Flows) < lateAFrame {
		at := f.order[0]
		f.order = f.order[1:]
		out.Flows = append(out.Flows, f.merged[at])
		delete(f.merged, at)
	}
	if len(f.order) == 0 {
		f.order = nil
	}
	return &wire.Frame{Node: node, Body: &wire.Frame_Flows{Flows: out}}
}

func (f *funnel) lateCounts() *wire.Frame {
	out := &wire.Drops{}
	node := ""
	for at, c := range f.counts {
		if len(out.Counts) == 0 {
			node = at.node
		}
		if at.node == node && len(out.Counts) < lateAFrame {
			out.Counts = append(out.Counts, c)
			delete(f.counts, at)
		}
	}
	return &wire.Frame{Node: node, Body: &wire.Frame_Drops{Drops: out}}
}

// run moves frames to the channel until stop is closed, then what is left
// until abandon is closed. It closes the channel at its end.
func (f *funnel) run(stop, abandon <-chan struct{}) {
	defer close(f.out)
	for {
		fr := f.take()
		if fr == nil {
			select {
			case <-f.ready:
				continue
			case <-stop:
			}
			if fr = f.take(); fr == nil {
				return
			}
		}
		select {
		case f.out <- fr:
		case <-abandon:
			return
		}
	}
}
