// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// askAbout finds what the sets ask about peers, and the prefixes whose class
// may be another one by that, in order.
func (n *nodeState) askAbout(ch *changes) []netip.Prefix {
	n.asks = append(n.asks, make([]*nodeAsk, len(n.c.atoms)-len(n.asks))...)
	for _, s := range n.added {
		for _, a := range s.askings {
			ask := n.asks[a]
			if ask == nil {
				ask = &nodeAsk{}
				n.asks[a] = ask
				n.asked = append(n.asked, a)
			}
			ask.sets = append(ask.sets, s)
		}
	}
	for _, s := range n.removed {
		for _, a := range s.askings {
			ask := n.asks[a]
			ask.sets = slices.DeleteFunc(ask.sets, func(x *nodeSet) bool { return x == s })
			if len(ask.sets) == 0 {
				n.asks[a] = nil
				n.forgotten = append(n.forgotten, a)
			}
		}
	}
	if ch == nil {
		_, edges := n.changeBlocks(n.c.strangers.blocks...)
		return inOrder(slices.Concat(n.c.singleAddresses(), edges))
	}
	dirty := map[netip.Prefix]struct{}{}
	mark := func(ip netip.Addr) { dirty[single(ip)] = struct{}{} }
	for _, ip := range ch.ordered() {
		mark(ip)
	}
	n.markBlocks(dirty)
	strange := false
	for _, list := range [2][]asking{n.asked, n.forgotten} {
		for _, a := range list {
			strange = strange || n.c.strangers.has(a)
			for p := range n.c.askers[a] {
				n.c.addressesOf(p, mark)
			}
			if n.c.kindOf(a) == policy.NodePeer {
				for _, ip := range n.c.nodeIPs {
					mark(ip)
				}
			}
		}
	}
	if strange {
		n.markRanges(n.c.strangers.networks, dirty)
	}
	if len(n.asked)+len(n.forgotten) > 0 || len(n.known) > 4*len(n.c.persons)+1000 {
		clear(n.known)
	}
	return inOrder(slices.Collect(maps.Keys(dirty)))
}

func single(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }

// inOrder sorts prefixes by address, and leaves each of them once.
func inOrder(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return slices.Compact(list)
}

// singleAddresses are those of pods and nodes, in order. All nodes' rulesets
// are made of them, so they are put in order once for each generation.
func (c *Compiler) singleAddresses() []netip.Prefix {
	if c.singles.of == c.stamp {
		return c.singles.list
	}
	list := make([]netip.Prefix, 0, len(c.claims)+len(c.nodeIPs))
	for ip, claims := range c.claims {
		if len(claims) == 1 {
			list = append(list, single(ip))
		}
	}
	for _, ip := range c.nodeIPs {
		list = append(list, single(ip))
	}
	c.singles.of, c.singles.list = c.stamp, inOrder(list)
	return c.singles.list
}

// changeBlocks brings the blocks in that sets ask about now, and some more: the
// ranges in which something changed, and the edges that came or went.
func (n *nodeState) changeBlocks(more ...atomID) (ranges, edges []netip.Prefix) {
	only := func(list []asking) (out []atomID) {
		for _, a := range list {
			if n.c.kindOf(a) == policy.CIDRPeer {
				out = append(out, a)
			}
		}
		return out
	}
	come, gone := append(only(n.asked), more...), only(n.forgotten)
	if len(come)+len(gone) == 0 {
		return nil, nil
	}
	return n.blocks.change(n.c.atoms, come, gone)
}

// markBlocks marks the prefixes and services that changed blocks cover.
func (n *nodeState) markBlocks(dirty map[netip.Prefix]struct{}) {
	ranges, edges := n.changeBlocks()
	for _, p := range edges {
		dirty[p] = struct{}{}
	}
	n.markRanges(ranges, dirty)
}

// markRanges marks what lies in some ranges.
func (n *nodeState) markRanges(ranges []netip.Prefix, dirty map[netip.Prefix]struct{}) {
	for _, r := range ranges {
		for p := range n.pages.Peers.From(func(p *ruleset.Peer) bool { return p.Prefix.Addr().Less(r.Addr()) }) {
			if !r.Contains(p.Prefix.Addr()) {
				break
			}
			dirty[p.Prefix] = struct{}{}
		}
		n.markServices(r)
	}
}

