// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// nodeState is what a node's next generation needs of its last one.
type nodeState struct {
	generation uint64
	live       map[ruleset.SetID]bool
	rows       map[ruleset.SetID]ruleset.Set // as they were written

	// What costs most to find, kept for as long as it stays true.
	sets   []*set // live and retiring
	used   map[atomID]bool
	names  map[portAsk]bool
	blocks *blocks
	known  map[sight]*class                  // while the sets stay the same
	seen   map[ruleset.ClassID]*class        // classes of peers
	parts  map[ruleset.SetID][]ruleset.Match // by set, of the classes seen
}

// sight is all that the class of a pod's address follows from, while a node's
// sets stay the same.
type sight struct {
	person *person
	edge   *edge
}

// nodeBuild makes one node's ruleset.
type nodeBuild struct {
	*Output
	name    string
	before  *nodeState
	state   *nodeState
	sets    []*set // live and retiring, by id
	egress  []*set
	backers map[*set]map[*identity.Pod]bool // live egress sets that know services
	asking  map[atomID][]*set               // egress sets by peer
	slow    []*set                          // egress sets that are asked the long way
	backing map[string][]*set               // by service
	usual   map[portAt][]ruleset.Match
	// ofServices holds the matches of service classes, by set.
	ofServices map[ruleset.SetID][]ruleset.Match
	used       map[atomID]bool
	names      map[portAsk]bool
	blocks     *blocks
	known      map[sight]*class
	seen       map[ruleset.ClassID]*class
	r          *ruleset.Ruleset
}

// Node is the ruleset of one node; that of pods on no node under "". It is
// made when first asked for. A node that isn't known has no endpoints, but
// peers.
func (o *Output) Node(name string) *ruleset.Ruleset {
	if r := o.done[name]; r != nil {
		return r
	}
	b := &nodeBuild{
		Output: o, name: name, before: o.c.nodes[name],
		state: &nodeState{
			generation: o.in.Generation, live: map[ruleset.SetID]bool{},
			rows: map[ruleset.SetID]ruleset.Set{},
		},
		backers: map[*set]map[*identity.Pod]bool{}, ofServices: map[ruleset.SetID][]ruleset.Match{}, used: map[atomID]bool{}, names: map[portAsk]bool{},
		seen: map[ruleset.ClassID]*class{0: {}},
		r:    &ruleset.Ruleset{Generation: o.in.Generation},
	}
	if b.before == nil {
		b.before = &nodeState{}
	}
	b.endpoints()
	b.addSets()
	b.askAbout()
	b.addPeers()
	b.addServices()
	b.addMatches()
	b.r.Sort()
	o.c.nodes[name] = b.state
	o.done[name] = b.r
	return b.r
}

// endpoints writes the node's pods and finds the sets that judge them.
func (b *nodeBuild) endpoints() {
	for _, s := range b.byNode[b.name] {
		for _, ip := range s.pod.IPs {
			id := b.ids[ip]
			if id == 0 || b.view.Pod(ip) != s.pod {
				continue
			}
			b.r.Endpoints = append(b.r.Endpoints, ruleset.Endpoint{IP: ip, ID: id, Ingress: s.ingress.id(), Egress: s.egress.id()})
		}
		for _, set := range []*set{s.ingress, s.egress} {
			if set != nil {
				b.state.live[set.ID] = true
			}
		}
		if s.egress != nil && s.egress.self >= 0 {
			if b.backers[s.egress] == nil {
				b.backers[s.egress] = map[*identity.Pod]bool{}
			}
			b.backers[s.egress][s.pod] = true
		}
	}
}

// addSets writes the live sets with the modes of now, and those that the last
// generation used and this one doesn't as they were: until endpoints have
// moved they judge by their old modes.
func (b *nodeBuild) addSets() {
	for id := range b.state.live {
		s := b.c.sets[id]
		s.masks(b.now)
		b.sets = append(b.sets, s)
		b.state.rows[id] = s.Set
	}
	for id := range b.before.live {
		if s := b.c.sets[id]; s != nil && !b.state.live[id] {
			s.Set = b.before.rows[id]
			b.sets = append(b.sets, s)
		}
	}
	slices.SortFunc(b.sets, func(x, y *set) int { return int(x.ID) - int(y.ID) })
	for _, s := range b.sets {
		b.r.Sets = append(b.r.Sets, s.Set)
		for _, p := range s.ports.single {
			p.Set = s.ID
			b.r.Ports = append(b.r.Ports, p)
		}
		for _, p := range s.ports.ranges {
			p.Set = s.ID
			b.r.PortRanges = append(b.r.PortRanges, p)
		}
		if s.parts.direction == flow.Egress {
			b.egress = append(b.egress, s)
		}
	}
	b.state.sets = b.sets
}

