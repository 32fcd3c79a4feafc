// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// row is what answers at an address; nil: nothing, or nobody asks.
func (n *nodeState) row(at policy.ServiceAddress) *serviceRow {
	e := n.c.entries[at]
	if e == nil || len(n.egress) == 0 || n.c.owner(at.IP) != nil {
		return nil
	}
	backends := e.serviceAt().Backends(at.IP, n.name)
	if len(backends) == 0 {
		return nil
	}
	ways := n.ways(backends)
	address := n.c.classOf(class{address: n.classAt(at.IP).address})
	backed := n.backing[e.key]
	row := &serviceRow{}
	// What is said depends on these alone, unless a pod backs it itself.
	if len(backed) > 0 {
		n.ask(row, at, address, ways, backed)
	} else {
		sketch := sketch(at, address, ways)
		known := n.listings[sketch]
		if known == nil {
			known = &serviceRow{}
			n.ask(known, at, address, ways, nil)
			n.listings[sketch] = known
		}
		*row = *known
	}
	row.at = at
	row.service.IP, row.service.Protocol, row.service.Port = at.IP, uint8(at.Protocol), at.Port
	return row
}

// usualMatches is what sets say about a service of which they ask nothing but
// the port, if that matters: what they say of class 0.
func (n *nodeState) usualMatches(at portAt) []ruleset.Match {
	list, known := n.usual[at]
	if known {
		return list
	}
	for s := range n.egress {
		list = s.appendUsual(list, at)
	}
	n.usual[at] = list
	return list
}

// appendUsual adds what one set says; nothing if that is what it says of no port.
func (s *set) appendUsual(list []ruleset.Match, at portAt) []ruleset.Match {
	m := s.base[s.portClassOf(at.protocol, at.port)]
	if sameBits(m, s.base[0]) {
		return list
	}
	m.Set, m.Peer, m.Ports = s.ID, 0, ruleset.ServicePorts
	return append(list, m)
}

// special lists the sets that may say something unusual about the service.
func (n *nodeState) special(address *class, ways []backend, backed map[*nodeSet]struct{}) map[*nodeSet]bool {
	out := map[*nodeSet]bool{}
	all := func(sets map[*nodeSet]struct{}) {
		for s := range sets {
			out[s] = true
		}
	}
	asking := func(a asking) {
		if ask := n.asks[a]; ask != nil {
			for _, s := range ask.sets {
				if s.parts.direction == flow.Egress {
					out[s] = true
				}
			}
		}
	}
	all(n.slow)
	all(backed)
	address.eachAsked(asking)
	for i, w := range ways {
		if w.port != ways[0].port {
			all(n.egress)
		}
		if i == 0 || w.class != ways[i-1].class {
			w.class.eachAsked(asking)
		}
	}
	return out
}

func (n *nodeState) ways(backends []identity.Backend) []backend {
	out := make([]backend, 0, len(backends))
	for _, to := range backends {
		out = append(out, backend{class: n.classAt(to.IP), pod: n.c.ownerPod(to.IP), port: to.Port})
	}
	return out
}

