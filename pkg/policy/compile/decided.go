// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// decided is for sets whose rules fit in no other way: rules that take turns
// between allowing and denying can't share bits. The entries of such a set
// don't list what matches, but what decides. Each of the three masks has bits
// of its own, and an entry has one of them for each mask at most, so that their
// order matters no more, and any number of rules fits. The modes are then part
// of what the set is.
type decided struct {
	bits     [maskCount]map[decider]int
	self     [maskCount]int  // a pod reaches itself; valid iff the set knows services
	isolated [maskCount]bool // some policy of the mask isolates
	shared   bool            // a bit stands for what all policies of a tier do
}

// The masks of a set.
const (
	maskCurrent = iota
	maskCandidate
	maskEnforced
	maskCount
)

// decider is what a bit of such a set stands for: what a policy, or any of a
// tier, does.
type decider struct {
	owner  *content // nil: any of the tier
	tier   policy.Tier
	action policy.Action
}

func (d *decided) of(r *setRule) decider {
	if d.shared {
		return decider{nil, r.tier, r.action}
	}
	return decider{r.owner, r.tier, r.action}
}

// inMask says whether a rule counts under a mask; see [set.masks].
func (r *setRule) inMask(mask int) bool {
	if mask == maskCurrent {
		return r.version.current
	}
	return r.version.candidate && (mask == maskCandidate || r.version.enforced || r.action != policy.Deny)
}

// mask is the mask itself.
func (s *set) mask(mask int) *ruleset.Bitmap {
	return [maskCount]*ruleset.Bitmap{&s.Current, &s.Candidate, &s.Enforced}[mask]
}

// layOutDecided gives bits to what each policy does, or, if that is too much,
// to what each tier does; this fits whatever the rules are.
func (c *Compiler) layOutDecided(parts setParts, shared bool) (s *set, bits int) {
	s = &set{parts: parts, self: -1, stop: -1, decided: &decided{shared: shared}}
	for mask := range maskCount {
		s.decided.bits[mask] = map[decider]int{}
	}
	for _, v := range parts.versions {
		for _, r := range v.rules[side(parts.direction)] {
			s.rules = append(s.rules, setRule{rule: r, owner: v.content, bit: -1, version: v})
		}
	}
	l := layout{s: s}
	l.deciders(policy.Admin)
	s.AdminEnd = uint16(min(l.next, ruleset.Bits)) //nolint:gosec // a few hundred
	l.deciders(policy.Network)
	if len(parts.services) > 0 {
		for mask := range maskCount {
			s.decided.self[mask] = l.bit(Name{Rule: selfRule, Policies: 1}, nil)
			l.put(mask, s.decided.self[mask])
		}
		s.self = s.decided.self[maskCurrent]
	}
	s.IsolateStart = uint16(min(l.next, ruleset.Bits)) //nolint:gosec // as above
	l.isolation()
	s.BaselineStart = uint16(min(l.next, ruleset.Bits)) //nolint:gosec // as above
	l.deciders(policy.Baseline)
	return s, l.next
}

// put brings a bit into a mask.
func (l *layout) put(mask, bit int) {
	if bit < ruleset.Bits {
		l.s.mask(mask).Add(bit)
	}
}

// deciders gives bits to what the rules of a tier do under each mask.
func (l *layout) deciders(t policy.Tier) {
	s := l.s
	for mask := range maskCount {
		for i := range s.rules {
			r := &s.rules[i]
			if r.tier != t || !r.inMask(mask) || t == policy.Admin && r.action == policy.Pass {
				continue
			}
			d := s.decided.of(r)
			bit, known := s.decided.bits[mask][d]
			if known {
				l.join(bit, r.owner)
			} else {
				bit = l.bit(Name{Rule: r.owner.policy.RuleRef(r.index), Policies: 1, Policy: r.owner.policy, CandidateOnly: true}, r.owner)
				s.decided.bits[mask][d] = bit
				l.put(mask, bit)
				if r.action == policy.Deny && bit < ruleset.Bits {
					s.Deny.Add(bit)
				}
			}
			if bit < ruleset.Bits {
				s.names[bit].CandidateOnly = s.names[bit].CandidateOnly && !r.version.current
			}
		}
	}
}

