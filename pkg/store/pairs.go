// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"math"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// PairID names who talks to whom, on which port, judged where and how. The
// verdict is part of it: connections that came to another verdict are another
// pair, so that a denial never hides among what is allowed.
type PairID struct {
	Source, Destination string // workload if known, else pod, service, name or address
	Port                uint16 // of the destination
	Protocol            flow.Protocol
	Direction           flow.Direction
	Verdict, Candidate  flow.Verdict
	Enforced            bool
}

// PairRow sums up the known connections of a pair.
type PairRow struct {
	Packets, Bytes uint64
	Faults         uint64 // packets dropped, but what is part of ordinary life
	Last, First    time.Time
	Rate           float64 // bytes per second
	Flows          int     // known, open or closed
	Open           int

	ID     PairID
	Sample *FlowRow // the newest of them
}

// pair is a PairRow that is kept up to date, with its rows in no order. What
// every event of a connection changes stands first.
type pair struct {
	tickBytes    uint64 // since the second that ticks says
	ticks        int    // seconds that Rate knows of
	PairRow             // its Rate may be of some seconds ago: rateAt is of now
	some, newest *row   // newest is by arrival
	unsure       bool   // newest is to be found
	key          pairKey
	at           int // in the list of all
	taken        int // of its rows, by a view
	takenBy      uint32
	share        *pair // what the view takes of it; nil: all, or nobody has asked
	mixed        bool  // its rows don't stand in the order in which they came, the newest first
	meet         *meet
}

// rateAt is the rate when so many seconds have gone by.
func (p *pair) rateAt(ticks int) float64 {
	if ticks == p.ticks {
		return p.Rate
	}
	return fadedRate(p.Rate, p.tickBytes, ticks-p.ticks)
}

// fadedRate is a rate after some seconds: what came in the first of them counts
// half, as does each second of silence since.
func fadedRate(rate float64, bytes uint64, seconds int) float64 {
	rate = math.Ldexp(rate+float64(bytes), -min(seconds, 1000))
	if rate < 1 {
		return 0
	}
	return rate
}

// catchUp closes the seconds that have gone by.
func (p *pair) catchUp(ticks int) {
	if ticks != p.ticks {
		p.Rate, p.tickBytes, p.ticks = p.rateAt(ticks), 0, ticks
	}
}

// pairEntry is a pair with what it is sorted by unless somebody wants
// otherwise.
type pairEntry struct {
	*pair
	source, destination *groupName
	plight              plight
}

// enter makes the entry of a pair.
func (p *pair) enter() pairEntry {
	k := &p.key
	e := pairEntry{p, k.local, k.peer, plight{k.verdict, k.candidate, k.enforced, p.Faults > 0}}
	if k.direction == flow.Ingress {
		e.source, e.destination = e.destination, e.source
	}
	return e
}

func (m *sums) enlist(p *pair) {
	p.at = len(m.list)
	m.list = append(m.list, p.enter())
}

// strike takes a pair off the list; the last one takes its place.
func (m *sums) strike(p *pair) {
	last := len(m.list) - 1
	m.list[p.at] = m.list[last]
	m.list[p.at].at = p.at
	m.list[last] = pairEntry{}
	m.list = m.list[:last]
}

// pairKey is a PairID that is cheap to compare.
type pairKey struct {
	local, peer        *groupName
	port               uint16
	protocol           flow.Protocol
	direction          flow.Direction
	verdict, candidate flow.Verdict
	enforced           bool
}

// put adds a row to the pair's.
func (p *pair) put(r *row) {
	r.sum.prev, r.sum.next = nil, p.some
	if p.some != nil {
		p.some.sum.prev = r
		p.mixed = p.mixed || p.some.seq > r.seq
	}
	p.some = r
	if !p.unsure && (p.newest == nil || r.seq > p.newest.seq) {
		p.newest = r
	}
}

// take removes a row from the pair's. If it is the newest, the next one is
// looked for when the frame has been taken: another verdict may come for all
// of a hundred thousand rows, in no order.
func (m *sums) take(p *pair, r *row) {
	if r.sum.prev != nil {
		r.sum.prev.sum.next = r.sum.next
	} else {
		p.some = r.sum.next
	}
	if r.sum.next != nil {
		r.sum.next.sum.prev = r.sum.prev
	}
	r.sum.prev, r.sum.next = nil, nil
	if p.newest != r {
		return
	}
	p.newest = nil
	if p.some != nil {
		p.unsure = true
		m.unsure = append(m.unsure, p)
	}
}

// findNewest is for pairs whose newest row was taken.
func (m *sums) findNewest() {
	for _, p := range m.unsure {
		p.unsure = false
		for r := p.some; r != nil; r = r.sum.next {
			if p.newest == nil || r.seq > p.newest.seq {
				p.newest = r
			}
		}
	}
	clear(m.unsure)
	m.unsure = m.unsure[:0]
}

