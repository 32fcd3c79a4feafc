// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// MeetRow sums up the known connections between two groups with the same
// verdicts, whatever their ports. A service's own group is replaced by that of
// the backend that answers for it, once one is known.
type MeetRow struct {
	From, To           string // workload if known, else pod, service, name or address
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
	key     meetKey
	flows   int
	faults  uint64
	ports   []Port // sorted; another one is another list
	backend *who   // of a service: who answered last; nil: not known
	at      netip.AddrPort
}

type meetKey struct {
	local, peer        *groupName
	direction          flow.Direction
	verdict, candidate flow.Verdict
	enforced           bool
}

// meet finds or begins what a pair is part of.
func (m *sums) meet(k pairKey) *meet {
	key := meetKey{k.local, k.peer, k.direction, k.verdict, k.candidate, k.enforced}
	t := m.meets[key]
	if t == nil {
		t = &meet{key: key}
		m.meets[key] = t
	}
	return t
}

// sees takes note of a port.
func (t *meet) sees(p Port) {
	at, known := slices.BinarySearchFunc(t.ports, p, ComparePorts)
	if !known && len(t.ports) < mostPorts {
		t.ports = slices.Insert(slices.Clone(t.ports), at, p)
	}
}

// answers notes who answers for the service that a row's source asked for.
func (r *row) answers() {
	if r.direction == flow.Egress && r.backend.IsValid() && r.sum.pair != nil {
		t := r.sum.pair.meet
		t.backend, t.at = r.backendWho, r.backend
	}
}

func (t *meet) plight() plight {
	return plight{t.key.verdict, t.key.candidate, t.key.enforced, t.faults > 0}
}

// row is what a query gets.
func (t *meet) row(hasCandidate bool) MeetRow {
	r := MeetRow{
		From: t.key.local.name, To: t.key.peer.name, Verdict: t.key.verdict, Enforced: t.key.enforced,
		Faults: t.faults, Flows: t.flows, Ports: t.ports,
	}
	if hasCandidate {
		r.Candidate = cmp.Or(t.key.candidate, t.key.verdict)
	}
	switch {
	case t.key.direction == flow.Ingress:
		r.From, r.To = r.To, r.From
	case t.backend != nil:
		r.To = cmp.Or(t.backend.group(), t.at.Addr().String())
	default:
		r.ToService = t.key.peer.service
	}
	return r
}

// ComparePorts orders ports by number, then by protocol.
func ComparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
}

// queryMeets gives the meets as they are kept, or, for a filter that looks at
// single connections, sums up those that match.
func (s *Store) queryMeets(q *Query, out *Snapshot) {
	list := make([]*meet, 0, len(s.sums.meets))
	keep := func(t *meet) {
		if !s.wants(q, t.plight()) {
			return
		}
		list = append(list, t)
	}
	if q.Match == nil {
		for _, t := range s.sums.meets {
			keep(t)
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
	for i, t := range list {
		out.Meets[i] = t.row(s.rules.hasCandidate)
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
	s.matching(&all, func(r *row) {
		of := r.sum.pair
		if of == nil {
			return // it has just been let go
		}
		t := meets[of.meet]
		if t == nil {
			t = &meet{key: of.meet.key, backend: of.meet.backend, at: of.meet.at}
			meets[of.meet] = t
		}
		t.flows++
		t.faults += r.faults + r.enforcedPackets
		t.sees(Port{of.key.protocol, of.key.port})
	})
	return meets
}
