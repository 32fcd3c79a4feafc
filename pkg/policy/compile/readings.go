// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// reading is the rules that match under one way to settle the open cases.
type reading struct {
	rules  []int // of the set, in order
	exempt bool  // default denies don't hold (case 22)

	// untranslated: blocks are compared with the service's address (case 12).
	// The verdict says so, but enforcement doesn't take it.
	untranslated bool
}

// outcomes adds what one reading says under the mask, in each order of
// policies with equal priority.
func (s *set) outcomes(r reading, t *truth) {
	for _, admin := range s.first(r.rules, policy.Admin, t.mask) {
		if admin != nil && admin.action != policy.Pass {
			t.add(r, admin.action == policy.Deny, false)
			continue
		}
		verdict, bit := s.Decide(s.vector(reading{rules: s.onlyNetwork(r.rules), exempt: r.exempt}), t.mask)
		if bit >= 0 {
			t.add(r, verdict == flow.Deny, verdict == flow.Deny)
			continue
		}
		for _, baseline := range s.first(r.rules, policy.Baseline, t.mask) {
			t.add(r, baseline != nil && baseline.action == policy.Deny, false)
		}
	}
}

func (t *truth) add(r reading, deny, byDefault bool) {
	t.taken = t.taken || !deny && !r.untranslated
	t.allow = t.allow || !deny
	t.deny = t.deny || deny
	t.byDefault = t.byDefault || byDefault
}

func (s *set) onlyNetwork(rules []int) []int {
	return slices.DeleteFunc(slices.Clone(rules), func(i int) bool { return s.rules[i].tier != policy.Network })
}

// first lists the rules that may decide in a tier, one for each policy of the
// highest priority at which any matches; nil stands for none.
func (s *set) first(rules []int, tier policy.Tier, mask ruleset.Bitmap) []*setRule {
	return s.firstOf(rules, tier, func(r *setRule) bool { return mask.Has(r.bit) })
}

func (s *set) firstOf(rules []int, tier policy.Tier, in func(*setRule) bool) []*setRule {
	var out []*setRule
	for _, i := range rules {
		r := &s.rules[i]
		if r.tier != tier || !in(r) {
			continue
		}
		if len(out) > 0 && out[0].owner.policy.Priority != r.owner.policy.Priority {
			break
		}
		if !slices.ContainsFunc(out, func(o *setRule) bool { return o.owner == r.owner }) {
			out = append(out, r)
		}
	}
	if out == nil {
		return []*setRule{nil}
	}
	return out
}

// ties gives the reading's bitmaps with some policies left out of each group
// of equal priority, so that another one of the group goes first.
func (s *set) ties(r reading) []ruleset.Bitmap {
	const most = 256
	out := []ruleset.Bitmap{s.vector(r)}
	for _, group := range s.groups(r.rules) {
		if len(group) < 2 || len(group) > 6 {
			continue
		}
		for _, base := range slices.Clone(out) {
			for subset := 1; subset < 1<<len(group)-1 && len(out) < most; subset++ {
				b := base
				for i, one := range group {
					if subset>>i&1 == 0 {
						s.leaveOut(&b, r.rules, one)
					}
				}
				out = append(out, b)
			}
		}
	}
	return out
}

// contender is a policy in one of its copies.
type contender struct {
	owner *content
	copy  copyOf
}

// groups lists the policies with matching rules by tier, copy and priority.
func (s *set) groups(rules []int) [][]contender {
	var out [][]contender
	for _, i := range rules {
		r := &s.rules[i]
		if r.tier == policy.Network {
			continue
		}
		one := contender{r.owner, r.copy}
		n := len(out) - 1
		if n < 0 || out[n][0].owner.policy.Tier != r.tier || out[n][0].copy != r.copy || out[n][0].owner.policy.Priority != r.owner.policy.Priority {
			out = append(out, []contender{one})
		} else if !slices.Contains(out[n], one) {
			out[n] = append(out[n], one)
		}
	}
	return out
}

// leaveOut takes the policy's bits away that no other matching rule shares.
func (s *set) leaveOut(b *ruleset.Bitmap, rules []int, one contender) {
	is := func(i int) bool { return s.rules[i].owner == one.owner && s.rules[i].copy == one.copy }
	for _, i := range rules {
		bit := s.rules[i].bit
		shared := slices.ContainsFunc(rules, func(j int) bool { return s.rules[j].bit == bit && !is(j) })
		if is(i) && !shared {
			b[bit/64] &^= 1 << (bit % 64)
		}
	}
}
