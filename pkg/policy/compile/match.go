// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"maps"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// asked is one look-up: a class of peers, a class of ports. For the reading in
// which a service is judged before translation (case 12), addresses are
// compared with another class and port than selectors are.
type asked struct {
	class    *class
	ports    *portClass
	narrow   bool // the reading that matches less: blocks cover no pods, selectors see no host network
	address  *class
	addrPort *portClass
}

// matched lists the set's rules that match, in order.
func (s *set) matched(q asked) []int {
	var out []int
	if q.address != nil {
		for i := range s.rules {
			if s.ruleMatches(i, q) {
				out = append(out, i)
			}
		}
		return out
	}
	for _, i := range s.maybe(q.ports) {
		if s.ruleMatches(i, q) {
			out = append(out, i)
		}
	}
	return out
}

func (s *set) ruleMatches(i int, q asked) bool {
	r := &s.rules[i].rule
	if q.address != nil && meets(r.address, q.address.address) && s.portMatches(i, q.addrPort, nil) {
		return true
	}
	people := []*person{&q.class.self}
	if !q.narrow && r.tier == policy.Network {
		for i := range q.class.hosts {
			people = append(people, &q.class.hosts[i])
		}
	}
	for _, who := range people {
		named := who.has
		if s.parts.direction == flow.Ingress {
			named = s.subjectHas
		}
		if (r.anyPeer || meets(r.pods, who.atoms) || q.address == nil && addressMatches(r, q)) && s.portMatches(i, q.ports, named) {
			return true
		}
	}
	return false
}

// addressMatches asks the rule's blocks and nodes. In the narrow reading
// blocks that aren't Internal cover no pods; the owned flag says whether the
// class is of pods, and then covering holds for all blocks in the class alike.
func addressMatches(r *rule, q asked) bool {
	if !q.narrow || !q.class.owned {
		return meets(r.address, q.class.address)
	}
	return r.tier != policy.Network && meets(r.address, q.class.address)
}

// portMatches says whether a rule's ports hold those of the class, if the
// destination has named ports; nil: it has none.
func (s *set) portMatches(i int, k *portClass, has func(portName) bool) bool {
	if _, by := slices.BinarySearch(k.rules, i); by {
		return true
	}
	return has != nil && k.named.Number != 0 && slices.ContainsFunc(s.rules[i].names, func(p policy.Port) bool {
		return has(portName{p.Name, p.Protocol, k.named.Protocol, k.named.Number})
	})
}

func (s *set) subjectHas(n portName) bool { return slices.Contains(s.subject, n) }

func (p *person) has(n portName) bool {
	return slices.ContainsFunc(p.names, func(a askedName) bool { return a.portName == n })
}

// meets says whether two sorted lists have an element in common.
func meets(a, b []atomID) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] == b[0]:
			return true
		case a[0] < b[0]:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return false
}

// bitsOf is the bitmap of some rules.
func (s *set) bitsOf(rules []int) (b ruleset.Bitmap) {
	for _, i := range rules {
		b.Add(s.rules[i].bit)
	}
	return b
}

// quick holds what makes matches of most sets a matter of a few words: each
// rule has a bit of its own and its ports don't depend on the peer.
type quick struct {
	anyPeer ruleset.Bitmap
	network ruleset.Bitmap   // rules of the NetworkPolicy tier
	atoms   []atomID         // peers that rules name; sorted
	rules   []ruleset.Bitmap // rules by peer, as atoms
	ports   []ruleset.Bitmap // rules by port class
}

// newQuick is nil for sets that need the long way: shared bits, contested
// orders, port names that the peer's pod resolves.
func (s *set) newQuick() *quick {
	if s.parts.merge != mergeNothing || s.parts.tied || s.parts.direction == flow.Egress && len(s.parts.named) > 0 {
		return nil
	}
	q := &quick{ports: make([]ruleset.Bitmap, len(s.ports.classes))}
	byAtom := map[atomID]ruleset.Bitmap{}
	for i := range s.rules {
		r := &s.rules[i]
		if r.anyPeer {
			q.anyPeer.Add(r.bit)
		}
		if r.tier == policy.Network {
			q.network.Add(r.bit)
		}
		for _, list := range [][]atomID{r.pods, r.address} {
			for _, a := range list {
				b := byAtom[a]
				b.Add(r.bit)
				byAtom[a] = b
			}
		}
	}
	for k := range s.ports.classes {
		for _, i := range s.maybe(&s.ports.classes[k]) {
			if s.portMatches(i, &s.ports.classes[k], s.subjectHas) {
				q.ports[k].Add(s.rules[i].bit)
			}
		}
	}
	q.atoms = slices.Sorted(maps.Keys(byAtom))
	for _, a := range q.atoms {
		q.rules = append(q.rules, byAtom[a])
	}
	return q
}

