// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// MeetRow sums up the known connections between two groups with the same
// verdicts, whatever their ports. A service's own group is replaced by that of
// the backend that answers for it, once one is known.
type MeetRow struct {
	From, To           int32 // places in Snapshot.MeetNames
	Verdict, Candidate flow.Verdict
	Enforced           bool
	ToService          bool   // To is a service: who answers for it isn't known
	Faults             uint64 // packets dropped, but what is part of ordinary life
	Flows              int    // known, open or closed
	Ports              []Port // of the destination, some of those seen so far; sorted
}

// Port is where a connection goes to. Port 0: the protocol has none.
type Port struct {
	Protocol flow.Protocol
	Port     uint16
}

// mostPorts is how many a MeetRow names.
const mostPorts = 8

// meet is a MeetRow that is kept up to date: pairs may be as many as
// connections, where each has a port of its own; who meets whom are few.
type meet struct {
	key       meetKey
	flows     int // 0: nobody
	faults    uint64
	ports     []Port     // sorted; another one is another list
	answering *groupName // of a service: who answered last; nil: not known
}

// meets stand one after the other, in pieces that are never moved, so that a
// walk over all of them reads memory in order.
type meets struct {
	of     map[meetKey]*meet
	pieces [][]meet
	free   []*meet
}

const meetsInPiece = 256

// find gives the meet with a key, a new one if there is none.
func (m *meets) find(key meetKey) *meet {
	if t := m.of[key]; t != nil {
		return t
	}
	if len(m.free) == 0 {
		piece := make([]meet, meetsInPiece)
		m.pieces = append(m.pieces, piece)
		for i := range piece {
			m.free = append(m.free, &piece[len(piece)-1-i])
		}
	}
	t := m.free[len(m.free)-1]
	m.free = m.free[:len(m.free)-1]
	t.key = key
	m.of[key] = t
	return t
}

func (m *meets) drop(t *meet) {
	delete(m.of, t.key)
	*t = meet{}
	m.free = append(m.free, t)
}

type meetKey struct {
	local, peer        *groupName
	direction          flow.Direction
	verdict, candidate flow.Verdict
	enforced           bool
}

// meet finds or begins what a pair is part of.
func (m *sums) meet(k pairKey) *meet {
	return m.meets.find(meetKey{k.local, k.peer, k.direction, k.verdict, k.candidate, k.enforced})
}

// sees takes note of a port.
func (t *meet) sees(p Port) {
	at, known := slices.BinarySearchFunc(t.ports, p, ComparePorts)
	if !known && len(t.ports) < mostPorts {
		t.ports = slices.Insert(slices.Clone(t.ports), at, p)
	}
}

// answers notes who answers for the service that a row's source asked for.
func (m *sums) answers(r *row) {
	if r.direction != flow.Egress || !r.backend.IsValid() || r.sum.pair == nil {
		return
	}
	t, was := r.sum.pair.meet, r.sum.pair.meet.answering
	if t.answering = m.group(r.backendWho, r.backend); t.answering == was {
		return
	}
	t.answering.refs++
	if was != nil {
		m.release(was)
	}
}

func (t *meet) plight() plight {
	return plight{t.key.verdict, t.key.candidate, t.key.enforced, t.faults > 0}
}

// ComparePorts orders ports by number, then by protocol.
func ComparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
}

// queryMeets gives the meets as they are kept, or, for a filter that looks at
// single connections, sums up those that match.
func (s *Store) queryMeets(q *Query, out *Snapshot) {
	list := make([]*meet, 0, len(s.sums.meets.of))
	keep := func(t *meet) {
		if t.flows > 0 && s.wants(q, t.plight()) {
			list = append(list, t)
		}
	}
	if q.Match == nil {
		for _, piece := range s.sums.meets.pieces {
			for i := range piece {
				keep(&piece[i])
			}
		}
	} else {
		for _, t := range s.meetsOf(q) {
			keep(t)
		}
	}
	out.MeetTotal = len(list)
	if len(list) > q.Limit {
		list = window(list, q, s.meetOrder())
	}
	out.Meets = make([]MeetRow, len(list))
	at := make([]int32, len(s.sums.named)) // place of each name in the answer, from 1
	name := func(g *groupName) int32 {
		if at[g.at] == 0 {
			out.MeetNames = append(out.MeetNames, g.name)
			at[g.at] = int32(len(out.MeetNames)) //nolint:gosec // bounded by Limits.Flows
		}
		return at[g.at] - 1
	}
	for i, t := range list {
		k := &t.key
		from, to, service := k.local, k.peer, k.peer.service
		switch {
		case k.direction == flow.Ingress:
			from, to, service = k.peer, k.local, false
		case t.answering != nil:
			to, service = t.answering, false
		}
		r := &out.Meets[i]
		*r = MeetRow{
			From: name(from), To: name(to), Verdict: k.verdict, Enforced: k.enforced, ToService: service,
			Faults: t.faults, Flows: t.flows, Ports: t.ports,
		}
		if s.rules.hasCandidate {
			r.Candidate = cmp.Or(k.candidate, k.verdict)
		}
	}
}

// meetOrder puts those with trouble first, then goes by name.
func (s *Store) meetOrder() func(a, b *meet) int {
	return func(a, b *meet) int {
		return cmp.Or(cmp.Compare(s.gravityOf(b.plight()), s.gravityOf(a.plight())),
			strings.Compare(a.key.local.name, b.key.local.name), strings.Compare(a.key.peer.name, b.key.peer.name),
			cmp.Compare(a.key.direction, b.key.direction), cmp.Compare(a.key.verdict, b.key.verdict), cmp.Compare(a.key.candidate, b.key.candidate))
	}
}

// meetsOf sums up the rows that a filter lets through.
func (s *Store) meetsOf(q *Query) map[*meet]*meet {
	meets := map[*meet]*meet{}
	all := *q
	all.Trouble, all.Changed = false, false
	if q.viewed() && !q.Flows && !q.Pairs {
		for _, e := range s.narrowed(s.viewOf(q)) {
			t := meets[e.meet]
			if t == nil {
				t = &meet{key: e.meet.key, answering: e.meet.answering}
				meets[e.meet] = t
			}
			t.flows += e.Flows
			t.faults += e.Faults
			t.sees(Port{e.key.protocol, e.key.port})
		}
		return meets
	}
	s.matching(&all, func(r *row) {
		of := r.sum.pair
		if of == nil {
			return // it has just been let go
		}
		t := meets[of.meet]
		if t == nil {
			t = &meet{key: of.meet.key, answering: of.meet.answering}
			meets[of.meet] = t
		}
		t.flows++
		t.faults += r.faults + r.enforcedPackets
		t.sees(Port{of.key.protocol, of.key.port})
	})
	return meets
}
