// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// backend is one way on from a service address, as sets know it.
type backend struct {
	class *class
	pod   *identity.Pod // nil: no pod's own address
	port  uint16
}

// addServices writes the addresses that services answer at. The class of a
// service is what each egress set of the node says about it, as pairs of
// readings: two services of which all sets say the same are one class.
func (b *nodeBuild) addServices() {
	if len(b.egress) == 0 {
		return
	}
	b.indexEgress()
	listings := map[string]ruleset.Service{}
	for _, at := range b.serviceAddresses() {
		service, backends, ok := b.view.Service(at, b.name)
		if !ok {
			continue
		}
		ways := b.ways(backends)
		address := b.c.classOf(class{address: b.classAt(at.IP).address})
		backed := b.backedBy(at, service)
		// What is said depends on these alone, unless a pod backs it itself.
		var row ruleset.Service
		if len(backed) > 0 {
			row = b.serviceClass(at, address, ways, backed)
		} else {
			sketch := sketch(at, address, ways)
			var known bool
			if row, known = listings[sketch]; !known {
				row = b.serviceClass(at, address, ways, nil)
				listings[sketch] = row
			}
		}
		row.IP, row.Protocol, row.Port = at.IP, uint8(at.Protocol), at.Port
		b.r.Services = append(b.r.Services, row)
	}
}

// serviceAddresses are in order, so that new classes get their numbers in it.
func (o *Output) serviceAddresses() []policy.ServiceAddress {
	if o.addresses == nil {
		o.addresses = slices.SortedFunc(maps.Keys(o.view.Services()), func(x, y policy.ServiceAddress) int {
			return cmp.Or(x.IP.Compare(y.IP), cmp.Compare(x.Protocol, y.Protocol), cmp.Compare(x.Port, y.Port))
		})
	}
	return o.addresses
}

// indexEgress finds the egress sets by what they ask about.
func (b *nodeBuild) indexEgress() {
	b.asking, b.backing, b.usual = map[atomID][]*set{}, map[string][]*set{}, map[portAt][]ruleset.Match{}
	for _, s := range b.egress {
		if s.quick == nil {
			b.slow = append(b.slow, s)
			continue
		}
		for a := range s.quick.atoms {
			b.asking[a] = append(b.asking[a], s)
		}
	}
	for s := range b.backers {
		for _, name := range s.parts.services {
			b.backing[name] = append(b.backing[name], s)
		}
	}
}

// portAt is where a backend listens.
type portAt struct {
	protocol flow.Protocol
	port     uint16
}

// usualMatches is what sets say about a service of which they ask nothing but
// the port: what they say of class 0. Empty ones are left out.
func (b *nodeBuild) usualMatches(at portAt) []ruleset.Match {
	list, known := b.usual[at]
	if known {
		return list
	}
	for _, s := range b.egress {
		m := s.base[s.portClassOf(at.protocol, at.port)]
		if m.Bits != (ruleset.Bitmap{}) || m.Alt != (ruleset.Bitmap{}) {
			m.Set, m.Peer, m.Ports = s.ID, 0, ruleset.ServicePorts
			list = append(list, m)
		}
	}
	b.usual[at] = list
	return list
}

// backedBy lists the sets whose pods back the service at that address.
func (b *nodeBuild) backedBy(at policy.ServiceAddress, service policy.ServiceAt) []*set {
	if len(b.backing) == 0 {
		return nil
	}
	return b.backing[backedKey(at, service)]
}

// special lists the sets that may say something unusual about the service.
func (b *nodeBuild) special(address *class, ways []backend, backed []*set) map[*set]bool {
	out := map[*set]bool{}
	add := func(list []*set) {
		for _, s := range list {
			out[s] = true
		}
	}
	add(b.slow)
	add(backed)
	for _, a := range address.address {
		add(b.asking[a])
	}
	for i, w := range ways {
		if w.port != ways[0].port {
			add(b.egress)
		}
		if i > 0 && w.class == ways[i-1].class {
			continue
		}
		for _, a := range w.class.address {
			add(b.asking[a])
		}
		for _, p := range append(w.class.hosts[:len(w.class.hosts):len(w.class.hosts)], w.class.self) {
			for _, a := range p.atoms {
				add(b.asking[a])
			}
		}
	}
	return out
}

func (b *nodeBuild) ways(backends []identity.Backend) []backend {
	var out []backend
	for _, to := range backends {
		way := backend{class: b.classAt(to.IP), pod: b.view.Pod(to.IP), port: to.Port}
		out = append(out, way)
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

// serviceClass asks the egress sets about the service; backed are those of
// which a pod backs it.
func (b *nodeBuild) serviceClass(at policy.ServiceAddress, address *class, ways []backend, backed []*set) ruleset.Service {
	row := ruleset.Service{}
	special := b.special(address, ways, backed)
	var matches []ruleset.Match
	for _, m := range b.usualMatches(portAt{at.Protocol, ways[0].port}) {
		if !special[b.c.sets[m.Set]] {
			matches = append(matches, m)
		}
	}
	for s := range special {
		m := ruleset.Match{Set: s.ID, Ports: ruleset.ServicePorts}
		var selves map[*identity.Pod]bool
		if slices.Contains(backed, s) {
			selves = b.backers[s]
		}
		ok := b.quickService(&m, s, at, address, ways, selves)
		if !ok {
			m.Bits, m.Alt, ok = s.settle(s.serviceReadings(at, address, ways, selves))
		}
		row.Depends = row.Depends || !ok
		if m.Bits != (ruleset.Bitmap{}) || m.Alt != (ruleset.Bitmap{}) {
			matches = append(matches, m)
		}
	}
	if len(matches) == 0 {
		return row
	}
	slices.SortFunc(matches, func(a, b ruleset.Match) int { return cmp.Compare(a.Set, b.Set) })
	key := []byte("service ")
	for _, m := range matches {
		key = binary.LittleEndian.AppendUint32(key, uint32(m.Set))
		for _, w := range [][ruleset.Words]uint64{m.Bits, m.Alt} {
			for _, word := range w {
				key = binary.LittleEndian.AppendUint64(key, word)
			}
		}
	}
	id := ruleset.ClassID(b.c.classIDs.id(string(key)))
	row.Class = id
	if b.seen[id] == nil {
		b.seen[id] = &class{id: id} // its matches are written here, none by rules
		for _, m := range matches {
			m.Peer = id
			b.ofServices[m.Set] = append(b.ofServices[m.Set], m)
		}
	}
	return row
}

// quickService settles the common case: all backends look alike to the set,
// no block of it covers any of them or the service's own address, and no pod
// of the set backs it. Not ok: it is no such case.
func (b *nodeBuild) quickService(m *ruleset.Match, s *set, at policy.ServiceAddress, address *class, ways []backend, selves map[*identity.Pod]bool) bool {
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
		wide, narrow := s.quick.peers(w.class, b.c.atoms)
		ports := s.quick.ports[s.portClassOf(at.Protocol, w.port)]
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
