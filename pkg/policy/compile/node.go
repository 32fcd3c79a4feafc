// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// nodeState is one node's last generation, indexed, so that the next one
// costs what changes in it.
type nodeState struct {
	c       *Compiler
	name    string
	stamp   uint64 // generation that it is of
	stale   bool   // it refers to a world that was forgotten
	pages   ruleset.Pages
	sets    map[ruleset.SetID]*nodeSet
	asks    []*nodeAsk // by what is asked; nil: nothing
	classes map[ruleset.ClassID]*nodeClass
	known   map[sight]*class
	blocks  *blocks
	marks   uint64
	nodeServices

	// What this generation changes.
	added, removed     []*nodeSet
	revived            []*nodeSet
	counted            map[*nodeSet]struct{} // whose endpoints changed, or that were retiring
	asked, forgotten   []asking
	appeared, vanished []*nodeClass
}

// nodeSet is a set that judges pods of the node, or did so in the last
// generation: until endpoints have moved it is still asked.
type nodeSet struct {
	*set
	row       ruleset.Set // as it is written: a set that nobody is in any more keeps its modes
	endpoints int         // 0: it goes with the next generation
	retiring  bool
	backers   map[*podState]int // pods in it that back services, by addresses
	mark      uint64
	changed   []*nodeClass                 // that came or went, of which it asks something
	services  map[ruleset.ClassID]struct{} // service classes of which it says something
	searched  map[*serviceRow]struct{}     // services of which it says what depends on modes
}

// nodeAsk is something that sets of the node ask about peers.
type nodeAsk struct {
	sets    []*nodeSet
	classes []*nodeClass // in no order
}

// nodeClass is a class that peers of the node have.
type nodeClass struct {
	*class
	peers int
	fresh bool
	mark  uint64
}

// sight is all that the class of a pod's address follows from, while what the
// node's sets ask about stays the same.
type sight struct {
	person *person
	edge   *edge
}

func newNodeState(c *Compiler, name string) *nodeState {
	return &nodeState{
		c: c, name: name, sets: map[ruleset.SetID]*nodeSet{}, classes: map[ruleset.ClassID]*nodeClass{},
		known: map[sight]*class{}, blocks: &blocks{}, counted: map[*nodeSet]struct{}{}, nodeServices: newNodeServices(),
	}
}

// Node is the ruleset of one node; that of pods on no node under "". It is
// made when first asked for. A node that isn't known has no endpoints, but
// peers.
func (o *Output) Node(name string) *ruleset.Ruleset {
	r := o.flat[name]
	if r == nil {
		r = o.Pages(name).Ruleset()
		o.flat[name] = r
	}
	return r
}

// Pages is the same, as pages that it shares with other generations. It must
// be asked for before the next generation is compiled.
func (o *Output) Pages(name string) *ruleset.Pages {
	if p := o.pages[name]; p != nil {
		return p
	}
	if o.stamp != o.Compiler.stamp {
		panic("compile: an output's rulesets must be asked for before the next generation is compiled")
	}
	n := o.nodes[name]
	if n == nil || n.stale || n.stamp != o.stamp-1 {
		n = o.rebuild(name, n)
	} else {
		n.update(o.changes)
	}
	n.stamp = o.stamp
	p := n.pages
	p.Generation = o.generation
	o.pages[name] = &p
	return &p
}

// Forget frees what a node's ruleset takes, for whoever looks at one node after
// the other. In the next generation it is made anew.
func (o *Output) Forget(name string) {
	if n := o.nodes[name]; n != nil {
		for _, s := range n.sets {
			o.release(s.set)
		}
	}
	delete(o.nodes, name)
	delete(o.pages, name)
	delete(o.flat, name)
}

// rebuild makes a node's state from nothing but the sets that the last one had.
func (o *Output) rebuild(name string, old *nodeState) *nodeState {
	n := newNodeState(o.Compiler, name)
	o.nodes[name] = n
	if old != nil {
		for _, s := range old.sets {
			if s.retiring {
				o.release(s.set)
				continue
			}
			s = &nodeSet{set: s.set, row: s.row, backers: map[*podState]int{}}
			n.sets[s.ID] = s
			n.added = append(n.added, s)
			n.counted[s] = struct{}{}
		}
	}
	n.update(nil)
	return n
}

func (c *Compiler) release(s *set) {
	if s.nodes--; s.nodes == 0 {
		c.loose[s] = struct{}{}
	}
}

// update brings the state to the compiler's generation. Nil: everything may
// have changed, and nothing is there.
func (n *nodeState) update(ch *changes) {
	n.pages.Endpoints = n.pages.Endpoints.Edit(n.endpoints(ch), ruleset.CompareEndpoints)
	n.findSets()
	n.writeSets(ch)
	dirty := n.askAbout(ch)
	changed := n.writePeers(dirty)
	n.writeServices(ch, changed)
	n.writeMatches(ch == nil)
	for _, k := range n.appeared {
		k.fresh = false
	}
	n.added, n.removed, n.revived, n.asked, n.forgotten, n.appeared, n.vanished = nil, nil, nil, nil, nil, nil, nil
}

