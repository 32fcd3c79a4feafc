// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// dropKey groups drops for people: by cause and by the two ends.
type dropKey struct {
	reason, location, source, destination string
	enforced                              bool
}

// kernelKey is what the kernel counts drops by, exactly.
type kernelKey struct {
	reason, location string
	endpoint         uint32
	enforced         bool
}

// kernelCount is an exact total and the groups that its samples fell into.
type kernelCount struct {
	packets uint64
	groups  map[*dropGroup]bool
	again   bool // it may have been told of before, and let go
}

type dropGroup struct {
	key         dropKey
	seq         uint64
	row         DropRow
	sampled     uint64 // what samples stand for
	kernel      map[*kernelCount]bool
	settled     uint64 // of counters that were let go
	shared      bool   // of these, some counted other groups as well
	unsure      bool   // counters were let go that go on
	first, last time.Time
}

type dropTable struct {
	groups map[dropKey]*dropGroup
	seq    uint64
}

func (t *dropTable) init() { t.groups = map[dropKey]*dropGroup{} }

func (a *applying) dropped(m *wire.Drops) {
	for _, d := range m.GetDrops() {
		a.drop(d)
	}
	n := a.nodeState()
	for _, c := range m.GetCounts() {
		reason, location := clean(c.GetReasonName()), clean(c.GetLocation())
		k := n.count(kernelKey{reason, location, c.GetEndpoint(), c.GetEnforced()})
		was := k.packets
		k.packets = max(was, c.GetPackets())
		if k.again { // what it counted before was charged already
			was, k.again = k.packets, false
		}
		if c.GetEnforced() {
			n.row.Dropped = max(n.row.Dropped, k.packets)
		}
		a.charge(c.GetEndpoint(), Cause{Reason: reason, Location: location, Enforced: c.GetEnforced()}, k.packets-was)
	}
}

// charge adds dropped packets to the account of the endpoint that suffered.
// Those that our lease dropped are counted by their flows.
func (a *applying) charge(endpoint uint32, c Cause, packets uint64) {
	if packets == 0 || c.Enforced || c.Explain().Benign {
		return
	}
	if p := a.s.names.decoder.Pod(ruleset.EndpointID(endpoint)); p != nil {
		if acc := a.s.pods[p.Key()]; acc != nil {
			acc.dropped += packets
		} else if acc = a.s.pods[foldedKey(p.Namespace, p.Workload, p.Node)]; acc != nil {
			acc.dropped += packets
		}
	}
}

func (n *nodeState) count(k kernelKey) *kernelCount {
	c := n.kernel[k]
	if c == nil {
		if len(n.kernel) >= maxKernelCounts {
			n.forgetCounts()
		}
		c = &kernelCount{groups: map[*dropGroup]bool{}, again: n.forgot}
		n.kernel[k] = c
	}
	return c
}

// maxKernelCounts is of one node.
const maxKernelCounts = 10_000

// forgetCounts lets the totals of endpoints go that are no more, or all, if
// there are too many even so: they come again with their next change.
func (n *nodeState) forgetCounts() {
	before := len(n.kernel)
	for k, c := range n.kernel {
		if n.endpoints[k.endpoint] == nil {
			for g := range c.groups { // they keep what was counted for them
				g.settled += c.packets
				g.shared = g.shared || len(c.groups) > 1
				delete(g.kernel, c)
			}
			delete(n.kernel, k)
		}
	}
	if len(n.kernel) > before/2 {
		n.forgot = true
		for _, c := range n.kernel {
			for g := range c.groups {
				g.unsure = true
				delete(g.kernel, c)
			}
		}
		clear(n.kernel)
	}
}

