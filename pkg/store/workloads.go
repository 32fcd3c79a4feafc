// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// queryWorkloads sums the subjects' accounts up by what they are grouped by.
func (s *Store) queryWorkloads(q *Query) []*WorkloadRow {
	switch q.GroupBy {
	case "port", "external":
		return s.querySums(q)
	}
	groups := map[[2]string]*WorkloadRow{}
	for _, p := range s.pods {
		key := p.groupKey(q.GroupBy)
		if q.Match != nil && !q.Match(p.asEvent(s.rules.hasCandidate)) {
			continue
		}
		w := groups[key]
		if w == nil {
			w = &WorkloadRow{Namespace: key[0], Name: key[1]}
			groups[key] = w
		}
		p.addTo(w)
	}
	out := make([]*WorkloadRow, 0, len(groups))
	for _, w := range groups {
		if q.Trouble && w.Denied+w.WouldDeny+w.Contested+w.Dropped+w.Enforced == 0 {
			continue
		}
		slices.Sort(w.Nodes)
		w.Nodes = slices.Compact(w.Nodes)
		out = append(out, w)
	}
	return window(out, q, workloadOrder(q.Order.By))
}

// querySums lists the destination ports, or the ends that are neither pod nor
// service. Connections whose both ends are watched count once, where they
// arrive. A filter chooses among the known connections, so that totals are
// those of rows that haven't been let go.
func (s *Store) querySums(q *Query) []*WorkloadRow {
	of := func(c *summed) *account { return c.port }
	kept := s.sums.ports
	if q.GroupBy == "external" {
		of, kept = func(c *summed) *account { return c.external }, s.sums.externals
	}
	var out []*WorkloadRow
	keep := func(a *account) {
		w := &WorkloadRow{Name: a.who.name}
		a.addTo(w)
		w.Pods, w.Nodes = 0, nil
		if !q.Trouble || w.Denied+w.WouldDeny+w.Contested+w.Dropped+w.Enforced > 0 {
			out = append(out, w)
		}
	}
	if q.Match == nil {
		for _, a := range kept {
			keep(a)
		}
		return window(out, q, workloadOrder(q.Order.By))
	}
	some := map[*account]*account{}
	all := *q
	all.Trouble = false
	s.matching(&all, func(r *row) {
		a := of(&r.sum)
		if a == nil {
			return
		}
		n := some[a]
		if n == nil {
			n = &account{who: a.who}
			some[a] = n
		}
		n.bytesIn += r.bytesIn
		n.bytesOut += r.bytesOut
		n.dropped += r.faults + r.enforcedPackets
		n.rate += s.rateOf(r)
		n.verdicts(r.verdict, r.candidate, +1)
		if !r.done {
			n.flows++
		}
	})
	for _, a := range some {
		keep(a)
	}
	return window(out, q, workloadOrder(q.Order.By))
}

func (p *account) groupKey(by string) [2]string {
	w := p.who
	switch {
	case by == "namespace":
		if w.pod == "" {
			return [2]string{"", cmp.Or(w.name, p.addr.String())}
		}
		return [2]string{"", w.namespace}
	case by == "node":
		return [2]string{"", cmp.Or(w.node, p.node)}
	case w.pod == "":
		return [2]string{"", cmp.Or(w.name, p.addr.String())}
	case by == "pod" || w.workload == "":
		return [2]string{w.namespace, "pod/" + w.pod}
	}
	return [2]string{w.namespace, w.workload}
}

func (p *account) addTo(w *WorkloadRow) {
	first := w.History == nil
	if !p.folds {
		w.Pods++
	}
	if n := cmp.Or(p.who.node, p.node); n != "" {
		w.Nodes = append(w.Nodes, n)
	}
	w.Flows += int(p.flows)
	w.BytesIn += p.bytesIn
	w.BytesOut += p.bytesOut
	w.Rate += p.rate
	w.Allowed += unsigned(p.allowed)
	w.WouldDeny += unsigned(p.wouldDeny)
	w.Denied += unsigned(p.denied)
	w.Contested += unsigned(p.contested)
	w.Dropped += p.dropped
	w.Enforced += p.enforced
	w.WouldDrop += unsigned(p.wouldDrop)
	past := p.past()
	if first {
		w.History = past[:len(past):len(past)] // shared: it is never written again
		return
	}
	if sum := w.History; cap(sum) == len(sum) || len(past) > len(sum) {
		w.History = make([]uint64, max(len(past), len(sum)), historyTicks+1) // its own, by its capacity
		copy(w.History[len(w.History)-len(sum):], sum)
	}
	sum := w.History[len(w.History)-len(past):]
	for i, b := range past {
		sum[i] += b
	}
}

func unsigned(n int64) uint64 { return uint64(max(0, n)) } //nolint:gosec // not negative

// asEvent lets the filters for flows choose among subjects: by name, and by
// the gravest verdict that the subject has seen.
func (p *account) asEvent(hasCandidate bool) *flow.Event {
	peer := p.who.peer(netip.AddrPortFrom(p.addr, 0))
	e := &flow.Event{Type: flow.FlowEvent, Node: cmp.Or(p.who.node, p.node), Source: peer, Destination: peer, Enforced: p.enforced > 0}
	switch {
	case p.denied > 0:
		e.Verdict = flow.Deny
	case p.contested > 0:
		e.Verdict = flow.Contested
	case p.allowed > 0:
		e.Verdict = flow.Allow
	}
	if hasCandidate {
		e.Candidate = e.Verdict
		if p.wouldDeny > 0 {
			e.Verdict, e.Candidate = flow.Allow, flow.Deny
		}
	}
	return e
}

func workloadOrder(by string) func(a, b *WorkloadRow) int {
	num := func(v func(*WorkloadRow) uint64) func(a, b *WorkloadRow) int {
		return func(a, b *WorkloadRow) int { return cmp.Compare(v(b), v(a)) }
	}
	var c func(a, b *WorkloadRow) int
	switch by {
	case "name":
		c = func(_, _ *WorkloadRow) int { return 0 }
	case "flows":
		c = func(a, b *WorkloadRow) int { return cmp.Compare(b.Flows, a.Flows) }
	case "pods":
		c = func(a, b *WorkloadRow) int { return cmp.Compare(b.Pods, a.Pods) }
	case "in":
		c = num(func(w *WorkloadRow) uint64 { return w.BytesIn })
	case "out":
		c = num(func(w *WorkloadRow) uint64 { return w.BytesOut })
	case "bytes":
		c = num(func(w *WorkloadRow) uint64 { return w.BytesIn + w.BytesOut })
	case "allowed":
		c = num(func(w *WorkloadRow) uint64 { return w.Allowed })
	case "wouldDeny", "would-deny":
		c = num(func(w *WorkloadRow) uint64 { return w.WouldDeny })
	case "denied", "verdict":
		c = num(func(w *WorkloadRow) uint64 { return w.Denied + w.Enforced })
	case "contested":
		c = num(func(w *WorkloadRow) uint64 { return w.Contested })
	case "dropped", "drops":
		c = num(func(w *WorkloadRow) uint64 { return w.Dropped + w.Enforced })
	default:
		c = func(a, b *WorkloadRow) int { return cmp.Compare(b.Rate, a.Rate) }
	}
	return func(a, b *WorkloadRow) int {
		return cmp.Or(c(a, b), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	}
}
