// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const (
	maxCounters   = 12_000      // what a second's budget carries; what is over it is told when it changes again or ends, so totals are still exact
	packAbove     = flowsAFrame // counters that wait longer than for the next frame: a message takes 450 bytes of memory, a marshalled one a quarter
	maxDropCounts = 20_000
)

// flowQueue holds what waits to be told about connections: samples in their
// order, and the newest totals of each connection.
type flowQueue struct {
	samples  []*wire.Flow
	queued   map[uint64]int    // how many samples of a connection wait
	counters map[uint64]*total // newest ones, by connection
	order    []uint64          // of counters, oldest first; may name some that are no longer there
	named    map[uint64]*known // connections whose tuple the plugin knows

	thinned                          uint64
	untrackedPackets, untrackedBytes uint64
}

// known is what the plugin knows of a connection besides. The probe sends the
// same message as long as it says the same.
type known struct {
	owner   *wire.Owner
	request *wire.Request
}

// total is what waits to be told of a connection's counters.
type total struct {
	flow   *wire.Flow // nil: it is packed
	packed string     // all of it but what known holds
	known
	ended bool
}

// pack makes it small for a while.
func pack(f *wire.Flow) (*total, error) {
	t := &total{known: known{f.Owner, f.Request}, ended: f.GetKind() == wire.Flow_CLOSE}
	f.Owner, f.Request = nil, nil
	b, err := proto.Marshal(f)
	f.Owner, f.Request = t.owner, t.request
	t.packed = string(b)
	return t, err
}

func (t *total) unpack() (*wire.Flow, error) {
	if t.flow != nil {
		return t.flow, nil
	}
	f := &wire.Flow{}
	err := proto.Unmarshal([]byte(t.packed), f)
	f.Owner, f.Request = t.owner, t.request
	return f, err
}

func newFlowQueue() flowQueue {
	return flowQueue{queued: map[uint64]int{}, counters: map[uint64]*total{}, named: map[uint64]*known{}}
}

func (q *flowQueue) empty() bool { return len(q.samples) == 0 && len(q.counters) == 0 }

// forgetNames makes every connection be named again, after a gap.
func (q *flowQueue) forgetNames() { q.named = map[uint64]*known{} }

// plain says that a sample is the first packet of a connection that everybody
// allows: the first thing to leave out.
func plain(f *wire.Flow) bool {
	return f.GetKind() == wire.Flow_NEW && f.GetVerdict() <= uint32(flow.Allow) && f.GetCandidate() <= uint32(flow.Allow) && !f.GetEnforced()
}

func (q *flowQueue) room(f *wire.Flow) bool {
	if plain(f) {
		return len(q.samples) < maxSamples/2
	}
	return len(q.samples) < maxSamples
}

func (q *flowQueue) add(f *wire.Flow) {
	id := f.GetId()
	_, named := q.named[id]
	switch {
	case f.GetKind() == wire.Flow_COUNTERS:
		q.total(f)
	case f.GetKind() == wire.Flow_CLOSE && q.queued[id] > 0:
		delete(q.counters, id)
		q.sample(f) // must not overtake what waits; at most one more for each that waits
	case q.room(f):
		if f.GetKind() == wire.Flow_CLOSE {
			delete(q.counters, id)
		}
		q.sample(f)
	case f.GetKind() == wire.Flow_CLOSE && named:
		q.total(f) // the last totals, and the plugin must know that it ended
	case f.GetKind() == wire.Flow_CLOSE:
		delete(q.counters, id)
		q.thinned++
		q.untrackedPackets += f.GetPacketsIn() + f.GetPacketsOut()
		q.untrackedBytes += f.GetBytesIn() + f.GetBytesOut()
	case named:
		q.thinned++
		f.Kind = wire.Flow_COUNTERS // the sample is left out, the new state is not
		q.total(f)
	default:
		q.thinned++
	}
}

func (q *flowQueue) sample(f *wire.Flow) {
	q.samples = append(q.samples, f)
	q.queued[f.GetId()]++
}

