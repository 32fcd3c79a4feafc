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

// settle finds the two bitmaps that say what all readings say together, under
// each of the set's masks: bits allows wherever some reading that enforcement
// may take allows, and alt says otherwise wherever readings differ. Not ok: no
// two bitmaps do; the pair returned is then the one that does most of it.
func (s *set) settle(readings []reading) (bits, alt ruleset.Bitmap, ok bool) {
	plain := make([]ruleset.Bitmap, len(readings))
	same := true
	for i, r := range readings {
		plain[i] = s.vector(r)
		same = same && plain[i] == plain[0]
	}
	if !s.parts.tied {
		if same {
			return plain[0], plain[0], true
		}
		if len(plain) == 2 && !readings[0].untranslated && !readings[1].untranslated && s.onlyAllows(plain[0], plain[1]) {
			return plain[0], plain[1], true
		}
	}
	candidates := plain
	if s.parts.tied {
		candidates = nil
		for _, r := range readings {
			candidates = append(candidates, s.ties(r)...)
		}
	}
	candidates = combine(candidates)
	return s.search(readings, candidates)
}

func (s *set) vector(r reading) ruleset.Bitmap {
	b := s.bitsOf(r.rules)
	if r.exempt && s.self >= 0 {
		b.Add(s.self)
	}
	return b
}

// onlyAllows says whether wide is narrow and some more NetworkPolicy rules:
// then wide allows wherever narrow does.
func (s *set) onlyAllows(wide, narrow ruleset.Bitmap) bool {
	for bit := range ruleset.Bits {
		switch {
		case wide.Has(bit) == narrow.Has(bit):
		case narrow.Has(bit), bit < int(s.AdminEnd), bit >= int(s.IsolateStart):
			return false
		}
	}
	return true
}

// combine adds the union and the intersection of all, and of each two.
func combine(in []ruleset.Bitmap) []ruleset.Bitmap {
	const most = 24
	out := dedupe(in)
	single := out[:min(len(out), most)]
	union, common := ruleset.Bitmap{}, out[0]
	for _, b := range out {
		for w := range b {
			union[w] |= b[w]
			common[w] &= b[w]
		}
	}
	out = append(slices.Clone(out), union, common)
	for i, a := range single {
		for _, b := range single[i+1:] {
			var or, and ruleset.Bitmap
			for w := range a {
				or[w], and[w] = a[w]|b[w], a[w]&b[w]
			}
			out = append(out, or, and)
		}
	}
	return dedupe(out)
}

func dedupe(in []ruleset.Bitmap) []ruleset.Bitmap {
	seen := make(map[ruleset.Bitmap]bool, len(in))
	var out []ruleset.Bitmap
	for _, b := range in {
		if !seen[b] {
			seen[b] = true
			out = append(out, b)
		}
	}
	return out
}

// truth is what the readings say under one mask.
type truth struct {
	mask        ruleset.Bitmap
	allow, deny bool
	taken       bool // some reading that enforcement may take allows
	byDefault   bool // some reading denies by default
}

// enforced is what enforcement takes.
func (t *truth) enforced() flow.Verdict {
	if t.taken {
		return flow.Allow
	}
	return flow.Deny
}

// other is the reading that enforcement doesn't take; the same one if all agree.
func (t *truth) other() flow.Verdict {
	if t.deny && (t.taken || !t.allow) {
		return flow.Deny
	}
	return flow.Allow
}

func (s *set) search(readings []reading, candidates []ruleset.Bitmap) (bits, alt ruleset.Bitmap, ok bool) {
	truths := []truth{{mask: s.Current}, {mask: s.Candidate}, {mask: s.Enforced}}
	for i := range truths {
		for _, r := range readings {
			s.outcomes(r, &truths[i])
		}
	}
	bits, foundBits := s.pick(candidates, truths, (*truth).enforced)
	alt, foundAlt := s.pick(candidates, truths[:2], (*truth).other)
	return bits, alt, foundBits && foundAlt
}

// pick finds the candidate that says what is wanted under every mask, or the
// one that does so under most. One whose denials are default denies goes
// first, as those are open for protocols that have no ports (case 36).
func (s *set) pick(candidates []ruleset.Bitmap, truths []truth, want func(*truth) flow.Verdict) (ruleset.Bitmap, bool) {
	best, bestScore := ruleset.Bitmap{}, -1
	for _, c := range candidates {
		right, byDefault := 0, 0
		for i := range truths {
			t := &truths[i]
			verdict, bit := s.Decide(c, t.mask)
			if verdict == want(t) {
				right++
			}
			if verdict == flow.Deny && s.isBit[bit] == t.byDefault {
				byDefault++
			}
		}
		if score := right*10 + byDefault; score > bestScore {
			best, bestScore = c, score
		}
	}
	return best, bestScore >= 10*len(truths)
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
	var out []*setRule
	for _, i := range rules {
		r := &s.rules[i]
		if r.tier != tier || !mask.Has(r.bit) {
			continue
		}
		if len(out) > 0 && (out[0].owner.policy.Priority != r.owner.policy.Priority) {
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
