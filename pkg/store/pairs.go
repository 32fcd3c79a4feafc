// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"net/netip"
	"strings"
	"sync/atomic"
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
	ID     PairID
	Sample *FlowRow // the newest of them
	Flows  int      // known, open or closed
	Open   int

	Packets, Bytes uint64
	Rate           float64 // bytes per second
	Faults         uint64  // packets dropped, but what is part of ordinary life
	First, Last    time.Time
}

// pair is a PairRow that is kept up to date, with its rows in the order in
// which they came.
type pair struct {
	PairRow
	key           pairKey
	first, newest *row // by arrival
	tickBytes     uint64
	named         atomic.Pointer[namedRow] // of a snapshot before
}

// namedRow is what of a pair's newest row stays the same while it is that.
type namedRow struct {
	FlowRow
	of        *row
	backend   netip.AddrPort
	candidate bool // there was one
}

// nameRow is the pair's newest row with names and verdicts only. Thousands of
// pairs are asked for at once, and hardly one of them has another than before.
func (s *Store) nameRow(p *pair) *FlowRow {
	r := p.newest
	backend := netip.AddrPort{}
	if p.key.direction == flow.Egress {
		backend = r.backend
	}
	if n := p.named.Load(); n != nil && n.of == r && n.backend == backend && n.candidate == s.rules.hasCandidate {
		return &n.FlowRow
	}
	n := &namedRow{of: r, backend: backend, candidate: s.rules.hasCandidate}
	n.ID = r.id
	n.Event = flow.Event{
		Type: flow.FlowEvent, Direction: r.direction, Subject: r.direction.Subject(), Protocol: r.protocol,
		Verdict: r.verdict, Enforced: r.enforced, Source: new(flow.Peer), Destination: new(flow.Peer),
	}
	s.fillEnds(r, &n.Event)
	if backend.IsValid() {
		n.Backend = r.backendWho.peer(backend)
		n.Event.Backend = n.Backend
	}
	p.named.Store(n)
	return &n.FlowRow
}

// gravityOfPair is known without a look at the rows, which are far apart in
// memory: they all have the pair's verdicts.
func (s *Store) gravityOfPair(p *pair) int {
	return s.gravityOf(p.key.verdict, p.key.candidate, p.key.enforced, p.Faults > 0)
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

// put adds a row to the pair's. Most come last; one whose verdict has changed
// goes between those that came before and after it.
func (p *pair) put(r *row) {
	after := p.newest
	for after != nil && after.seq > r.seq {
		after = after.sum.prev
	}
	r.sum.prev = after
	if after == nil {
		r.sum.next = p.first
	} else {
		r.sum.next = after.sum.next
		after.sum.next = r
	}
	if r.sum.next != nil {
		r.sum.next.sum.prev = r
	} else {
		p.newest = r
	}
	if r.sum.prev == nil {
		p.first = r
	}
}

// take removes a row from the pair's.
func (p *pair) take(r *row) {
	if r.sum.prev != nil {
		r.sum.prev.sum.next = r.sum.next
	} else {
		p.first = r.sum.next
	}
	if r.sum.next != nil {
		r.sum.next.sum.prev = r.sum.prev
	} else {
		p.newest = r.sum.prev
	}
	r.sum.prev, r.sum.next = nil, nil
}

// queryPairs gives the pairs as they are kept, or, for a filter that looks at
// single connections, sums up those that match.
func (s *Store) queryPairs(q *Query, out *Snapshot) {
	var list []*pair
	if q.Match == nil {
		list = s.keptPairs(q)
	} else {
		list = s.pairsOf(q)
	}
	out.PairTotal = len(list)
	for _, p := range window(list, q, s.pairOrder(q.Order.By)) {
		c := p.PairRow
		if q.Names {
			c.Sample = s.nameRow(p)
		} else {
			c.Sample = s.flowRow(p.newest)
		}
		out.Pairs = append(out.Pairs, &c)
	}
}

func (s *Store) keptPairs(q *Query) []*pair {
	list := make([]*pair, 0, len(s.sums.pairs))
	for _, p := range s.sums.pairs {
		if q.Trouble && p.Faults == 0 && !p.newest.troubled(s.rules.hasCandidate) || q.Changed && !s.changed(p.newest) {
			continue
		}
		list = append(list, p)
	}
	return list
}

func (s *Store) pairsOf(q *Query) []*pair {
	pairs := map[*pair]*pair{}
	var list []*pair
	s.matching(q, func(r *row) {
		of := r.sum.pair
		if of == nil {
			return // it has just been let go
		}
		p := pairs[of]
		if p == nil {
			p = &pair{newest: r, key: of.key, PairRow: PairRow{ID: of.ID, First: r.first, Last: r.last}}
			pairs[of] = p
			list = append(list, p)
		}
		p.add(r, s.rateOf(r))
	})
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
	if r.last.After(p.Last) {
		p.Last = r.last
	}
}

// pairOrder compares pairs by a column; ties by their names, so that rows
// keep their place while their numbers grow.
func (s *Store) pairOrder(by string) func(a, b *pair) int {
	var c func(a, b *pair) int
	switch by {
	case "rate":
		c = func(a, b *pair) int { return cmp.Compare(b.Rate, a.Rate) }
	case "bytes":
		c = func(a, b *pair) int { return cmp.Compare(b.Bytes, a.Bytes) }
	case "packets":
		c = func(a, b *pair) int { return cmp.Compare(b.Packets, a.Packets) }
	case "drops":
		c = func(a, b *pair) int { return cmp.Compare(b.Faults, a.Faults) }
	case "flows":
		c = func(a, b *pair) int { return cmp.Compare(b.Flows, a.Flows) }
	case "last":
		c = func(a, b *pair) int { return b.Last.Compare(a.Last) }
	case "age":
		c = func(a, b *pair) int { return b.First.Compare(a.First) }
	case "source", "from", "name":
		c = func(_, _ *pair) int { return 0 }
	case "destination", "to":
		c = func(a, b *pair) int { return strings.Compare(a.ID.Destination, b.ID.Destination) }
	case "port":
		c = func(a, b *pair) int { return cmp.Compare(a.ID.Port, b.ID.Port) }
	case "rule":
		c = func(a, b *pair) int { return strings.Compare(a.newest.ruleName(), b.newest.ruleName()) }
	case "agreement":
		c = func(a, b *pair) int { return cmp.Compare(doubt(a.newest), doubt(b.newest)) }
	case "observed":
		c = func(a, b *pair) int { return cmp.Compare(fate(a.newest), fate(b.newest)) }
	default: // verdict
		c = func(a, b *pair) int { return cmp.Compare(s.gravityOfPair(b), s.gravityOfPair(a)) }
	}
	return func(a, b *pair) int {
		return cmp.Or(c(a, b), strings.Compare(a.ID.Source, b.ID.Source), strings.Compare(a.ID.Destination, b.ID.Destination),
			cmp.Compare(a.ID.Port, b.ID.Port), cmp.Compare(a.ID.Protocol, b.ID.Protocol), cmp.Compare(a.ID.Direction, b.ID.Direction),
			cmp.Compare(a.ID.Verdict, b.ID.Verdict), cmp.Compare(a.ID.Candidate, b.ID.Candidate))
	}
}