func sketch(at policy.ServiceAddress, address *class, ways []backend) string {
	list := make([]uint64, 0, len(ways))
	for _, w := range ways {
		list = append(list, uint64(w.class.id)<<16|uint64(w.port))
	}
	slices.Sort(list)
	key := []byte{byte(at.Protocol), byte(at.Port >> 8), byte(at.Port)}
	key = binary.LittleEndian.AppendUint32(key, uint32(address.id))
	for _, w := range slices.Compact(list) {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	return string(key)
}

// ask asks the egress sets about the service; backed are those of which a pod
// backs it.
func (n *nodeState) ask(row *serviceRow, at policy.ServiceAddress, address *class, ways []backend, backed map[*nodeSet]struct{}) {
	special := n.special(address, ways, backed)
	var matches []ruleset.Match
	for _, m := range n.usualMatches(portAt{at.Protocol, ways[0].port}) {
		if !special[n.sets[m.Set]] {
			matches = append(matches, m)
		}
	}
	for s := range special {
		m := ruleset.Match{Set: s.ID, Ports: ruleset.ServicePorts}
		var selves map[*identity.Pod]bool
		if _, is := backed[s]; is {
			selves = map[*identity.Pod]bool{}
			for ps := range s.backers {
				selves[ps.pod] = true
			}
		}
		if !n.quickService(&m, s.set, at, address, ways, selves) {
			row.searched = append(row.searched, s)
			s.settleAsWritten(s.serviceReadings(at, address, ways, selves)).write(&m)
		}
		if !sameBits(m, s.base[0]) {
			matches = append(matches, m)
		}
	}
	if len(matches) == 0 {
		return
	}
	slices.SortFunc(matches, func(a, b ruleset.Match) int { return cmp.Compare(a.Set, b.Set) })
	key := []byte("service ")
	for _, m := range matches {
		key = append(binary.LittleEndian.AppendUint32(key, uint32(m.Set)), byte(m.Open))
		for _, w := range [][ruleset.Words]uint64{m.Bits, m.Alt} {
			for _, word := range w {
				key = binary.LittleEndian.AppendUint64(key, word)
			}
		}
	}
	row.service.Class = ruleset.ClassID(n.c.classIDs.id(string(key)))
	for i := range matches {
		matches[i].Peer = row.service.Class
	}
	row.matches = matches
}

// settleAsWritten settles with the modes that the node has for the set.
func (s *nodeSet) settleAsWritten(readings []reading) settled {
	now := s.set.Set
	s.set.Set = s.row
	defer func() { s.set.Set = now }()
	return s.settle(readings)
}

// quickService settles the common case: all backends look alike to the set,
// no block of it covers any of them or the service's own address, and no pod
// of the set backs it. Not ok: it is no such case.
func (n *nodeState) quickService(m *ruleset.Match, s *set, at policy.ServiceAddress, address *class, ways []backend, selves map[*identity.Pod]bool) bool {
	if s.quick == nil || len(selves) > 0 || s.quick.asksAny(address.address) {
		return false
	}
	for i, w := range ways {
		if s.quick.asksAny(w.class.address) {
			return false
		}
		if i > 0 && w.class == ways[0].class && w.port == ways[0].port {
			continue
		}
		wide, narrow := s.quick.peers(w.class, n.c.atoms)
		ports := &s.quick.ports[s.portClassOf(at.Protocol, w.port)]
		and(&wide, ports)
		and(&narrow, ports)
		if i > 0 && (wide != m.Bits || narrow != m.Alt) {
			return false
		}
		m.Bits, m.Alt = wide, narrow
	}
	// Two readings that aren't equal are only settled if one holds the other.
	return m.Bits == m.Alt || s.onlyAllows(m.Bits, m.Alt)
}

// serviceReadings lists what may match: after translation by each backend, or
// with blocks compared with the service's own address (case 12), and for each
// of these with default denies or without them, if the backend may be the pod
// itself (case 22).
func (s *set) serviceReadings(at policy.ServiceAddress, address *class, ways []backend, selves map[*identity.Pod]bool) []reading {
	var out []reading
	type way struct {
		class ruleset.ClassID
		ports ruleset.PortClass
		self  bool
	}
	asked4 := map[way]bool{}
	addrPort := &s.ports.classes[s.portClassOf(at.Protocol, at.Port)]
	for _, w := range ways {
		ports := s.portClassOf(at.Protocol, w.port)
		key := way{w.class.id, ports, selves[w.pod]}
		if asked4[key] {
			continue
		}
		asked4[key] = true
		for _, narrow := range []bool{false, true} {
			q := asked{class: w.class, ports: &s.ports.classes[ports], narrow: narrow}
			found := []reading{{rules: s.matched(q)}}
			if s.hasAddr {
				q.address, q.addrPort = address, addrPort
				found = append(found, reading{rules: s.matched(q), untranslated: true})
			}
			for _, r := range found {
				out = append(out, r)
				if key.self {
					r.exempt = true
					out = append(out, r)
				}
			}
		}
	}
	return out
}
