// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/netip"
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

// nodeServices is what one node's egress sets say about services.
type nodeServices struct {
	rows     map[policy.ServiceAddress]*serviceRow
	kinds    map[ruleset.ClassID]*serviceKind
	dirty    map[policy.ServiceAddress]struct{} // to be asked about again
	egress   map[*nodeSet]struct{}
	slow     map[*nodeSet]struct{}            // egress sets that are asked the long way
	backing  map[string]map[*nodeSet]struct{} // egress sets by service that their pods back
	backerAt map[netip.Addr]*podState         // pods that are counted as backers
	usual    map[portAt][]ruleset.Match
	listings map[string]*serviceRow
	edits    []ruleset.Edit[ruleset.Match]
}

// serviceRow is a service address as it was written.
type serviceRow struct {
	at       policy.ServiceAddress
	service  ruleset.Service
	matches  []ruleset.Match // of its class
	searched []*nodeSet      // what these say depends on their modes
}

// serviceKind is a class of services.
type serviceKind struct {
	matches []ruleset.Match
	rows    map[*serviceRow]struct{}
}

func newNodeServices() nodeServices {
	return nodeServices{
		rows: map[policy.ServiceAddress]*serviceRow{}, kinds: map[ruleset.ClassID]*serviceKind{}, dirty: map[policy.ServiceAddress]struct{}{},
		egress: map[*nodeSet]struct{}{}, slow: map[*nodeSet]struct{}{}, backing: map[string]map[*nodeSet]struct{}{},
		backerAt: map[netip.Addr]*podState{}, usual: map[portAt][]ruleset.Match{},
	}
}

// countBacker counts a pod's address in a set that knows services.
func (n *nodeState) countBacker(s *nodeSet, ps *podState, by int) {
	before := s.backers[ps]
	if s.backers[ps] += by; s.backers[ps] == 0 {
		delete(s.backers, ps)
	}
	if (before == 0) == (s.backers[ps] == 0) {
		return
	}
	for _, name := range s.parts.services {
		if len(s.backers) > 0 {
			join(n.backing, name, s)
		} else {
			part(n.backing, name, s)
		}
		for e := range n.c.backing[name] {
			n.dirty[e.at] = struct{}{}
		}
	}
}

// markServices has all services asked about again that have an address, or a
// backend's, in the range.
func (n *nodeState) markServices(r netip.Prefix) {
	if len(n.egress) == 0 {
		return
	}
	for ip, entries := range n.c.atIP {
		if r.Contains(ip) {
			n.markEntries(entries)
		}
	}
	for ip, services := range n.c.backends {
		if r.Contains(ip) {
			n.markStates(services)
		}
	}
}

func (n *nodeState) markEntries(entries map[*serviceEntry]struct{}) {
	for e := range entries {
		n.dirty[e.at] = struct{}{}
	}
}

func (n *nodeState) markStates(services map[*serviceState]struct{}) {
	for st := range services {
		for _, e := range st.entries {
			n.dirty[e.at] = struct{}{}
		}
	}
}

// writeServices writes the addresses that services answer at. The class of a
// service is what each egress set of the node says about it that isn't what it
// says about a service of which it asks nothing, as pairs of readings: two
// services of which all sets say the same are one class.
func (n *nodeState) writeServices(ch *changes, changed []netip.Addr) {
	had := len(n.egress) > 0
	n.findEgress(had && ch != nil)
	switch {
	case len(n.egress) == 0:
		for at := range n.rows {
			n.dirty[at] = struct{}{}
		}
	case !had || ch == nil:
		for at := range n.c.entries {
			n.dirty[at] = struct{}{}
		}
	default:
		n.markEntries(ch.services)
		for _, ip := range changed {
			n.markStates(n.c.backends[ip])
			n.markEntries(n.c.atIP[ip])
		}
	}
	if len(n.dirty) == 0 {
		return
	}
	n.listings = map[string]*serviceRow{}
	var edits []ruleset.Edit[ruleset.Service]
	for _, at := range slices.SortedFunc(maps.Keys(n.dirty), compareAt) {
		old, row := n.rows[at], n.row(at)
		if old == nil && row == nil {
			continue
		}
		// The new one first, so that a class that stays isn't taken for one that goes.
		if row != nil {
			n.rows[at] = row
			n.useKind(row)
			edits = append(edits, ruleset.Edit[ruleset.Service]{Value: row.service})
		} else {
			delete(n.rows, at)
			edits = append(edits, ruleset.Edit[ruleset.Service]{Value: old.service, Delete: true})
		}
		if old != nil {
			n.leaveKind(old)
		}
	}
	clear(n.dirty)
	n.listings = nil
	n.pages.Services = n.pages.Services.Edit(edits, ruleset.CompareServices)
}