// queryPairs gives the pairs as they are kept, or, for a filter that looks at
// single connections, sums up those that match.
func (s *Store) queryPairs(q *Query, out *Snapshot) {
	list := s.sums.list
	switch {
	case q.Match != nil && q.viewed():
		list = s.narrowed(s.viewOf(q))
	case q.Match != nil:
		list = s.pairsOf(q)
	}
	order := s.pairOrder(q.Order.By)
	if q.Order.Reverse {
		forward := order
		order = func(a, b *pairEntry) int { return forward(b, a) }
	}
	best := newBest(q.Offset+q.Limit, order)
	for i := range list {
		if e := &list[i]; q.Match != nil || s.wants(q, e.plight) {
			out.PairTotal++
			best.add(e)
		}
	}
	shown := best.sorted()
	shown = shown[min(q.Offset, len(shown)):]
	room := make([]PairRow, len(shown))
	newest := make([]*row, len(shown))
	for i, p := range shown {
		newest[i] = p.newest
	}
	samples := s.flowRows(newest)
	out.Pairs = make([]*PairRow, len(shown))
	for i, p := range shown {
		c := &room[i]
		*c = p.PairRow
		c.Rate, c.Sample = p.rateAt(s.sums.ticks), samples[i]
		out.Pairs[i] = c
	}
}

func (s *Store) pairsOf(q *Query) []pairEntry {
	pairs := map[*pair]*pair{}
	s.matching(q, func(r *row) {
		of := r.sum.pair
		if of == nil {
			return // it has just been let go
		}
		p := pairs[of]
		if p == nil {
			p = &pair{newest: r, key: of.key, ticks: s.sums.ticks, PairRow: PairRow{ID: of.ID, First: r.first, Last: r.last.time()}}
			pairs[of] = p
		}
		p.add(r, s.rateOf(r))
	})
	list := make([]pairEntry, 0, len(pairs))
	for _, p := range pairs {
		list = append(list, p.enter())
	}
	return list
}

func (k pairKey) id() PairID {
	id := PairID{
		Source: k.local.name, Destination: k.peer.name, Port: k.port, Protocol: k.protocol,
		Direction: k.direction, Verdict: k.verdict, Candidate: k.candidate, Enforced: k.enforced,
	}
	if k.direction == flow.Ingress {
		id.Source, id.Destination = id.Destination, id.Source
	}
	return id
}

func (p *pair) add(r *row, rate float64) {
	p.Flows++
	if !r.done {
		p.Open++
	}
	if r.seq > p.newest.seq {
		p.newest = r
	}
	p.Packets += r.packetsIn + r.packetsOut
	p.Bytes += r.bytesIn + r.bytesOut
	p.Rate += rate
	p.Faults += r.faults + r.enforcedPackets
	if r.first.Before(p.First) {
		p.First = r.first
	}
	if last := r.last.time(); last.After(p.Last) {
		p.Last = last
	}
}

// pairOrder compares pairs by a column; ties by their names, so that rows
// keep their place while their numbers grow.
func (s *Store) pairOrder(by string) func(a, b *pairEntry) int {
	var c func(a, b *pairEntry) int
	switch by {
	case "rate":
		c = func(a, b *pairEntry) int { return cmp.Compare(b.rateAt(s.sums.ticks), a.rateAt(s.sums.ticks)) }
	case "bytes":
		c = func(a, b *pairEntry) int { return cmp.Compare(b.Bytes, a.Bytes) }
	case "packets":
		c = func(a, b *pairEntry) int { return cmp.Compare(b.Packets, a.Packets) }
	case "drops":
		c = func(a, b *pairEntry) int { return cmp.Compare(b.Faults, a.Faults) }
	case "flows":
		c = func(a, b *pairEntry) int { return cmp.Compare(b.Flows, a.Flows) }
	case "last":
		c = func(a, b *pairEntry) int { return b.Last.Compare(a.Last) }
	case "age":
		c = func(a, b *pairEntry) int { return b.First.Compare(a.First) }
	case "source", "from", "name":
		c = func(_, _ *pairEntry) int { return 0 }
	case "destination", "to":
		c = func(a, b *pairEntry) int { return a.destination.compare(b.destination) }
	case "port":
		c = func(a, b *pairEntry) int { return cmp.Compare(a.ID.Port, b.ID.Port) }
	case "rule":
		c = func(a, b *pairEntry) int { return strings.Compare(a.newest.ruleName(), b.newest.ruleName()) }
	case "agreement":
		c = func(a, b *pairEntry) int { return cmp.Compare(doubt(a.newest), doubt(b.newest)) }
	case "observed":
		c = func(a, b *pairEntry) int { return cmp.Compare(fate(a.newest), fate(b.newest)) }
	default: // verdict
		c = func(a, b *pairEntry) int { return cmp.Compare(s.gravityOf(b.plight), s.gravityOf(a.plight)) }
	}
	return func(a, b *pairEntry) int {
		if n := cmp.Or(c(a, b), a.source.compare(b.source), a.destination.compare(b.destination)); n != 0 {
			return n // mostly: without a look at the pairs themselves
		}
		return cmp.Or(cmp.Compare(a.ID.Port, b.ID.Port), cmp.Compare(a.ID.Protocol, b.ID.Protocol), cmp.Compare(a.ID.Direction, b.ID.Direction),
			cmp.Compare(a.ID.Verdict, b.ID.Verdict), cmp.Compare(a.ID.Candidate, b.ID.Candidate), order(a.key.enforced, b.key.enforced))
	}
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
