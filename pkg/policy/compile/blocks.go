// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
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

func newBlocks(atoms []atom, used map[atomID]bool) *blocks {
	t := &blocks{}
	at := func(p netip.Prefix) *edge {
		e, ok := t.edges.Get(p)
		if !ok {
			e = &edge{}
			t.edges.Insert(p, e)
		}
		return e
	}
	for id := range used {
		p := &atoms[id].peer
		if p.Kind != policy.CIDRPeer {
			continue
		}
		e := at(p.CIDR)
		e.begin = append(e.begin, id)
		for _, except := range p.Except {
			// An exception outside the block changes nothing.
			if except.Overlaps(p.CIDR) {
				e := at(except)
				e.except = append(e.except, id)
			}
		}
	}
	for prefix, e := range t.edges.All() {
		e.covering = t.cover(prefix)
	}
	return t
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

// all gives every prefix at which the blocks that cover addresses change.
func (t *blocks) all() iter.Seq2[netip.Prefix, []atomID] {
	return func(yield func(netip.Prefix, []atomID) bool) {
		for prefix, e := range t.edges.AllSorted() {
			if !yield(prefix, e.covering) {
				return
			}
		}
	}
}