// askAbout collects what the sets ask about peers. If the sets are those of
// the last generation, that is known, and so are the classes it led to.
func (b *nodeBuild) askAbout() {
	if slices.Equal(b.sets, b.before.sets) && b.before.known != nil {
		b.used, b.names, b.blocks, b.known = b.before.used, b.before.names, b.before.blocks, b.before.known
	} else {
		for _, s := range b.sets {
			for a := range s.podAt {
				b.used[a] = true
			}
			for a := range s.addrAt {
				b.used[a] = true
			}
			if s.parts.direction == flow.Egress {
				for _, n := range s.parts.named {
					b.names[portAsk{n.name, n.protocol}] = true
				}
			}
		}
		b.blocks, b.known = newBlocks(b.c.atoms, b.used), map[sight]*class{}
	}
	b.state.used, b.state.names, b.state.blocks = b.used, b.names, b.blocks
	b.state.known = make(map[sight]*class, len(b.known)) // only what is still there
}

// addPeers writes the class of every pod, node and block.
func (b *nodeBuild) addPeers() {
	var strangers []*identity.Pod
	for _, pod := range b.in.World.Pods {
		if pod.HostNetwork || pod.Done {
			continue
		}
		if !b.isKnown(pod) {
			strangers = append(strangers, pod)
			continue
		}
		b.peersOf(pod)
	}
	// New classes get their numbers in the order of names, not of maps.
	slices.SortFunc(strangers, func(x, y *identity.Pod) int { return strings.Compare(x.Key(), y.Key()) })
	for _, pod := range strangers {
		b.peersOf(pod)
	}
	for _, name := range slices.Sorted(maps.Keys(b.in.World.Nodes)) {
		node := b.in.World.Nodes[name]
		flags := ruleset.PeerNode
		if name == b.name {
			flags |= ruleset.PeerLocalNode
		}
		for _, ip := range node.IPs {
			if b.view.Node(ip) == node {
				b.peer(netip.PrefixFrom(ip, ip.BitLen()), b.classAt(ip), flags)
			}
		}
	}
	for prefix, atoms := range b.blocks.all() {
		if prefix.IsSingleIP() && (b.view.Pod(prefix.Addr()) != nil || b.view.Node(prefix.Addr()) != nil) {
			continue
		}
		b.peer(prefix, b.c.classOf(class{address: atoms}), 0)
	}
}

// isKnown says whether the classes of a pod's addresses are those of the last
// generation.
func (b *nodeBuild) isKnown(pod *identity.Pod) bool {
	for _, ip := range pod.IPs {
		if b.known[sight{b.person(pod), b.blocks.edge(ip)}] == nil {
			return false
		}
	}
	return true
}

func (b *nodeBuild) peersOf(pod *identity.Pod) {
	for _, ip := range pod.IPs {
		if b.view.Pod(ip) == pod {
			b.peer(netip.PrefixFrom(ip, ip.BitLen()), b.classAt(ip), ruleset.PeerPod)
		}
	}
}

func (b *nodeBuild) peer(prefix netip.Prefix, k *class, flags ruleset.PeerFlags) {
	b.seen[k.id] = k
	b.r.Peers = append(b.r.Peers, ruleset.Peer{Prefix: prefix, Class: k.id, Flags: flags})
}

// classAt is the class of an address as a peer of this node's sets.
func (b *nodeBuild) classAt(ip netip.Addr) *class {
	edge := b.blocks.edge(ip)
	k := class{}
	if edge != nil {
		k.address = edge.covering
	}
	if pod := b.view.Pod(ip); pod != nil {
		at := sight{b.person(pod), edge}
		out := b.known[at]
		if out == nil {
			if out = b.state.known[at]; out == nil {
				k.owned, k.self = true, b.filtered(at.person)
				out = b.c.classOf(k)
			}
		}
		b.state.known[at] = out
		return out
	}
	if node := b.view.Node(ip); node != nil {
		k.address = b.withNodes(k.address, node)
		for _, pod := range b.view.HostPods(node.Name) {
			k.hosts = append(k.hosts, b.filtered(b.person(pod)))
		}
	}
	return b.c.classOf(k)
}

