// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"net/netip"
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
	ID     PairID
	Sample *FlowRow // the newest of them
	Flows  int      // known, open or closed
	Open   int

	Packets, Bytes uint64
	Rate           float64 // bytes per second
	Faults         uint64  // packets dropped, but what is part of ordinary life
	First, Last    time.Time
}

// pair is a PairRow while it is being added up.
type pair struct {
	PairRow
	newest *row
}

// pairKey is a PairID in 16 bytes: a hundred thousand are looked up for one
// snapshot, and texts would be most of the cost.
type pairKey struct {
	local, peer        uint32 // of groupNumbers
	port               uint16
	protocol           flow.Protocol
	direction          flow.Direction
	verdict, candidate flow.Verdict
	enforced           bool
}

// groupNumbers numbers the names of groups in the order in which they are met.
type groupNumbers struct {
	who   map[*who]uint32
	names map[string]uint32
	list  []string
}

func (g *groupNumbers) of(w *who, addr netip.AddrPort) uint32 {
	if n, ok := g.who[w]; ok {
		return n
	}
	name := w.group()
	known := name != ""
	if !known {
		name = addr.Addr().String()
	}
	n, ok := g.names[name]
	if !ok {
		n = uint32(len(g.list)) //nolint:gosec // no more than there are rows
		g.names[name] = n
		g.list = append(g.list, name)
	}
	if known {
		g.who[w] = n
	}
	return n
}

// queryPairs sums up all rows that match, whatever the window.
func (s *Store) queryPairs(q *Query, out *Snapshot) {
	groups := groupNumbers{who: map[*who]uint32{}, names: map[string]uint32{}}
	pairs := map[pairKey]*pair{}
	var list []*pair
	s.matching(q, func(r *row) {
		k := pairKey{
			local: groups.of(r.localWho, r.local), peer: groups.of(r.peerWho, r.peer), port: r.port(), protocol: r.protocol,
			direction: r.direction, verdict: r.verdict, enforced: r.enforced,
		}
		if s.rules.hasCandidate {
			k.candidate = r.candidate
		}
		p := pairs[k]
		if p == nil {
			p = &pair{newest: r}
			p.First, p.Last = r.first, r.last
			p.ID = k.id(groups.list)
			pairs[k] = p
			list = append(list, p)
		}
		p.add(r, s.rateOf(r))
	})
	out.PairTotal = len(list)
	for _, p := range window(list, q, s.pairOrder(q.Order.By)) {
		p.Sample = s.flowRow(p.newest)
		out.Pairs = append(out.Pairs, &p.PairRow)
	}
}

func (k pairKey) id(names []string) PairID {
	id := PairID{
		Source: names[k.local], Destination: names[k.peer], Port: k.port, Protocol: k.protocol,
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
	default: // verdict
		c = func(a, b *pair) int { return cmp.Compare(s.gravity(b.newest), s.gravity(a.newest)) }
	}
	return func(a, b *pair) int {
		return cmp.Or(c(a, b), strings.Compare(a.ID.Source, b.ID.Source), strings.Compare(a.ID.Destination, b.ID.Destination),
			cmp.Compare(a.ID.Port, b.ID.Port), cmp.Compare(a.ID.Protocol, b.ID.Protocol), cmp.Compare(a.ID.Direction, b.ID.Direction),
			cmp.Compare(a.ID.Verdict, b.ID.Verdict), cmp.Compare(a.ID.Candidate, b.ID.Candidate))
	}
}
