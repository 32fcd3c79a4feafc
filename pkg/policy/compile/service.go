// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/binary"
	"fmt"
	"slices"

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
	listings := map[string]ruleset.Service{}
	for at := range b.view.Services() {
		service, backends, ok := b.view.Service(at, b.name)
		if !ok {
			continue
		}
		ways := b.ways(backends)
		address := b.c.classOf(class{address: b.classAt(at.IP).address})
		// What is said depends on these alone, unless a pod backs it itself.
		sketch := b.sketch(at, service, address, ways)
		row, known := listings[sketch]
		if !known {
			row = b.serviceClass(at, service, address, ways)
			listings[sketch] = row
		}
		row.IP, row.Protocol, row.Port = at.IP, uint8(at.Protocol), at.Port
		b.r.Services = append(b.r.Services, row)
	}
}

func (b *nodeBuild) ways(backends []identity.Backend) []backend {
	var out []backend
	for _, to := range backends {
		way := backend{class: b.classAt(to.IP), pod: b.view.Pod(to.IP), port: to.Port}
		out = append(out, way)
	}
	return out
}

func (b *nodeBuild) sketch(at policy.ServiceAddress, service policy.ServiceAt, address *class, ways []backend) string {
	var list []string
	for _, w := range ways {
		list = append(list, fmt.Sprintf("%d:%d", w.class.id, w.port))
	}
	slices.Sort(list)
	key := fmt.Sprintf("%d/%d %d %v", at.Protocol, at.Port, address.id, slices.Compact(list))
	for s, pods := range b.backers {
		if slices.Contains(s.parts.services, service.Service.Key()) && slices.ContainsFunc(ways, func(w backend) bool { return pods[w.pod] }) {
			return key + " " + service.Service.Key()
		}
	}
	return key
}

// serviceClass asks every egress set about the service.
func (b *nodeBuild) serviceClass(at policy.ServiceAddress, service policy.ServiceAt, address *class, ways []backend) ruleset.Service {
	row := ruleset.Service{}
	var key []byte
	var matches []ruleset.Match
	for _, s := range b.egress {
		m := ruleset.Match{Set: s.ID, Ports: ruleset.ServicePorts}
		selves := b.selves(s, service)
		ok := b.quickService(&m, s, at, address, ways, selves)
		if !ok {
			m.Bits, m.Alt, ok = s.settle(s.serviceReadings(at, address, ways, selves))
		}
		row.Depends = row.Depends || !ok
		if m.Bits == (ruleset.Bitmap{}) && m.Alt == (ruleset.Bitmap{}) {
			continue
		}
		matches = append(matches, m)
		key = binary.LittleEndian.AppendUint32(key, uint32(s.ID))
		for _, w := range [][ruleset.Words]uint64{m.Bits, m.Alt} {
			for _, word := range w {
				key = binary.LittleEndian.AppendUint64(key, word)
			}
		}
	}
	if len(matches) == 0 {
		return row
	}
	id := ruleset.ClassID(b.c.classIDs.id("service " + string(key)))
	row.Class = id
	if b.seen[id] == nil {
		b.seen[id] = &class{id: id} // its matches are written here, none by rules
		for _, m := range matches {
			m.Peer = id
			b.r.Matches = append(b.r.Matches, m)
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

// selves are the pods of a set that may reach themselves through a service.
func (b *nodeBuild) selves(s *set, service policy.ServiceAt) map[*identity.Pod]bool {
	if !slices.Contains(s.parts.services, service.Service.Key()) {
		return nil
	}
	return b.backers[s]
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
			rules := [][]int{s.matched(q)}
			if s.hasAddr {
				q.address, q.addrPort = address, addrPort
				rules = append(rules, s.matched(q))
			}
			for _, r := range rules {
				out = append(out, reading{rules: r})
				if key.self {
					out = append(out, reading{rules: r, exempt: true})
				}
			}
		}
	}
	return out
}