func (b *nodeBuild) withNodes(address []atomID, node *identity.Node) []atomID {
	out := slices.Clone(address)
	for a := range b.used {
		if p := &b.c.atoms[a].peer; p.Kind == policy.NodePeer && p.Nodes.Matches(node.Labels) {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

// filtered leaves only what this node's sets ask about.
func (b *nodeBuild) filtered(p *person) person {
	var out person
	for _, a := range p.atoms {
		if b.used[a] {
			out.atoms = append(out.atoms, a)
		}
	}
	for _, n := range p.names {
		if b.names[portAsk{n.name, n.asked}] {
			out.names = append(out.names, n)
		}
	}
	return out
}

// addMatches writes the entries of each set with each class that one of its
// rules names; the others are those of class 0. A set's part is that of the
// last generation unless a class came or went that it asks about.
func (b *nodeBuild) addMatches() {
	b.state.seen, b.state.parts = b.seen, make(map[ruleset.SetID][]ruleset.Match, len(b.sets))
	changed := map[asking]bool{}
	for id, k := range b.seen {
		if b.before.seen[id] == nil {
			k.eachAsked(func(a asking) { changed[a] = true })
		}
	}
	for id, k := range b.before.seen {
		if b.seen[id] == nil {
			k.eachAsked(func(a asking) { changed[a] = true })
		}
	}
	var dirty []*set
	wanted := map[asking][]*class{}
	for _, s := range b.sets {
		part, known := b.before.parts[s.ID]
		stays := true
		s.eachAsking(func(a asking) { stays = stays && !changed[a] })
		if known && stays {
			b.state.parts[s.ID] = part
			continue
		}
		dirty = append(dirty, s)
		s.eachAsking(func(a asking) { wanted[a] = nil })
	}
	if len(dirty) > 0 {
		for _, k := range b.seen {
			k.eachAsked(func(a asking) {
				if list, ok := wanted[a]; ok {
					wanted[a] = append(list, k)
				}
			})
		}
	}
	for _, s := range dirty {
		b.state.parts[s.ID] = b.part(s, wanted)
	}
	for _, s := range b.sets {
		b.r.Matches = mergeMatches(b.r.Matches, b.state.parts[s.ID], b.ofServices[s.ID])
	}
}

// asking is one thing that sets ask about peers: a peer as written, or a port
// name.
type asking struct {
	atom atomID
	port portAsk
}

func (s *set) eachAsking(f func(asking)) {
	for a := range s.podAt {
		f(asking{atom: a})
	}
	for a := range s.addrAt {
		f(asking{atom: a})
	}
	if s.parts.direction == flow.Egress {
		for _, n := range s.parts.named {
			f(asking{port: portAsk{n.name, n.protocol}})
		}
	}
}

func (k *class) eachAsked(f func(asking)) {
	for _, a := range k.address {
		f(asking{atom: a})
	}
	k.self.eachAsked(f)
	for i := range k.hosts {
		k.hosts[i].eachAsked(f)
	}
}

func (p *person) eachAsked(f func(asking)) {
	for _, a := range p.atoms {
		f(asking{atom: a})
	}
	for _, n := range p.names {
		f(asking{port: portAsk{n.name, n.asked}})
	}
}

// part makes a set's entries, sorted.
func (b *nodeBuild) part(s *set, classes map[asking][]*class) []ruleset.Match {
	var out []ruleset.Match
	for _, m := range s.base {
		if m.Bits != (ruleset.Bitmap{}) || m.Alt != (ruleset.Bitmap{}) {
			m.Set = s.ID
			out = append(out, m)
		}
	}
	done := map[ruleset.ClassID]bool{}
	s.eachAsking(func(a asking) {
		for _, k := range classes[a] {
			if !done[k.id] {
				done[k.id] = true
				out = s.appendMatches(out, k, b.c.atoms)
			}
		}
	})
	slices.SortFunc(out, compareMatches)
	return out
}

func compareMatches(x, y ruleset.Match) int {
	return cmp.Or(cmp.Compare(x.Peer, y.Peer), cmp.Compare(x.Ports, y.Ports))
}

// mergeMatches adds two lists of one set, merged into one order.
func mergeMatches(out, rules, services []ruleset.Match) []ruleset.Match {
	slices.SortFunc(services, compareMatches)
	for _, m := range services {
		i, _ := slices.BinarySearchFunc(rules, m, compareMatches)
		out = append(append(out, rules[:i]...), m)
		rules = rules[i:]
	}
	return append(out, rules...)
}
