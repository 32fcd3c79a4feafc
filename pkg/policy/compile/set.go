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
	mergeDecided        // entries say what decides: see decided
	mergeTiers          // and not even by which policy
)

// key is the content of the parts: equal keys are equal sets.
func (p *setParts) key() string {
	b := []byte{byte(p.direction), byte(p.merge)}
	modal := p.tied || p.merge >= mergeModes
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
	self    int          // bit that lets a pod reach itself, or the first of them; -1: none
	stop    int          // bit that keeps what isn't enforced from the baseline tier; -1: none
	ports   portTable
	askings []asking        // about peers; sorted
	subject []portName      // ingress: the subject's named ports
	base    []ruleset.Match // matches of class 0, by port class
	naming  []int           // rules with ports that are names
	hasAddr bool
	quick   *quick   // nil: matches take the long way
	decided *decided // nil: entries say what matches

	key             string // that it is interned by
	subjects, nodes int    // how many pods, and nodes' states, have it
	masked          uint64 // generation that its masks are of
}

// setRule is a rule within a set.
type setRule struct {
	rule
	owner *content
	bit   int // -1: in a set of which entries say what decides
	copy  copyOf
	names []policy.Port // its ports that are names

	version *version // with the modes that it had when the set was made
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

// newSet lays out the bits, as finely as they fit.
func (c *Compiler) newSet(parts setParts) (*set, error) {
	for ; ; parts.merge++ {
		s, bits := c.layOut(parts)
		if bits > c.mostBits && parts.merge < mergeTiers {
			continue
		}
		s.masks()
		if err := s.addPorts(); err != nil {
			return nil, err
		}
		s.index(c)
		return s, nil
	}
}

// selfRule stands for what lets a pod reach itself through a service (case 22).
var selfRule = flow.Rule{Name: "a pod reaches itself through a service"}

// masks sets Current, Candidate and Enforced from the modes that the contents
// have now.
func (s *set) masks() {
	if s.decided != nil {
		return // its modes are what it is
	}
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

func (s *set) index(c *Compiler) {
	s.findAskings(c)
	for i := range s.rules {
		s.hasAddr = s.hasAddr || len(s.rules[i].address) > 0
	}
	if s.parts.direction == flow.Ingress {
		s.subject = portNames(s.parts.named)
	}
	s.Ranges = len(s.ports.ranges) > 0
	s.base = s.matches(&class{})
	s.quick = s.newQuick()
}