func (a *applying) drop(d *wire.Drop) {
	s := a.s
	cause := Cause{
		Reason: clean(d.GetReasonName()), Location: clean(d.GetLocation()), Device: clean(d.GetDevice()), Enforced: d.GetEnforced(),
		Rule: nftRule(d.GetRule()), Evidence: clean(d.GetEvidence()),
	}
	e := flow.Event{
		Type: flow.DropEvent, Time: a.when(d.GetTimeNs()), Node: a.node, Enforced: cause.Enforced,
		Reason: cause.Reason, Location: cause.Location, Device: cause.Device, Packets: max(1, d.GetWeight()), Bytes: uint64(d.GetLength()),
	}
	for _, f := range d.GetStack()[:min(len(d.GetStack()), 16)] {
		cause.Stack = append(cause.Stack, clean(f))
	}
	for _, name := range d.GetPrograms()[:min(len(d.GetPrograms()), 16)] {
		cause.Programs = append(cause.Programs, clean(name))
	}
	e.Stack, e.NftRule, e.Programs = cause.Stack, cause.Rule, cause.Programs
	source, destination := &who{}, &who{}
	if t, ok := d.Tuple(); ok {
		source, destination = s.names.of(t.Source.Addr(), a.here(e.Time)), s.names.of(t.Destination.Addr(), a.here(e.Time))
		if p := s.names.decoder.Pod(ruleset.EndpointID(d.GetWithin())); p != nil && d.GetWithin() != 0 {
			cause.Within, cause.Own = p.Key(), slices.Contains(p.IPs, t.Destination.Addr())
		}
		e.Protocol, e.Source, e.Destination = t.Protocol, source.peer(t.Source), destination.peer(t.Destination)
		a.s.ends(&cause, t, source, destination)
	}
	why := cause.Explain()
	e.Culprit, e.Note, e.Benign = why.Culprit, why.Sentence, why.Benign
	if t, ok := d.Tuple(); ok {
		a.blame(&e, t, d.GetEndpoint(), why)
		a.unseen(&e, d)
	}
	if d.GetWeight() > 1 {
		e.Bytes = 0 // of one packet only
	}
	g := s.drops.group(dropKey{cause.Reason, cause.Location, group(source, e.Source), group(destination, e.Destination), cause.Enforced}, s)
	g.sampled += e.Packets
	if cause.Rule != nil || g.row.Event.NftRule == nil { // the rule of one packet goes for its like
		g.row.Culprit, g.row.Sentence, g.row.Benign = why.Culprit, why.Sentence, why.Benign
	}
	if g.first.IsZero() {
		g.first = e.Time
	}
	g.last = e.Time
	if known := g.row.Event.NftRule; known != nil && e.NftRule == nil {
		g.row.Event = e
		g.row.Event.NftRule, g.row.Event.Culprit, g.row.Event.Note = known, g.row.Culprit, g.row.Sentence
	} else {
		g.row.Event = e
	}
	k := a.nodeState().count(kernelKey{cause.Reason, cause.Location, d.GetEndpoint(), cause.Enforced})
	k.groups[g], g.kernel[k] = true, true
	a.emit(e, a.flowOf(d))
	a.hit(&e, why)
}

// blame adds what is known of the flow that the packet belonged to.
func (a *applying) blame(e *flow.Event, t flow.Tuple, endpoint uint32, why Explanation) {
	if p := a.s.names.decoder.Pod(ruleset.EndpointID(endpoint)); p != nil {
		for _, ip := range p.IPs {
			switch ip {
			case t.Source.Addr():
				e.Direction = flow.Egress
			case t.Destination.Addr():
				e.Direction = flow.Ingress
			}
		}
		e.Subject = e.Direction.Subject()
		if e.Direction == 0 {
			e.Subject = ""
		}
	}
	for _, key := range [2]tupleKey{keyBetween(t.Protocol, t.Source, t.Destination), keyBetween(t.Protocol, t.Destination, t.Source)} {
		r := a.s.joins.exact.get(key)
		if r == nil || r.done {
			continue
		}
		r.drops += e.Packets
		if !why.Benign {
			r.faults += e.Packets
		}
		a.s.sum(r)
		a.s.recounted(r)
		subject := t.Destination.Addr()
		if e.Direction == flow.Egress {
			subject = t.Source.Addr()
		}
		if r.local.Addr() == subject {
			var named flow.Event
			a.s.fill(r, &named, new(flow.Peer), new(flow.Peer))
			e.Verdict, e.Rule, e.IsolatedBy = named.Verdict, named.Rule, named.IsolatedBy
			e.Candidate, e.CandidateRule, e.CandidateIsolatedBy = named.Candidate, named.CandidateRule, named.CandidateIsolatedBy
		}
	}
}