// writePeers writes the classes of addresses, in order, so that new classes
// get their numbers in it. It gives the addresses that have another class.
func (n *nodeState) writePeers(dirty []netip.Prefix) []netip.Addr {
	var edits []ruleset.Edit[ruleset.Peer]
	var changed []netip.Addr
	touched := map[*nodeClass]struct{}{}
	for _, prefix := range dirty {
		old := n.pages.Peers.Get(ruleset.Peer{Prefix: prefix}, ruleset.ComparePeers)
		now, class, there := n.peer(prefix)
		if !there && old == nil || there && old != nil && *old == now {
			continue
		}
		if there {
			edits = append(edits, ruleset.Edit[ruleset.Peer]{Value: now})
			k := n.classes[class.id]
			if k == nil {
				k = &nodeClass{class: class, fresh: true}
				n.classes[class.id] = k
			}
			k.peers++
			touched[k] = struct{}{}
		} else {
			edits = append(edits, ruleset.Edit[ruleset.Peer]{Value: *old, Delete: true})
		}
		if old != nil {
			k := n.classes[old.Class]
			k.peers--
			touched[k] = struct{}{}
		}
		if prefix.IsSingleIP() {
			changed = append(changed, prefix.Addr())
		}
	}
	n.pages.Peers = n.pages.Peers.Edit(edits, ruleset.ComparePeers)
	for k := range touched {
		n.settleClass(k)
	}
	return changed
}

// settleClass notes that a class came or went.
func (n *nodeState) settleClass(k *nodeClass) {
	switch {
	case k.peers == 0:
		delete(n.classes, k.id)
		if k.fresh {
			return
		}
		n.vanished = append(n.vanished, k)
		k.eachAsked(func(a asking) {
			if ask := n.asks[a]; ask != nil {
				if i := slices.Index(ask.classes, k); i >= 0 {
					last := len(ask.classes) - 1
					ask.classes[i], ask.classes[last] = ask.classes[last], nil
					ask.classes = ask.classes[:last]
				}
			}
		})
	case k.fresh:
		n.appeared = append(n.appeared, k)
		k.eachAsked(func(a asking) { n.asks[a].classes = append(n.asks[a].classes, k) })
	}
}

// peer is what stands for a prefix; not there: nothing.
func (n *nodeState) peer(prefix netip.Prefix) (ruleset.Peer, *class, bool) {
	ip := prefix.Addr()
	if prefix.IsSingleIP() {
		flags := ruleset.PeerPod
		node := n.c.nodeOf(ip)
		if n.c.owner(ip) == nil {
			flags = ruleset.PeerNode
			if node != nil && node.Name == n.name {
				flags |= ruleset.PeerLocalNode
			}
		}
		if flags == ruleset.PeerPod || node != nil {
			k := n.classAt(ip)
			return ruleset.Peer{Prefix: prefix, Class: k.id, Flags: flags}, k, true
		}
	}
	e, there := n.blocks.edges.Get(prefix)
	if !there {
		return ruleset.Peer{}, nil, false
	}
	k := n.c.classOf(n.strange(e.covering))
	return ruleset.Peer{Prefix: prefix, Class: k.id}, k, true
}

// classAt is the class of an address as a peer of this node's sets.
func (n *nodeState) classAt(ip netip.Addr) *class {
	edge := n.blocks.edge(ip)
	k := class{}
	if edge != nil {
		k.address = edge.covering
	}
	if ps := n.c.owner(ip); ps != nil {
		at := sight{ps.person, edge}
		out := n.known[at]
		if out == nil {
			k.owned, k.self = true, n.filtered(at.person)
			out = n.c.classOf(k)
			n.known[at] = out
		}
		return out
	}
	if node := n.c.nodeOf(ip); node != nil {
		k.address = n.withNodes(k.address, node)
		for _, ps := range n.c.hostPods[node.Name] {
			k.hosts = append(k.hosts, n.filtered(ps.person))
		}
		return n.c.classOf(k)
	}
	return n.c.classOf(n.strange(k.address))
}

func (n *nodeState) withNodes(address []atomID, node *identity.Node) []atomID {
	out := slices.Clone(address)
	for _, a := range n.c.nodeAtoms {
		if n.asks[a] != nil && n.c.atoms[a].peer.Nodes.Matches(node.Labels) {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

// filtered leaves only what this node's sets ask about.
func (n *nodeState) filtered(p *person) person {
	var out person
	for _, a := range p.atoms {
		if n.asks[a] != nil {
			out.atoms = append(out.atoms, a)
		}
	}
	for _, name := range p.names {
		if n.asks[name.atom] != nil {
			out.names = append(out.names, name)
		}
	}
	return out
}