func (q *quick) asksAny(list []atomID) bool { return meets(q.atoms, list) }

// each calls f with the rules of those of the list, sorted, that rules name.
// It walks both lists: a map of each set's few peers takes three times as long.
func (q *quick) each(list []atomID, f func(a atomID, rules *ruleset.Bitmap)) {
	for i, j := 0, 0; i < len(list) && j < len(q.atoms); {
		switch {
		case list[i] == q.atoms[j]:
			f(list[i], &q.rules[j])
			i++
			j++
		case list[i] < q.atoms[j]:
			i++
		default:
			j++
		}
	}
}

// peers are the rules that a class's peers match, in the wide and the narrow
// reading.
func (q *quick) peers(k *class, atoms []atom) (wide, narrow ruleset.Bitmap) {
	wide, narrow = q.anyPeer, q.anyPeer
	q.each(k.address, func(a atomID, rules *ruleset.Bitmap) {
		or(&wide, rules)
		if !k.owned || atoms[a].peer.Internal || atoms[a].peer.Kind != policy.CIDRPeer {
			or(&narrow, rules)
		}
	})
	q.each(k.self.atoms, func(_ atomID, rules *ruleset.Bitmap) {
		or(&wide, rules)
		or(&narrow, rules)
	})
	for i := range k.hosts {
		q.each(k.hosts[i].atoms, func(_ atomID, rules *ruleset.Bitmap) {
			b := *rules
			and(&b, &q.network)
			or(&wide, &b)
		})
	}
	return wide, narrow
}

func or(b, c *ruleset.Bitmap) {
	for w := range b {
		b[w] |= c[w]
	}
}

func and(b, c *ruleset.Bitmap) {
	for w := range b {
		b[w] &= c[w]
	}
}

// appendMatches adds the entries of a class that aren't those of class 0.
func (s *set) appendMatches(out []ruleset.Match, k *class, atoms []atom) []ruleset.Match {
	if s.quick == nil {
		return append(out, s.matches(k)...)
	}
	wide, narrow := s.quick.peers(k, atoms)
	more := wide // than class 0 has; the narrow reading is between the two
	for w := range more {
		more[w] &^= s.quick.anyPeer[w]
	}
	for i := range s.quick.ports {
		ports := &s.quick.ports[i]
		if more[0]&ports[0]|more[1]&ports[1]|more[2]&ports[2]|more[3]&ports[3] == 0 {
			continue
		}
		out = append(out, ruleset.Match{Set: s.ID, Peer: k.id, Ports: ruleset.PortClass(i)}) //nolint:gosec // as many as there are
		m := &out[len(out)-1]
		for w := range ports {
			m.Bits[w], m.Alt[w] = wide[w]&ports[w], narrow[w]&ports[w]
		}
	}
	return out
}

// matches gives the entries of a class that aren't those of class 0.
func (s *set) matches(k *class) []ruleset.Match {
	var out []ruleset.Match
	for i := range s.ports.classes {
		wide := s.matched(asked{class: k, ports: &s.ports.classes[i]})
		narrow := s.matched(asked{class: k, ports: &s.ports.classes[i], narrow: true})
		m := ruleset.Match{Set: s.ID, Peer: k.id, Ports: ruleset.PortClass(i)}
		s.settle([]reading{{rules: wide}, {rules: narrow}}).write(&m)
		if k.id == 0 {
			out = append(out, m) // empty ones too: they are left out when written
		} else if !sameBits(m, s.base[i]) {
			out = append(out, m)
		}
	}
	return out
}