// unseen adds what the rules say at the endpoint that a packet never got to.
// What a program there saw and judged goes before it; an allowed way out of the
// sender doesn't.
func (a *applying) unseen(e *flow.Event, d *wire.Drop) {
	verdict, candidate := wire.Verdict(d.GetVerdict()), wire.Verdict(d.GetCandidate())
	if verdict == flow.NotJudged || e.Verdict != flow.NotJudged && (e.Direction == flow.Ingress || verdict == flow.Allow && candidate == flow.Allow) {
		return
	}
	rules := &a.s.rules
	e.Direction, e.Subject, e.Verdict = flow.Ingress, flow.Ingress.Subject(), verdict
	e.Rule, e.IsolatedBy = rules.decided(d.GetSet(), d.GetBit(), false)
	e.Candidate, e.CandidateRule, e.CandidateIsolatedBy = flow.NotJudged, nil, nil
	if rules.hasCandidate {
		e.Candidate = candidate
		e.CandidateRule, e.CandidateIsolatedBy = rules.decided(d.GetSet(), d.GetCandidateBit(), true)
	}
}

func (a *applying) flowOf(d *wire.Drop) FlowID {
	if t, ok := d.Tuple(); ok {
		for _, key := range [2]tupleKey{keyBetween(t.Protocol, t.Source, t.Destination), keyBetween(t.Protocol, t.Destination, t.Source)} {
			if r := a.s.joins.exact.get(key); r != nil && !r.done {
				return r.id
			}
		}
	}
	return FlowID{}
}

// group is what a drop's end is summed up under; its address if it has no name.
func group(w *who, p *flow.Peer) string {
	if g := w.group(); g != "" {
		return g
	}
	if p != nil && p.IP != (netip.Addr{}) {
		return p.IP.String()
	}
	return ""
}

func (t *dropTable) group(k dropKey, s *Store) *dropGroup {
	if g := t.groups[k]; g != nil {
		return g
	}
	if len(t.groups) >= s.opt.Drops {
		t.letGo(s)
	}
	t.seq++
	g := &dropGroup{key: k, seq: t.seq, kernel: map[*kernelCount]bool{}}
	t.groups[k] = g
	return g
}

// letGo forgets the quieter tenth of the groups at once, so that a storm of
// new ones doesn't search each time.
func (t *dropTable) letGo(s *Store) {
	list := make([]*dropGroup, 0, len(t.groups))
	for _, g := range t.groups {
		list = append(list, g)
	}
	gone := topK(list, max(1, len(list)/10), func(a, b *dropGroup) int { return a.last.Compare(b.last) })
	for _, g := range gone {
		delete(t.groups, g.key)
		for k := range g.kernel {
			delete(k.groups, g)
		}
		s.letGo++
	}
}

// dropRow is the group with its count: exact if all that the kernel counted
// under its keys fell into this group alone.
func (g *dropGroup) dropRow() *DropRow {
	r := g.row
	r.First, r.Last = g.first, g.last
	exact, alone := g.settled, !g.shared
	for k := range g.kernel {
		exact += k.packets
		alone = alone && len(k.groups) == 1
	}
	switch {
	case alone && !g.unsure && exact >= g.sampled:
		r.Count = exact
	default:
		r.Count, r.Sampled = g.sampled, exact > g.sampled || g.unsure
	}
	return &r
}