func (q *flowQueue) total(f *wire.Flow) {
	id := f.GetId()
	old, waits := q.counters[id]
	switch {
	case waits && old.ended:
		return // nothing comes after the end
	case !waits && len(q.counters) >= maxCounters && f.GetKind() != wire.Flow_CLOSE:
		q.thinned++
		return
	case !waits:
		q.order = append(q.order, id)
	}
	t := &total{flow: f, ended: f.GetKind() == wire.Flow_CLOSE}
	if len(q.counters) >= packAbove {
		if packed, err := pack(f); err == nil {
			t = packed
		}
	}
	q.counters[id] = t
}

// take returns the next frame's flows: samples first, but never more than half
// of it while counters wait.
func (q *flowQueue) take() *wire.Flows {
	out := &wire.Flows{}
	most := flowsAFrame
	if len(q.counters) > 0 {
		most /= 2
	}
	n := min(most, len(q.samples))
	for i, f := range q.samples[:n] {
		q.samples[i] = nil
		id := f.GetId()
		if q.queued[id]--; q.queued[id] <= 0 {
			delete(q.queued, id)
		}
		out.Flows = append(out.Flows, q.name(f))
	}
	if q.samples = q.samples[n:]; len(q.samples) == 0 {
		q.samples = nil
	}
	for len(out.Flows) < flowsAFrame && len(q.order) > 0 {
		id := q.order[0]
		q.order = q.order[1:]
		t, ok := q.counters[id]
		if !ok {
			continue
		}
		delete(q.counters, id)
		if f, err := t.unpack(); err == nil { // of what was packed here
			out.Flows = append(out.Flows, q.name(f))
		}
	}
	if len(q.counters) == 0 {
		q.order = nil
	}
	return out
}

// name leaves out the tuple, the owner and the request if the plugin knows them.
func (q *flowQueue) name(f *wire.Flow) *wire.Flow {
	id := f.GetId()
	if k := q.named[id]; k != nil {
		f.Endpoint, f.Direction, f.Protocol = 0, 0, 0
		f.LocalIp, f.PeerIp, f.LocalPort, f.PeerPort = nil, nil, 0, 0
		owner, request := f.Owner, f.Request
		if owner == k.owner {
			f.Owner = nil
		}
		if request == k.request {
			f.Request = nil
		}
		*k = known{owner, request}
	} else {
		q.named[id] = &known{f.GetOwner(), f.GetRequest()}
	}
	if f.GetKind() == wire.Flow_CLOSE {
		delete(q.named, id)
	}
	return f
}

// dropQueue holds drop samples in their order and the newest exact totals.
type dropQueue struct {
	samples []*wire.Drop
	counts  map[dropKey]*wire.DropCount
	thinned uint64
}

type dropKey struct {
	reason, location string
	endpoint         uint32
	enforced         bool
}

func newDropQueue() dropQueue { return dropQueue{counts: map[dropKey]*wire.DropCount{}} }

func (q *dropQueue) empty() bool { return len(q.samples) == 0 && len(q.counts) == 0 }

func (q *dropQueue) add(samples []*wire.Drop, counts []*wire.DropCount) {
	for _, d := range samples {
		if len(q.samples) >= maxDrops {
			q.thinned += max(1, d.GetWeight())
			continue
		}
		q.samples = append(q.samples, d)
	}
	for _, c := range counts {
		k := dropKey{c.GetReasonName(), c.GetLocation(), c.GetEndpoint(), c.GetEnforced()}
		if _, ok := q.counts[k]; ok || len(q.counts) < maxDropCounts {
			q.counts[k] = c
		}
	}
}

func (q *dropQueue) take() *wire.Drops {
	n := min(dropsAFrame, len(q.samples))
	out := &wire.Drops{Drops: q.samples[:n:n]}
	if q.samples = q.samples[n:]; len(q.samples) == 0 {
		q.samples = nil
	}
	for k, c := range q.counts {
		if len(out.Counts) >= countsAFrame {
			break
		}
		delete(q.counts, k)
		out.Counts = append(out.Counts, c)
	}
	return out
}
