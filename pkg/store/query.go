// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

const defaultLimit = 1000

// Snapshot answers q. What it returns is never written again.
func (s *Store) Snapshot(q Query) *Snapshot {
	q.complete()
	if q.viewed() {
		s.viewing.Lock() // before the store's own: who builds a view lets that go in between
		defer s.viewing.Unlock()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.looking.Add(1)
	defer s.looking.Add(-1)
	out := &Snapshot{ID: s.version.of(&q), Time: s.now, Health: s.health()}
	if q.Flows {
		s.queryFlows(&q, out)
	}
	if q.Pairs {
		s.queryPairs(&q, out)
	}
	if q.Meets {
		s.queryMeets(&q, out)
	}
	if q.Drops {
		s.queryDrops(&q, out)
	}
	if q.Workloads {
		out.Workloads = s.queryWorkloads(&q)
	}
	if q.Policies {
		out.Policies = s.queryPolicies()
	}
	if q.Nodes {
		out.Nodes, out.Isolation = s.queryNodes(), s.queryIsolation()
	}
	if q.Timeline {
		s.queryTimeline(&q, out)
	}
	if q.Selected != nil {
		if r := s.rows.get(*q.Selected); r != nil {
			out.Selected = s.flowRow(r)
			s.events.each(func(e *timelineEntry) bool {
				if e.id == *q.Selected {
					out.FlowEvents = append(out.FlowEvents, e.clone(new([2]flow.Peer)))
				}
				return len(out.FlowEvents) < q.Limit
			})
			slices.Reverse(out.FlowEvents)
		}
	}
	return out
}

// complete is what the zero value asks for.
func (q *Query) complete() {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	q.Offset = max(0, q.Offset)
	if !q.Header && !q.Flows && !q.Pairs && !q.Meets && !q.Drops && !q.Workloads && !q.Policies && !q.Nodes && !q.Timeline && q.Selected == nil {
		q.Flows, q.Drops, q.Workloads, q.Policies, q.Nodes, q.Timeline = true, true, true, true, true, true
	}
}

// window cuts the asked-for rows out of a list that is not sorted yet.
func window[T any](list []T, q *Query, order func(a, b T) int) []T {
	if q.Unsorted && q.Offset+q.Limit >= len(list) {
		return list[min(q.Offset, len(list)):]
	}
	if q.Order.Reverse {
		forward := order
		order = func(a, b T) int { return forward(b, a) }
	}
	list = topK(list, q.Offset+q.Limit, order)
	return list[min(q.Offset, len(list)):]
}

func (s *Store) queryFlows(q *Query, out *Snapshot) {
	if q.Order.By == "verdict" && q.Match == nil {
		s.gravest(q, out)
		return
	}
	if q.viewed() {
		slots, total := s.window(s.viewOf(q), q.Offset, q.Limit, q.Order.Reverse)
		list := make([]*row, len(slots))
		for i, at := range slots {
			list[i] = s.rows.slots[at].row
		}
		out.Flows, out.FlowTotal = s.flowRows(list), total
		return
	}
	order := s.flowOrder(q.Order.By)
	if q.Order.Reverse {
		forward := order
		order = func(a, b *row) int { return forward(b, a) }
	}
	best := newBest(q.Offset+q.Limit, order)
	s.matching(q, func(r *row) {
		out.FlowTotal++
		best.add(r)
	})
	list := best.sorted()
	out.Flows = s.flowRows(list[min(q.Offset, len(list)):])
}

// gravest is the order that a screen asks for all the time: by verdict, then
// the newest first. How many there are of each gravity is known, so that
// nothing is compared and the walk ends with the last row of the window.
func (s *Store) gravest(q *Query, out *Snapshot) {
	var count, skip, take [gravities]int
	for p, n := range s.rows.count {
		if s.wants(q, p) {
			count[s.gravityOf(p)] += n
			out.FlowTotal += n
		}
	}
	offset, limit := q.Offset, q.Limit
	var found [gravities][]*row
	left := 0
	for i := range gravities {
		g := gravities - 1 - i
		if q.Order.Reverse {
			g = i
		}
		skip[g] = min(offset, count[g])
		take[g] = min(limit, count[g]-skip[g])
		offset -= skip[g]
		limit -= take[g]
		left += take[g]
		found[g] = make([]*row, 0, take[g])
	}
	for i := 0; i < len(s.rows.slots) && left > 0; i++ {
		t := &s.rows.slots[len(s.rows.slots)-1-i]
		if q.Order.Reverse {
			t = &s.rows.slots[i]
		}
		if t.row == nil || !s.wants(q, t.plight) {
			continue
		}
		switch g := s.gravityOf(t.plight); {
		case skip[g] > 0:
			skip[g]--
		case len(found[g]) < take[g]:
			found[g] = append(found[g], t.row)
			left--
		}
	}
	if !q.Order.Reverse {
		slices.Reverse(found[:])
	}
	out.Flows = s.flowRows(slices.Concat(found[:]...))
}

func (s *Store) queryDrops(q *Query, out *Snapshot) {
	list := make([]*dropGroup, 0, len(s.drops.groups))
	for _, g := range s.drops.groups {
		if g.row.Benign && !q.Benign || q.Match != nil && !q.Match(&g.row.Event) {
			continue
		}
		list = append(list, g)
	}
	out.DropTotal = len(list)
	var c func(a, b *dropGroup) int
	switch q.Order.By {
	case "count", "packets", "drops":
		c = func(a, b *dropGroup) int { return cmp.Compare(b.sampled, a.sampled) }
	case "culprit", "name":
		c = func(a, b *dropGroup) int {
			return cmp.Or(strings.Compare(a.row.Culprit, b.row.Culprit), strings.Compare(a.key.reason, b.key.reason),
				strings.Compare(a.key.source, b.key.source), strings.Compare(a.key.destination, b.key.destination))
		}
	case "reason":
		c = func(a, b *dropGroup) int { return strings.Compare(a.key.reason, b.key.reason) }
	case "source", "from":
		c = func(a, b *dropGroup) int { return strings.Compare(a.key.source, b.key.source) }
	case "destination", "to":
		c = func(a, b *dropGroup) int { return strings.Compare(a.key.destination, b.key.destination) }
	default:
		c = func(a, b *dropGroup) int { return b.last.Compare(a.last) }
	}
	order := func(a, b *dropGroup) int {
		if n := c(a, b); n != 0 {
			return n
		}
		return cmp.Compare(b.seq, a.seq)
	}
	for _, g := range window(list, q, order) {
		out.Drops = append(out.Drops, g.dropRow())
	}
}

func (s *Store) queryPolicies() []*PolicyRow {
	out := make([]*PolicyRow, 0, len(s.rules.policies))
	for _, p := range s.rules.policies {
		r := &PolicyRow{
			Kind: flow.RuleKind(p.GetKind()), Namespace: p.GetNamespace(), Name: p.GetName(), Origin: p.GetOrigin(),
			Current: p.GetCurrent(), Candidate: p.GetCandidate(), Enforced: p.GetEnforced(),
			Selected: int(p.GetSelected()), YAML: p.GetYaml(), NotEvaluated: p.GetNotEvaluated(), Warnings: p.GetWarnings(),
		}
		if p.GetChangedNs() != 0 {
			r.Changed = time.Unix(0, p.GetChangedNs()).UTC()
		}
		if c := s.rules.counts[policyKey{r.Kind, r.Namespace, r.Name}]; c != nil {
			r.Hits, r.WouldDeny = c.hits, c.wouldDeny
			r.RuleHits = make(map[RuleAt]uint64, len(c.ruleHits))
			for k, v := range c.ruleHits {
				r.RuleHits[k] = v
			}
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b *PolicyRow) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	return out
}

func (s *Store) queryNodes() []*NodeRow {
	out := make([]*NodeRow, 0, len(s.nodes))
	for _, n := range s.nodes {
		r := n.row
		r.LeaseLeft = s.left(r.LeaseLeft, n.leaseAt)
		out = append(out, &r)
	}
	slices.SortFunc(out, func(a, b *NodeRow) int { return strings.Compare(a.Node, b.Node) })
	return out
}

func (s *Store) health() Health {
	h := Health{
		NodesTotal: len(s.nodes), Gaps: s.gaps, LetGo: s.letGo, HasCandidate: s.rules.hasCandidate,
		Source: s.opt.Source, Replay: s.opt.Replay, NotEvaluated: s.rules.notEvaluated,
		Notice: s.notice, Notices: s.notices,
	}
	if w := s.known.Load(); w != nil {
		h.Scope = w.Scope
	}
	if s.opt.Requests != nil {
		h.Requests = s.opt.Requests()
	}
	if s.opt.Verified != nil {
		h.Agreed, h.Compared = s.opt.Verified()
	}
	for _, n := range s.nodes {
		if n.row.Phase == "live" {
			h.NodesLive++
		}
		l := n.row.Loss
		h.Loss.Ring += l.Ring
		h.Loss.Thinned += l.Thinned
		h.Loss.Table += l.Table
		h.Loss.Resent += l.Resent
		h.Loss.UntrackedPackets += l.UntrackedPackets
		h.Loss.UntrackedBytes += l.UntrackedBytes
		if !n.row.Enforcing {
			continue
		}
		lease, total := s.left(n.row.LeaseLeft, n.leaseAt), s.left(n.totalLeft, n.leaseAt)
		if !h.Enforcing || lease < h.LeaseLeft {
			h.LeaseLeft = lease
		}
		h.EnforceLeft = max(h.EnforceLeft, total)
		h.Enforcing = true
	}
	return h
}

// Watched are the pods that probes have been attached to, as namespace/name,
// whether or not they had traffic.
func (s *Store) Watched() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for _, n := range s.nodes {
		for id, e := range n.endpoints {
			if p := s.names.decoder.Pod(ruleset.EndpointID(id)); p != nil && e.GetAttached() {
				out = append(out, p.Key())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
