// SPDX-License-Identifier: Apache-2.0

package store

import (
	"slices"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// policyKey names a policy whatever its version.
type policyKey struct {
	kind            flow.RuleKind
	namespace, name string
}

func keyOf(r *flow.Rule) policyKey { return policyKey{r.Kind, r.Namespace, r.Name} }

// rules knows what the bits of each policy set mean, and how each policy stands.
type rules struct {
	sets         map[uint32]*setNames
	age          []uint32 // set ids, oldest first
	policies     []*wire.PolicyState
	parts        []*wire.PolicyState // of a list that is still coming
	byKey        map[policyKey]*standing
	counts       map[policyKey]*policyCount
	hasCandidate bool
	notEvaluated int
	version      uint64    // of policies
	movedAt      time.Time // when they last changed
	since        map[policyKey]*effect

	limit int // bits of all sets
	bits  int // so many there are
	rules map[ruleKey]*flow.Rule
	list  []flow.Rule // memory of the last isolation
}

// ruleKey is a rule that can be compared: many sets share their rules.
type ruleKey struct {
	policyKey
	index int // -1: the policy as a whole
}

// effect is since when the present text of a policy is in effect.
type effect struct {
	text string
	at   time.Time // zero: not known
	live bool      // the change was seen: at is exact, else to the second
}

// setNames names the bits of one set. byMode lists who isolates, current and
// candidate, as the policies' modes are now; rows share the lists.
type setNames struct {
	direction     flow.Direction
	bits          []ruleBit
	isolateStart  int
	baselineStart int
	byMode        [2][]flow.Rule
	used          bool // since it was last to be let go
}

type ruleBit struct {
	rule          *flow.Rule
	candidateOnly bool
}

// standing says which versions of a policy are in the candidate set.
type standing struct {
	cluster, file bool
	text          string
}

// policyCount is what a policy's present text has decided.
type policyCount struct {
	text            string
	hits, wouldDeny uint64
	ruleHits        map[RuleAt]uint64
}

const (
	maxCounted  = 10_000 // policies whose hits are counted
	maxParts    = 1 << 20
	fromCluster = "cluster" // the origin of a policy that no file has a version of
)

func (r *rules) init() {
	r.sets, r.byKey, r.counts = map[uint32]*setNames{}, map[policyKey]*standing{}, map[policyKey]*policyCount{}
	r.rules = map[ruleKey]*flow.Rule{}
}

func (r *rules) add(m *wire.RuleNames) {
	for _, s := range m.GetSets() {
		if len(s.GetBits()) > ruleset.Bits {
			continue
		}
		n := &setNames{
			direction:    flow.Direction(s.GetDirection() & 3), //nolint:gosec // two bits
			isolateStart: int(s.GetIsolateStart()), baselineStart: int(s.GetBaselineStart()),
			bits: make([]ruleBit, len(s.GetBits())),
		}
		for i, b := range s.GetBits() {
			n.bits[i] = ruleBit{r.intern(b.Rule()), b.GetCandidateOnly()}
		}
		if old := r.sets[s.GetSet()]; old != nil {
			r.bits -= len(old.bits)
		} else {
			r.age = append(r.age, s.GetSet())
		}
		r.bits += len(n.bits)
		r.sets[s.GetSet()] = n
		r.isolation(n)
	}
	r.forget()
}

// forget lets sets go, the oldest first. One that somebody asked for since it
// was last its turn is new again: the sets of pods that stay are as old as the
// session. The newest stay, whatever their size.
func (r *rules) forget() {
	for turns := len(r.age); r.bits > r.limit && len(r.age) > 1 && turns > -len(r.age); turns-- {
		id := r.age[0]
		r.age = r.age[1:]
		s := r.sets[id]
		if s.used && turns > 0 {
			s.used = false
			r.age = append(r.age, id)
			continue
		}
		r.bits -= len(s.bits)
		delete(r.sets, id)
	}
}

// intern gives one rule for all that are equal.
func (r *rules) intern(rule flow.Rule) *flow.Rule {
	k := ruleKey{keyOf(&rule), -1}
	if rule.Index != nil {
		k.index = *rule.Index
	}
	if have := r.rules[k]; have != nil {
		return have
	}
	if len(r.rules) >= max(1000, r.limit/10) {
		clear(r.rules) // sets keep what they point to
	}
	r.rules[k] = &rule
	return &rule
}

// states takes the list of policies, which may come in parts; nothing changes
// before the last of them.
func (r *rules) states(m *wire.PolicyStates, at time.Time) {
	if len(r.parts) < maxParts {
		r.parts = append(r.parts, m.GetPolicies()...)
	}
	if m.GetMore() {
		return
	}
	r.policies, r.parts = r.parts, nil
	r.effects(at)
	r.hasCandidate, r.notEvaluated = m.GetHasCandidate(), 0
	clear(r.byKey)
	for _, p := range r.policies {
		k := policyKey{flow.RuleKind(p.GetKind()), p.GetNamespace(), p.GetName()}
		if c := r.counts[k]; c != nil && c.text != "" && c.text != p.GetYaml() {
			delete(r.counts, k) // they are of other rules with the same numbers
		}
		if p.GetNotEvaluated() != "" {
			r.notEvaluated++
			continue
		}
		st := &standing{cluster: p.GetCandidate()}
		if p.GetOrigin() != fromCluster {
			// A version of the user's own. In use it stands in the place of
			// the cluster's; otherwise the cluster's, if any, stays.
			st = &standing{cluster: p.GetCurrent() && !p.GetCandidate(), file: p.GetCandidate()}
		}
		st.text = p.GetYaml()
		r.byKey[k] = st
	}
	for _, s := range r.sets {
		r.isolation(s)
	}
}

// effects notes which texts are new. What was there when the session began is
// as old as the cluster says.
func (r *rules) effects(at time.Time) {
	first := r.version == 0
	r.version++
	now := make(map[policyKey]*effect, len(r.policies))
	for _, p := range r.policies {
		if !p.GetCurrent() || p.GetNotEvaluated() != "" {
			continue
		}
		k := policyKey{flow.RuleKind(p.GetKind()), p.GetNamespace(), p.GetName()}
		if p.GetOrigin() != fromCluster && r.since[k] != nil {
			now[k] = r.since[k] // the text is the candidate's
			continue
		}
		if old := r.since[k]; old != nil && old.text == p.GetYaml() {
			now[k] = old
			continue
		}
		e := &effect{text: p.GetYaml(), at: at, live: !first}
		if first {
			e.at = time.Time{}
			if ns := p.GetChangedNs(); ns != 0 {
				e.at = time.Unix(0, ns).UTC()
			}
		} else {
			r.movedAt = at
		}
		now[k] = e
	}
	if len(now) < len(r.since) && !first {
		r.movedAt = at // some are gone
	}
	r.since = now
}

// changed is since when a policy is in effect; zero if it isn't known.
func (r *rules) changed(k policyKey) time.Time {
	if e := r.since[k]; e != nil {
		return e.at
	}
	return time.Time{}
}

// isolation finds out who isolates in each mode. Most changes of policies
// change little of it: lists that are the same stay, and the modes share them.
func (r *rules) isolation(s *setNames) {
	for mode := range s.byMode {
		list := r.list[:0]
		for j := s.isolateStart; j < min(s.baselineStart, len(s.bits)); j++ {
			if r.in(s.bits[j], mode == 1) {
				list = append(list, *s.bits[j].rule)
			}
		}
		r.list = list
		switch {
		case slices.Equal(list, s.byMode[mode]):
		case slices.Equal(list, s.byMode[0]):
			s.byMode[mode] = s.byMode[0]
		default:
			s.byMode[mode] = slices.Clone(list)
		}
	}
}

// in says whether a bit is part of the current or of the candidate set.
func (r *rules) in(b ruleBit, candidate bool) bool {
	if !candidate {
		return !b.candidateOnly
	}
	st := r.byKey[keyOf(b.rule)]
	switch {
	case st == nil:
		return !b.candidateOnly
	case b.candidateOnly:
		return st.file
	}
	return st.cluster
}

// decided names what bit (+1, as on the wire) of a set stands for: a rule, or
// for a default deny all the policies that isolate in that mode.
func (r *rules) decided(set, bit uint32, candidate bool) (rule *flow.Rule, isolatedBy []flow.Rule) {
	s := r.sets[set]
	i := int(bit) - 1
	if s != nil {
		s.used = true
	}
	if s == nil || i < 0 || i >= len(s.bits) {
		return nil, nil
	}
	if i < s.isolateStart || i >= s.baselineStart {
		return s.bits[i].rule, nil
	}
	mode := 0
	if candidate {
		mode = 1
	}
	if list := s.byMode[mode]; len(list) > 0 {
		return nil, list
	}
	return nil, []flow.Rule{*s.bits[i].rule} // judged before the modes changed
}

// hit counts a flow for the rule, or for each policy that isolates.
func (r *rules) hit(d flow.Direction, rule *flow.Rule, isolatedBy []flow.Rule) {
	if rule != nil {
		index := -1
		if rule.Index != nil {
			index = *rule.Index
		}
		r.count(keyOf(rule)).at(RuleAt{d, index})
		return
	}
	for i := range isolatedBy {
		r.count(keyOf(&isolatedBy[i])).at(RuleAt{d, -1})
	}
}

// wouldDeny counts a flow that the candidate set newly denies.
func (r *rules) wouldDeny(rule *flow.Rule, isolatedBy []flow.Rule) {
	if rule != nil {
		r.count(keyOf(rule)).wouldDeny++
		return
	}
	for i := range isolatedBy {
		r.count(keyOf(&isolatedBy[i])).wouldDeny++
	}
}

func (r *rules) count(k policyKey) *policyCount {
	c := r.counts[k]
	if c == nil {
		if len(r.counts) >= maxCounted {
			r.forgetCounts()
		}
		c = &policyCount{ruleHits: map[RuleAt]uint64{}}
		if st := r.byKey[k]; st != nil {
			c.text = st.text
		}
		r.counts[k] = c
	}
	return c
}

// forgetCounts lets the hits of policies go that nobody has any more, or all,
// if there are too many even so.
func (r *rules) forgetCounts() {
	for k := range r.counts {
		if r.byKey[k] == nil {
			delete(r.counts, k)
		}
	}
	if len(r.counts) >= maxCounted {
		clear(r.counts)
	}
}

func (c *policyCount) at(at RuleAt) {
	c.hits++
	c.ruleHits[at]++
}
