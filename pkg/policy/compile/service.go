// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
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
	served := n.c.served()
	i, _ := slices.BinarySearchFunc(served, r.Addr(), netip.Addr.Compare)
	for _, ip := range served[i:] {
		if !r.Contains(ip) {
			break
		}
		n.markEntries(n.c.atIP[ip])
		n.markStates(n.c.backends[ip])
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
	n.dirty = map[policy.ServiceAddress]struct{}{} // the old one may be large, and is then slow to walk
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
		for at, list := range n.usual {
			n.usual[at] = s.appendUsual(list, at)
		}
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
		for at, list := range n.usual {
			n.usual[at] = slices.DeleteFunc(list, func(m ruleset.Match) bool { return m.Set == s.ID })
		}
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
	for _, a := range s.quick.atoms {
		p := &n.c.atoms[a].peer
		if p.Kind == policy.CIDRPeer {
			n.markServices(p.CIDR)
			continue
		}
		if n.c.strangers.has(a) {
			for _, r := range n.c.strangers.networks {
				n.markServices(r)
			}
		}
		for who := range n.c.askers[a] {
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
