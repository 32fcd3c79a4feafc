// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// layOut numbers the bits of one attempt; bits is how many it needs.
func (c *Compiler) layOut(parts setParts) (s *set, bits int) {
	if parts.merge >= mergeDecided {
		return c.layOutDecided(parts, parts.merge == mergeTiers)
	}
	s = &set{parts: parts, self: -1, stop: -1}
	l := layout{s: s}
	l.tier(policy.Admin)
	s.AdminEnd = uint16(l.next)
	l.tier(policy.Network)
	if len(parts.services) > 0 {
		s.self = l.bit(Name{Rule: selfRule, Policies: 1}, nil)
	}
	s.IsolateStart = uint16(l.next)
	l.isolation()
	s.BaselineStart = uint16(l.next)
	if s.BaselineStart > s.IsolateStart && slices.ContainsFunc(parts.versions, func(v *version) bool { return v.policy.Tier == policy.Baseline }) {
		if s.stop = l.bit(Name{Rule: flow.Rule{Name: "isolated, but not enforced"}, Policies: 1}, nil); s.stop < ruleset.Bits {
			s.Always.Add(s.stop)
		}
	}
	l.tier(policy.Baseline)
	return s, l.next
}

// layout hands out the bits of a set in order.
type layout struct {
	s    *set
	next int
	copy copyOf
}

// bit makes a new bit. Past the last one only the count goes on.
func (l *layout) bit(n Name, owner *content) int {
	bit := l.next
	l.next++
	if bit >= ruleset.Bits {
		return bit
	}
	l.s.names = append(l.s.names, n)
	var members []*content
	if owner != nil {
		members = []*content{owner}
	}
	l.s.members = append(l.s.members, members)
	l.s.isBit = append(l.s.isBit, false)
	l.s.copies = append(l.s.copies, l.copy)
	return bit
}

// tier gives bits to the rules of a tier, in order.
func (l *layout) tier(t policy.Tier) {
	var versions []*version
	for _, v := range l.s.parts.versions {
		if v.policy.Tier == t {
			versions = append(versions, v)
		}
	}
	switch {
	case t == policy.Network && l.s.parts.merge >= mergeModes:
		l.rules(byModes(versions))
	case t == policy.Network || !l.s.parts.tied:
		l.rules(versions)
	default:
		l.copy = forCurrent
		l.rules(slices.DeleteFunc(slices.Clone(versions), func(v *version) bool { return !v.current }))
		l.copy = forCandidate
		l.rules(slices.DeleteFunc(versions, func(v *version) bool { return !v.candidate }))
		l.copy = forBoth
	}
}

func (l *layout) rules(versions []*version) {
	var last *version
	var lastAction policy.Action
	bit := -1
	for _, v := range versions {
		for _, r := range v.rules[side(l.s.parts.direction)] {
			if !l.shares(last, v, lastAction, r.action) {
				bit = l.bit(Name{Rule: v.policy.RuleRef(r.index), Policies: 1, Policy: v.policy}, v.content)
			} else {
				l.join(bit, v.content)
			}
			if bit < ruleset.Bits {
				switch r.action {
				case policy.Deny:
					l.s.Deny.Add(bit)
				case policy.Pass:
					l.s.Pass.Add(bit)
				}
			}
			last, lastAction = v, r.action
			l.s.rules = append(l.s.rules, setRule{rule: r, owner: v.content, bit: bit, copy: l.copy, version: v})
		}
	}
}

// shares says whether a rule can have the bit of the rule before it.
func (l *layout) shares(before, v *version, was, is policy.Action) bool {
	switch {
	case before == nil || was != is || l.s.parts.merge == mergeNothing:
		return false
	case before == v:
		return true
	}
	return l.s.parts.merge >= mergeModes && before.modes() == v.modes()
}

// join notes that a bit stands for more than one rule, or policy.
func (l *layout) join(bit int, owner *content) {
	if bit >= ruleset.Bits {
		return
	}
	l.s.names[bit].Rule.Index = nil
	if m := l.s.members[bit]; m[len(m)-1] != owner {
		l.s.members[bit] = append(m, owner)
		n := &l.s.names[bit]
		if n.Policies++; !l.s.isBit[bit] { // each of those that isolate does deny, but only one of these decided
			n.Rule = flow.Rule{Name: fmt.Sprintf("one of %d policies", n.Policies)}
		}
	}
}

// isolation gives a default-deny bit to each policy that isolates.
func (l *layout) isolation() {
	versions := l.s.parts.versions
	if l.s.parts.merge >= mergeModes {
		versions = byModes(versions)
	}
	var last *version
	bit := -1
	for _, v := range versions {
		if v.policy.Tier != policy.Network || !v.policy.Isolates(l.s.parts.direction) {
			continue
		}
		if last != nil && l.s.parts.merge >= mergeModes && last.modes() == v.modes() {
			l.join(bit, v.content)
		} else if bit = l.bit(Name{Rule: v.policy.Ref(), Policies: 1, Policy: v.policy}, v.content); bit < ruleset.Bits {
			l.s.Always.Add(bit)
			l.s.Deny.Add(bit)
			l.s.isBit[bit] = true
		}
		if l.s.decided != nil {
			l.isolatesFor(v, bit)
		}
		last = v
	}
}

// byModes brings policies with equal modes together; their order decides
// nothing within the NetworkPolicy tier.
func byModes(in []*version) []*version {
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b *version) int { return int(a.modes()) - int(b.modes()) })
	return out
}
