// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// blocks knows which address blocks cover an address. Every block and every
// exception is a prefix of the table, so the longest prefix that holds an
// address says which blocks cover it: no block begins or ends below it.
type blocks struct {
	edges bart.Table[*edge]
}

// edge is one prefix that some block or exception has.
type edge struct {
	begin, except []atomID // blocks that have it as their range, as an exception
	covering      []atomID // sorted
}

// change brings some blocks in and takes some out. It gives the ranges in which
// the blocks that cover addresses are others now, and the prefixes that are
// edges no more, or are new ones.
func (t *blocks) change(atoms []atom, come, gone []atomID) (ranges, edges []netip.Prefix) {
	slices.Sort(come)
	for _, id := range come {
		p := &atoms[id].peer
		e := t.at(p.CIDR)
		e.begin = append(e.begin, id)
		ranges, edges = append(ranges, p.CIDR), append(edges, p.CIDR)
		for _, except := range p.Except {
			// An exception outside the block changes nothing.
			if except.Overlaps(p.CIDR) {
				e := t.at(except)
				e.except = append(e.except, id)
				edges = append(edges, except)
			}
		}
	}
	for _, id := range gone {
		p := &atoms[id].peer
		ranges = append(ranges, p.CIDR)
		for _, prefix := range append([]netip.Prefix{p.CIDR}, p.Except...) {
			e, there := t.edges.Get(prefix)
			if !there {
				continue
			}
			is := func(x atomID) bool { return x == id }
			e.begin, e.except = slices.DeleteFunc(e.begin, is), slices.DeleteFunc(e.except, is)
			if len(e.begin)+len(e.except) == 0 {
				t.edges.Delete(prefix)
			}
			edges = append(edges, prefix)
		}
	}
	again := map[netip.Prefix]*edge{}
	for _, prefix := range edges {
		if e, there := t.edges.Get(prefix); there {
			again[prefix] = e
		}
	}
	for _, r := range ranges {
		for prefix, e := range t.edges.Subnets(r) {
			again[prefix] = e
		}
	}
	for prefix, e := range again {
		e.covering = t.cover(prefix)
		edges = append(edges, prefix)
	}
	return ranges, edges
}

func (t *blocks) at(p netip.Prefix) *edge {
	e, ok := t.edges.Get(p)
	if !ok {
		e = &edge{}
		t.edges.Insert(p, e)
	}
	return e
}

// cover lists the blocks that hold the whole prefix.
func (t *blocks) cover(prefix netip.Prefix) []atomID {
	holds := map[atomID]bool{}
	holes := map[atomID]bool{}
	for _, e := range t.edges.Supernets(prefix) {
		for _, id := range e.begin {
			holds[id] = true
		}
		for _, id := range e.except {
			holes[id] = true
		}
	}
	var out []atomID
	for id := range holds {
		if !holes[id] {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// edge is the longest prefix that holds an address; nil: no block comes near.
func (t *blocks) edge(ip netip.Addr) *edge {
	e, _ := t.edges.Lookup(ip)
	return e
}
