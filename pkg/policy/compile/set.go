// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// version is a content and the sets of policies that it is in now.
type version struct {
	*content
	current, candidate, enforced bool
}

func (v *version) modes() byte {
	var b byte
	for i, on := range []bool{v.current, v.candidate, v.enforced} {
		if on {
			b |= 1 << i
		}
	}
	return b
}

// setParts is all that a set's meaning depends on.
type setParts struct {
	direction flow.Direction
	versions  []*version // in order
	// named holds what the rules' port names stand for: ingress on the subject,
	// egress on any pod of the world.
	named []namedPorts
	// services are those that the pods of an egress set back: such a pod may
	// reach itself through them (case 22). Only kept if a policy isolates.
	services []string
	tied     bool // policies of equal priority: the modes are part of the meaning
	merge    merge
}

// namedPorts is what one name stands for.
type namedPorts struct {
	name     string
	protocol flow.Protocol // 0: any
	numbers  []identity.NamedPort
}

func portNames(in []namedPorts) []portName {
	var out []portName
	for _, n := range in {
		for _, p := range n.numbers {
			out = append(out, portName{n.name, n.protocol, p.Protocol, p.Number})
		}
	}
	return out
}

// merge says how much is given up of which rule decided, to fit the bits.
type merge byte

const (
	mergeNothing  merge = iota
	mergePolicies       // neighbouring rules of a policy with the same action share a bit
	mergeModes          // so do those of policies with the same modes; default denies as well
)

// key is the content of the parts: equal keys are equal sets.
func (p *setParts) key() string {
	b := []byte{byte(p.direction), byte(p.merge)}
	modal := p.tied || p.merge == mergeModes
	for _, v := range p.versions {
		b = binary.LittleEndian.AppendUint32(b, v.id)
		if modal {
			b = append(b, v.modes())
		}
	}
	for _, n := range p.named {
		b = fmt.Appendf(b, "|%q/%d", n.name, n.protocol)
		for _, number := range n.numbers {
			b = fmt.Appendf(b, " %d/%d", number.Protocol, number.Number)
		}
	}
	for _, s := range p.services {
		b = fmt.Appendf(b, "|service %s", s)
	}
	return string(b)
}

// set is a policy set. Nothing in it changes but the masks.
type set struct {
	ruleset.Set
	parts   setParts
	names   []Name
	rules   []setRule
	members [][]*content // by bit: the contents that share it
	isBit   []bool       // by bit: a default deny
	copies  []copyOf     // by bit
	self    int          // bit that lets a pod reach itself; -1: none
	stop    int          // bit that keeps what isn't enforced from the baseline tier; -1: none
	ports   portTable
	podAt   map[atomID][]int // rules by peer
	addrAt  map[atomID][]int
	subject []portName      // ingress: the subject's named ports
	base    []ruleset.Match // matches of class 0, by port class
	hasAddr bool
	quick   *quick // nil: matches take the long way

	key             string // that it is interned by
	subjects, nodes int    // how many pods, and nodes' states, have it
	masked          uint64 // generation that its masks are of
}

// setRule is a rule within a set.
type setRule struct {
	rule
	owner *content
	bit   int
	copy  copyOf
}

// copyOf says in which masks a bit may be. Where policies of equal priority
// meet, the two sets of policies may need different readings, so each has bits
// of its own.
type copyOf byte

const (
	forBoth copyOf = iota
	forCurrent
	forCandidate // and for what is enforced
)

// tooMany says that a pod's policies don't fit.
func tooMany(p *setParts, bits int) error {
	last := p.versions[len(p.versions)-1].policy
	return fmt.Errorf("%s rules of %d policies for one pod need %d bits, at most %d fit: give fewer or simpler rules to the pods of %s %q",
		p.direction, len(p.versions), bits, ruleset.Bits, last.Kind, last.Key())
}

// newSet lays out the bits. It fails if they don't fit however they are merged.
func (c *Compiler) newSet(parts setParts) (*set, error) {
	for {
		s, bits := c.layOut(parts)
		if bits <= ruleset.Bits {
			s.masks()
			s.addPorts()
			s.index()
			return s, nil
		}
		if parts.merge == mergeModes {
			return nil, tooMany(&parts, bits)
		}
		parts.merge++
	}
}