// isolatesFor notes the masks in which a default deny stands.
func (l *layout) isolatesFor(v *version, bit int) {
	for mask, in := range [maskCount]bool{v.current, v.candidate, v.candidate && v.enforced} {
		if in {
			l.s.decided.isolated[mask] = true
			l.put(mask, bit)
		}
	}
	if bit < ruleset.Bits {
		l.s.names[bit].CandidateOnly = !v.current
	}
}

// deciding is what the readings say under one mask, and by what.
type deciding struct {
	truth
	allowing, denying *setRule // nil: none does
	self              bool     // a pod reaches itself
}

// settleDecided is [set.settle] for sets of which entries say what decides.
func (s *set) settleDecided(readings []reading) (out settled) {
	for mask := range maskCount {
		var d deciding
		for _, r := range readings {
			s.decideUnder(mask, r, &d)
		}
		for _, say := range []struct {
			bits    *ruleset.Bitmap
			verdict flow.Verdict
		}{{&out.bits, d.enforced()}, {&out.alt, d.other()}} {
			if bit := s.sayingBit(mask, &d, say.verdict); bit >= 0 {
				say.bits.Add(bit)
			}
		}
	}
	return out
}

// sayingBit is the bit that leads to the verdict under a mask; -1: it needs
// none. Default denies go first, as those are open for protocols that have no
// ports (case 36).
func (s *set) sayingBit(mask int, d *deciding, v flow.Verdict) int {
	switch {
	case v == flow.Deny && (d.byDefault || d.denying == nil):
		return -1
	case v == flow.Deny:
		return s.decided.bits[mask][s.decided.of(d.denying)]
	case d.allowing != nil:
		return s.decided.bits[mask][s.decided.of(d.allowing)]
	case d.self:
		return s.decided.self[mask]
	}
	return -1
}

// decideUnder adds what one reading says, in each order of policies with equal
// priority; it is [set.outcomes] without bits.
func (s *set) decideUnder(mask int, r reading, d *deciding) {
	note := func(by *setRule, deny, byDefault bool) {
		d.add(r, deny, byDefault)
		switch {
		case by == nil:
		case deny && d.denying == nil:
			d.denying = by
		case !deny && d.allowing == nil:
			d.allowing = by
		}
	}
	for _, admin := range s.firstUnder(mask, r.rules, policy.Admin) {
		if admin != nil && admin.action != policy.Pass {
			note(admin, admin.action == policy.Deny, false)
			continue
		}
		network := s.firstUnder(mask, r.rules, policy.Network)[0]
		switch {
		case network != nil && s.decided.isolated[mask]:
			note(network, false, false)
			continue
		case s.decided.isolated[mask]:
			d.self = d.self || r.exempt && len(s.parts.services) > 0
			deny := !r.exempt || len(s.parts.services) == 0
			note(nil, deny, deny)
			continue
		case mask == maskEnforced && s.decided.isolated[maskCandidate]:
			note(network, false, false) // isolated, but not enforced: none of the baseline's business
			continue
		}
		for _, baseline := range s.firstUnder(mask, r.rules, policy.Baseline) {
			note(baseline, baseline != nil && baseline.action == policy.Deny, false)
		}
	}
}

// firstUnder is [set.first] without bits. Where no priority is equal to another
// one rule decides.
func (s *set) firstUnder(mask int, rules []int, tier policy.Tier) []*setRule {
	first := s.firstOf(rules, tier, func(r *setRule) bool { return r.inMask(mask) })
	if !s.parts.tied {
		return first[:1]
	}
	return first
}