// endpoints writes the node's pods and counts who is in which set.
func (n *nodeState) endpoints(ch *changes) []ruleset.Edit[ruleset.Endpoint] {
	var edits []ruleset.Edit[ruleset.Endpoint]
	if ch == nil {
		for ps := range n.c.byNode[n.name] {
			for _, ip := range ps.pod.IPs {
				if row, ps := n.endpoint(ip); ps != nil {
					edits = append(edits, ruleset.Edit[ruleset.Endpoint]{Value: row})
					n.move(ruleset.Endpoint{}, row, ps)
				}
			}
		}
		return edits
	}
	for ip := range ch.endpoints {
		old := n.pages.Endpoints.Get(ruleset.Endpoint{IP: ip}, ruleset.CompareEndpoints)
		row, ps := n.endpoint(ip)
		switch {
		case ps == nil && old == nil:
			continue
		case ps == nil:
			edits = append(edits, ruleset.Edit[ruleset.Endpoint]{Value: *old, Delete: true})
			n.move(*old, ruleset.Endpoint{}, nil)
		case old == nil:
			edits = append(edits, ruleset.Edit[ruleset.Endpoint]{Value: row})
			n.move(ruleset.Endpoint{}, row, ps)
		default:
			edits = append(edits, ruleset.Edit[ruleset.Endpoint]{Value: row})
			n.move(*old, row, ps)
		}
	}
	return edits
}

func (n *nodeState) endpoint(ip netip.Addr) (ruleset.Endpoint, *podState) {
	ps, id := n.c.owner(ip), n.c.ids[ip]
	if ps == nil || id == 0 || ps.pod.Node != n.name {
		return ruleset.Endpoint{}, nil
	}
	return ruleset.Endpoint{IP: ip, ID: id, Ingress: ps.ingress.id(), Egress: ps.egress.id()}, ps
}

// move counts an address out of its old sets and into its new ones.
func (n *nodeState) move(old, now ruleset.Endpoint, ps *podState) {
	if was := n.backerAt[old.IP]; was != nil && old.Egress != 0 {
		n.countBacker(n.sets[old.Egress], was, -1)
		delete(n.backerAt, old.IP)
	}
	for _, id := range []ruleset.SetID{now.Ingress, now.Egress} {
		if id == 0 {
			continue
		}
		s := n.sets[id]
		if s == nil {
			s = &nodeSet{set: n.c.sets[id], backers: map[*podState]int{}}
			s.nodes++
			n.sets[id] = s
			n.added = append(n.added, s)
		}
		s.endpoints++
		n.counted[s] = struct{}{}
	}
	for _, id := range []ruleset.SetID{old.Ingress, old.Egress} {
		if id != 0 {
			n.sets[id].endpoints--
			n.counted[n.sets[id]] = struct{}{}
		}
	}
	if s := n.sets[now.Egress]; s != nil && s.self >= 0 {
		n.countBacker(s, ps, 1)
		n.backerAt[now.IP] = ps
	}
}

// findSets finds the sets that come and go.
func (n *nodeState) findSets() {
	var retiring []*nodeSet
	for s := range n.counted {
		switch {
		case s.endpoints > 0:
			if s.retiring {
				s.retiring = false
				n.revived = append(n.revived, s)
			}
		case s.retiring:
			n.removed = append(n.removed, s)
			delete(n.sets, s.ID)
			n.c.release(s.set)
		default:
			s.retiring = true
			retiring = append(retiring, s)
		}
	}
	n.counted = make(map[*nodeSet]struct{}, len(retiring)) // the old one may be large, and is then slow to walk
	for _, s := range retiring {
		n.counted[s] = struct{}{} // it goes with the next generation
	}
	byID := func(a, b *nodeSet) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(n.added, byID)
	slices.SortFunc(n.removed, byID)
}

// writeSets writes the sets with the modes of now. Those that nobody is in any
// more stay as they were: until endpoints have moved they judge by their old
// modes.
func (n *nodeState) writeSets(ch *changes) {
	var sets []ruleset.Edit[ruleset.Set]
	var ports []ruleset.Edit[ruleset.Port]
	var ranges []ruleset.Edit[ruleset.PortRange]
	write := func(s *nodeSet, gone bool) {
		sets = append(sets, ruleset.Edit[ruleset.Set]{Value: s.row, Delete: gone})
	}
	runs := func(s *nodeSet, gone bool) {
		for _, p := range s.ports.single {
			p.Set = s.ID
			ports = append(ports, ruleset.Edit[ruleset.Port]{Value: p, Delete: gone})
		}
		for _, p := range s.ports.ranges {
			p.Set = s.ID
			ranges = append(ranges, ruleset.Edit[ruleset.PortRange]{Value: p, Delete: gone})
		}
	}
	for _, s := range n.removed {
		write(s, true)
		runs(s, true)
	}
	for _, s := range n.added {
		if !s.retiring {
			s.row = s.set.Set
		}
		write(s, false)
		runs(s, false)
	}
	again := n.revived
	if ch != nil {
		for s := range ch.masks {
			if known := n.sets[s.ID]; known != nil {
				again = append(again, known)
			}
		}
	}
	for _, s := range again {
		if !s.retiring && s.row != s.set.Set {
			s.row = s.set.Set
			write(s, false)
			for row := range s.searched {
				n.dirty[row.at] = struct{}{}
			}
		}
	}
	n.pages.Sets = n.pages.Sets.Edit(sets, ruleset.CompareSets)
	n.pages.Ports = n.pages.Ports.Edit(ports, ruleset.ComparePorts)
	n.pages.PortRanges = n.pages.PortRanges.Edit(ranges, ruleset.ComparePortRanges)
}