// layOut numbers the bits of one attempt; bits is how many it needs.
func (c *Compiler) layOut(parts setParts) (s *set, bits int) {
	s = &set{parts: parts, self: -1, stop: -1}
	l := layout{s: s}
	l.tier(policy.Admin)
	s.AdminEnd = uint16(l.next)
	l.tier(policy.Network)
	if len(parts.services) > 0 {
		s.self = l.bit(Name{Rule: flow.Rule{Name: "a pod reaches itself through a service"}, Policies: 1}, nil)
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
	case t == policy.Network && l.s.parts.merge == mergeModes:
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
			l.s.rules = append(l.s.rules, setRule{r, v.content, bit, l.copy})
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
	return l.s.parts.merge == mergeModes && before.modes() == v.modes()
}

// join notes that a bit stands for more than one rule, or policy.
func (l *layout) join(bit int, owner *content) {
	if bit >= ruleset.Bits {
		return
	}
	l.s.names[bit].Rule.Index = nil
	if m := l.s.members[bit]; m[len(m)-1] != owner {
		l.s.members[bit] = append(m, owner)
		l.s.names[bit].Policies++
	}
}

// isolation gives a default-deny bit to each policy that isolates.
func (l *layout) isolation() {
	versions := l.s.parts.versions
	if l.s.parts.merge == mergeModes {
		versions = byModes(versions)
	}
	var last *version
	bit := -1
	for _, v := range versions {
		if v.policy.Tier != policy.Network || !v.policy.Isolates(l.s.parts.direction) {
			continue
		}
		if last != nil && l.s.parts.merge == mergeModes && last.modes() == v.modes() {
			l.join(bit, v.content)
		} else if bit = l.bit(Name{Rule: v.policy.Ref(), Policies: 1, Policy: v.policy}, v.content); bit < ruleset.Bits {
			l.s.Always.Add(bit)
			l.s.Deny.Add(bit)
			l.s.isBit[bit] = true
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

// masks sets Current, Candidate and Enforced from the modes that the contents
// have now.
func (s *set) masks() {
	s.Current, s.Candidate, s.Enforced = ruleset.Bitmap{}, ruleset.Bitmap{}, ruleset.Bitmap{}
	for bit, members := range s.members {
		var current, candidate, enforced bool
		for _, m := range members {
			if v := m.now; v != nil {
				current, candidate = current || v.current, candidate || v.candidate
				enforced = enforced || v.candidate && (v.enforced || !s.Deny.Has(bit))
			}
		}
		current = current && s.copies[bit] != forCandidate
		candidate, enforced = candidate && s.copies[bit] != forCurrent, enforced && s.copies[bit] != forCurrent
		if current {
			s.Current.Add(bit)
		}
		if candidate {
			s.Candidate.Add(bit)
		}
		if enforced {
			s.Enforced.Add(bit)
		}
		s.names[bit].CandidateOnly = candidate && !current && !slices.ContainsFunc(members, func(m *content) bool { return m.now != nil && m.now.current })
	}
	for bit, is := range s.isBit {
		if !is {
			continue
		}
		// They stand against default denies only: where none is, they aren't either.
		if s.self >= 0 && s.Current.Has(bit) {
			s.Current.Add(s.self)
		}
		if s.self >= 0 && s.Candidate.Has(bit) {
			s.Candidate.Add(s.self)
			s.Enforced.Add(s.self)
		}
		// A pod that the candidate isolates is none of the baseline's business,
		// whether the isolation is enforced or not.
		if s.stop >= 0 && s.Candidate.Has(bit) {
			s.Enforced.Add(s.stop)
		}
	}
}

// asksNames says whether peers matter by the names of their ports.
func (s *set) asksNames() bool { return s.parts.direction == flow.Egress && len(s.parts.named) > 0 }

func (s *set) index() {
	s.podAt, s.addrAt = map[atomID][]int{}, map[atomID][]int{}
	for i, r := range s.rules {
		for _, a := range r.pods {
			s.podAt[a] = append(s.podAt[a], i)
		}
		for _, a := range r.address {
			s.addrAt[a] = append(s.addrAt[a], i)
			s.hasAddr = true
		}
	}
	if s.parts.direction == flow.Ingress {
		s.subject = portNames(s.parts.named)
	}
	s.Ranges = len(s.ports.ranges) > 0
	s.base = s.matches(&class{})
	s.quick = s.newQuick()
}