func compareAt(x, y policy.ServiceAddress) int {
	return cmp.Or(x.IP.Compare(y.IP), cmp.Compare(x.Protocol, y.Protocol), cmp.Compare(x.Port, y.Port))
}

// findEgress keeps the list of egress sets, and marks the services about which
// those that came or went say something unusual, unless all are asked anyway.
func (n *nodeState) findEgress(mark bool) {
	for _, s := range n.added {
		if s.parts.direction != flow.Egress {
			continue
		}
		n.egress[s] = struct{}{}
		s.services, s.searched = map[ruleset.ClassID]struct{}{}, map[*serviceRow]struct{}{}
		clear(n.usual)
		if s.quick == nil {
			n.slow[s] = struct{}{}
		}
		switch {
		case !mark:
		case s.quick == nil:
			for at := range n.c.entries {
				n.dirty[at] = struct{}{}
			}
		default:
			n.markAsked(s)
		}
	}
	for _, s := range n.removed {
		if s.parts.direction != flow.Egress {
			continue
		}
		delete(n.egress, s)
		delete(n.slow, s)
		clear(n.usual)
		for id := range s.services {
			for row := range n.kinds[id].rows {
				n.dirty[row.at] = struct{}{}
			}
		}
		for row := range s.searched {
			n.dirty[row.at] = struct{}{}
		}
	}
}

// markAsked marks the services of which the set asks something.
func (n *nodeState) markAsked(s *nodeSet) {
	for a := range s.quick.atoms {
		p := &n.c.atoms[a].peer
		if p.Kind == policy.CIDRPeer {
			n.markServices(p.CIDR)
			continue
		}
		for who := range n.c.askers[asking{atom: a}] {
			n.c.addressesOf(who, func(ip netip.Addr) { n.markStates(n.c.backends[ip]) })
		}
		if p.Kind == policy.NodePeer {
			for _, ip := range n.c.nodeIPs {
				n.markEntries(n.c.atIP[ip])
				n.markStates(n.c.backends[ip])
			}
		}
	}
	for at, entries := range n.c.byPort {
		if !sameBits(s.base[s.portClassOf(at.protocol, at.port)], s.base[0]) {
			n.markEntries(entries)
		}
	}
}

func sameBits(a, b ruleset.Match) bool { return a.Bits == b.Bits && a.Alt == b.Alt && a.Open == b.Open }

// usualService is what a set says about services of which it asks nothing: it
// stands for all classes of services that have no entry of their own.
func (s *set) usualService() (ruleset.Match, bool) {
	m := s.base[0]
	m.Set, m.Peer, m.Ports = s.ID, 0, ruleset.ServicePorts
	return m, s.parts.direction == flow.Egress && !sameBits(m, ruleset.Match{})
}

func (n *nodeState) useKind(row *serviceRow) {
	for _, s := range row.searched {
		s.searched[row] = struct{}{}
	}
	id := row.service.Class
	if id == 0 {
		return
	}
	k := n.kinds[id]
	if k == nil {
		k = &serviceKind{matches: row.matches, rows: map[*serviceRow]struct{}{}}
		n.kinds[id] = k
		for _, m := range k.matches {
			n.edits = append(n.edits, ruleset.Edit[ruleset.Match]{Value: m})
			n.sets[m.Set].services[id] = struct{}{}
		}
	}
	k.rows[row] = struct{}{}
}

func (n *nodeState) leaveKind(row *serviceRow) {
	for _, s := range row.searched {
		delete(s.searched, row)
	}
	id := row.service.Class
	if id == 0 {
		return
	}
	k := n.kinds[id]
	if delete(k.rows, row); len(k.rows) > 0 {
		return
	}
	delete(n.kinds, id)
	for _, m := range k.matches {
		n.edits = append(n.edits, ruleset.Edit[ruleset.Match]{Value: m, Delete: true})
		if s := n.sets[m.Set]; s != nil {
			delete(s.services, id)
		}
	}
}

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
		m := s.base[s.portClassOf(at.protocol, at.port)]
		if !sameBits(m, s.base[0]) {
			m.Set, m.Peer, m.Ports = s.ID, 0, ruleset.ServicePorts
			list = append(list, m)
		}
	}
	n.usual[at] = list
	return list
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
