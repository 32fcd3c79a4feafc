// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"slices"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// Snapshot answers like the store, without its sorting.
func (w *World) Snapshot(q store.Query) *store.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Asked++
	s := &store.Snapshot{ID: w.id, Time: w.now, Health: w.health}
	if !w.lease.IsZero() {
		s.Health.Enforcing = w.now.Before(w.lease)
		s.Health.EnforceLeft = w.lease.Sub(w.now)
		s.Health.LeaseLeft = min(10*time.Second, s.Health.EnforceLeft)
	}
	if q.Flows {
		for i := range w.flows {
			r := w.flows[i]
			if q.Order.Reverse {
				r = w.flows[len(w.flows)-1-i]
			}
			if !wanted(&q, r) {
				continue
			}
			s.FlowTotal++
			if s.FlowTotal > q.Offset && len(s.Flows) < q.Limit {
				s.Flows = append(s.Flows, r)
			}
		}
	}
	if q.Pairs {
		w.pairs(q, s)
	}
	if q.Meets {
		w.meets(q, s)
	}
	if q.Drops {
		for _, r := range w.drops {
			if (q.Benign || !r.Benign) && (q.Match == nil || q.Match(&r.Event)) {
				s.Drops = append(s.Drops, r)
			}
		}
		s.DropTotal = len(s.Drops)
	}
	if q.Workloads {
		s.Workloads = w.workloads
	}
	if q.Policies {
		s.Policies = w.policies
	}
	if q.Nodes {
		s.Nodes, s.Isolation = w.nodes, w.isolation
	}
	if q.Timeline {
		w.moments(q, s)
	}
	if q.Selected != nil {
		for _, r := range w.flows {
			if r.ID == *q.Selected {
				s.Selected, s.FlowEvents = r, w.timeline[:min(2, len(w.timeline))]
			}
		}
	}
	return s
}

// moments lists the events like the store: the newest first.
func (w *World) moments(q store.Query, s *store.Snapshot) {
	for i := range w.timeline {
		at := i
		if !q.Order.Reverse {
			at = len(w.timeline) - 1 - i
		}
		e := &w.timeline[at]
		if q.Telling && store.Ordinary(e) || q.Match != nil && !q.Match(e) {
			continue
		}
		s.TimelineTotal++
		if s.TimelineTotal > q.Offset && len(s.Timeline) < q.Limit {
			s.Timeline = append(s.Timeline, store.Moment{Event: *e, Number: uint64(at + 1)}) //nolint:gosec // an index
		}
	}
	if len(w.timeline) > 0 {
		s.TimelineFrom = w.timeline[0].Time
	}
}

// pairs sums up like the store, in the order of the flows.
func (w *World) pairs(q store.Query, s *store.Snapshot) {
	have := map[store.PairID]*store.PairRow{}
	for _, r := range w.flows {
		e := &r.Event
		if !wanted(&q, r) {
			continue
		}
		id := store.PairID{Protocol: e.Protocol, Direction: e.Direction, Verdict: e.Verdict, Candidate: e.Candidate, Enforced: e.Enforced}
		id.Source, id.Destination = group(e.Source), group(e.Destination)
		if e.Destination != nil {
			id.Port = e.Destination.Port
		}
		p := have[id]
		if p == nil {
			p = &store.PairRow{ID: id, Sample: r, First: r.First}
			have[id] = p
			if s.PairTotal++; s.PairTotal > q.Offset && len(s.Pairs) < q.Limit {
				s.Pairs = append(s.Pairs, p)
			}
		}
		p.Flows++
		if !r.Closed {
			p.Open++
		}
		p.Packets, p.Bytes = p.Packets+r.PacketsIn+r.PacketsOut, p.Bytes+r.BytesIn+r.BytesOut
		p.Rate, p.Faults, p.Last = p.Rate+r.Rate, p.Faults+r.Faults, r.Last
	}
}

type meetID struct {
	from, to           string
	verdict, candidate flow.Verdict
	enforced           bool
}

// meets sums up like the store, in the order of the flows.
func (w *World) meets(q store.Query, s *store.Snapshot) {
	have := map[meetID]int{}
	places := map[string]int32{}
	name := func(n string) int32 {
		at, ok := places[n]
		if !ok {
			at = int32(len(s.MeetNames)) //nolint:gosec // a few
			places[n], s.MeetNames = at, append(s.MeetNames, n)
		}
		return at
	}
	for _, r := range w.flows {
		e := &r.Event
		if !wanted(&q, r) {
			continue
		}
		to := e.Destination
		if r.Backend != nil {
			to = r.Backend
		}
		k := meetID{group(e.Source), group(to), e.Verdict, e.Candidate, e.Enforced}
		at, ok := have[k]
		if !ok {
			at = len(s.Meets)
			have[k] = at
			s.Meets = append(s.Meets, store.MeetRow{
				From: name(k.from), To: name(k.to), Verdict: k.verdict, Candidate: k.candidate, Enforced: k.enforced,
				ToService: to.Service != "" && to.Service == k.to,
			})
		}
		m := &s.Meets[at]
		m.Flows++
		p := store.Port{Protocol: e.Protocol}
		if e.Destination != nil {
			p.Port = e.Destination.Port
		}
		if !slices.Contains(m.Ports, p) {
			m.Ports = append(m.Ports, p)
		}
	}
	s.MeetTotal = len(s.Meets)
}

// wanted says whether a query lets a flow through.
func wanted(q *store.Query, r *store.FlowRow) bool {
	e := &r.Event
	return (q.Match == nil || q.Match(e)) && (!q.Changed || e.WouldChange()) &&
		(!q.Trouble || e.Verdict != flow.Allow || e.WouldChange() || r.Drops > 0)
}

func group(p *flow.Peer) string {
	switch {
	case p == nil:
		return ""
	case p.Workload != "":
		return p.Namespace + "/" + p.Workload
	case p.Service != "":
		return p.Service
	case p.Name != "":
		return p.Name
	}
	return p.IP.String()
}
