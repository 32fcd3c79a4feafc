// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// settled is what all readings say together, under each of a set's masks: bits
// allows wherever some reading that enforcement may take allows, and alt says
// otherwise wherever readings differ, or the mode is open.
type settled struct {
	bits, alt ruleset.Bitmap
	open      ruleset.Modes
}

func (s settled) write(m *ruleset.Match) { m.Bits, m.Alt, m.Open = s.bits, s.alt, s.open }

func (s *set) settle(readings []reading) settled {
	if s.decided != nil {
		return s.settleDecided(readings)
	}
	plain := make([]ruleset.Bitmap, len(readings))
	same := true
	for i, r := range readings {
		plain[i] = s.vector(r)
		same = same && plain[i] == plain[0]
	}
	if !s.parts.tied {
		if same {
			return settled{bits: plain[0], alt: plain[0]}
		}
		if len(plain) == 2 && !readings[0].untranslated && !readings[1].untranslated && s.onlyAllows(plain[0], plain[1]) {
			return settled{bits: plain[0], alt: plain[1]}
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

// certain says whether all readings agree.
func (t *truth) certain() bool { return !t.allow || !t.deny }

func (s *set) search(readings []reading, candidates []ruleset.Bitmap) settled {
	modes := []ruleset.Modes{ruleset.Current, ruleset.Candidate}
	truths := []truth{{mask: s.Current}, {mask: s.Candidate}, {mask: s.Enforced}}
	var certain []truth
	for i := range truths {
		for _, r := range readings {
			s.outcomes(r, &truths[i])
		}
		if t := truths[i]; i < len(modes) && t.certain() {
			certain = append(certain, t)
		}
	}
	// What enforcement does comes first, then what is certain: a contested
	// verdict that can't be said as well is left open.
	enforced := truths[len(modes):]
	var out settled
	for _, wanted := range [][]truth{truths, slices.Concat(enforced, certain), enforced} {
		var ok bool
		if out.bits, ok = s.pick(candidates, wanted, (*truth).enforced); ok {
			break
		}
	}
	for _, wanted := range [][]truth{truths[:len(modes)], certain} {
		var ok bool
		if out.alt, ok = s.pick(candidates, wanted, (*truth).other); ok {
			break
		}
		out.alt = out.bits
	}
	for i, mode := range modes {
		t := &truths[i]
		first, _ := s.Decide(out.bits, t.mask)
		second, _ := s.Decide(out.alt, t.mask)
		if first == second && !(t.certain() && first == t.enforced()) {
			out.open |= mode
		}
	}
	return out
}

// pick finds the candidate that says what is wanted under every mask. One
// whose denials are default denies goes first, as those are open for protocols
// that have no ports (case 36). Not ok: there is none.
func (s *set) pick(candidates []ruleset.Bitmap, truths []truth, want func(*truth) flow.Verdict) (ruleset.Bitmap, bool) {
	best, most := ruleset.Bitmap{}, -1
	for _, c := range candidates {
		byDefault := 0
		right := !slices.ContainsFunc(truths, func(t truth) bool {
			verdict, bit := s.Decide(c, t.mask)
			if verdict == flow.Deny && s.isBit[bit] == t.byDefault {
				byDefault++
			}
			return verdict != want(&t)
		})
		if right && byDefault > most {
			best, most = c, byDefault
		}
	}
	if most >= 0 {
		return best, true
	}
	return s.construct(candidates, truths, want)
}

// construct puts a bitmap together, of bits that match in some reading, that
// says what is wanted under every mask. It is for sets whose masks differ so
// much that no reading says all of it alone.
//
// A bitmap that does it has, for each mask, a bit that decides and perhaps one
// that passes; what else it has can go, since without it nothing earlier comes
// to decide. So adding, for a mask that goes wrong, any bit of that mask, at
// most two for each mask, finds one if there is one.
func (s *set) construct(from []ruleset.Bitmap, truths []truth, want func(*truth) flow.Verdict) (ruleset.Bitmap, bool) {
	var pool []int
	for bit := range ruleset.Bits {
		if slices.ContainsFunc(from, func(b ruleset.Bitmap) bool { return b.Has(bit) }) {
			pool = append(pool, bit)
		}
	}
	const mostTries = 20_000 // some 2 ms: more than any set that was ever drawn took
	tries := 0
	var add func(b ruleset.Bitmap, left int) (ruleset.Bitmap, bool)
	add = func(b ruleset.Bitmap, left int) (ruleset.Bitmap, bool) {
		wrong := slices.IndexFunc(truths, func(t truth) bool {
			verdict, _ := s.Decide(b, t.mask)
			return verdict != want(&t)
		})
		if wrong < 0 {
			return b, true
		}
		for _, bit := range pool {
			if tries++; left == 0 || tries > mostTries {
				break
			}
			if b.Has(bit) || !truths[wrong].mask.Has(bit) {
				continue
			}
			more := b
			more.Add(bit)
			if made, ok := add(more, left-1); ok {
				return made, true
			}
		}
		return ruleset.Bitmap{}, false
	}
	return add(ruleset.Bitmap{}, 2*len(truths))
}
