// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// writeMatches writes the entries of each set with each class that one of its
// rules names; the others are those of class 0.
func (n *nodeState) writeMatches(all bool) {
	if all {
		n.pages.Matches = ruleset.NewList(n.allMatches())
		n.edits = nil
		return
	}
	edits := n.edits
	n.edits = nil
	for _, s := range n.removed {
		for m := range n.pages.Matches.From(func(m *ruleset.Match) bool { return m.Set < s.ID }) {
			if m.Set != s.ID {
				break
			}
			edits = append(edits, ruleset.Edit[ruleset.Match]{Value: *m, Delete: true})
		}
	}
	list := n.c.scratch
	defer func() { n.c.scratch = list[:0] }()
	add := func(gone bool) {
		for _, m := range list {
			edits = append(edits, ruleset.Edit[ruleset.Match]{Value: m, Delete: gone})
		}
	}
	for _, k := range n.vanished {
		n.eachSetOf(k.class, func(s *nodeSet) {
			list = s.appendMatches(list[:0], k.class, n.c.atoms)
			add(true)
		})
	}
	for _, k := range n.appeared {
		n.eachSetOf(k.class, func(s *nodeSet) {
			list = s.appendMatches(list[:0], k.class, n.c.atoms)
			add(false)
		})
	}
	for _, s := range n.added {
		list = n.part(list[:0], s)
		add(false)
	}
	n.pages.Matches = n.pages.Matches.Edit(edits, ruleset.CompareMatches)
}

// eachSetOf calls f once with each set that asks something about the class,
// but not with new ones.
func (n *nodeState) eachSetOf(k *class, f func(*nodeSet)) {
	n.marks++
	for _, s := range n.added {
		s.mark = n.marks
	}
	k.eachAsked(func(a asking) {
		if ask := n.asks[a]; ask != nil {
			for _, s := range ask.sets {
				if s.mark != n.marks {
					s.mark = n.marks
					f(s)
				}
			}
		}
	})
}

// part adds a set's entries, in order.
func (n *nodeState) part(out []ruleset.Match, s *nodeSet) []ruleset.Match {
	for _, m := range s.base {
		if !sameBits(m, ruleset.Match{}) {
			m.Set = s.ID
			out = append(out, m)
		}
	}
	if m, ok := s.usualService(); ok {
		out = append(out, m)
	}
	n.marks++
	var classes []*nodeClass
	var order []uint64 // id, place: sorting numbers spares following pointers
	s.eachAsking(func(a asking) {
		for k := range n.asks[a].classes {
			if k.mark != n.marks {
				k.mark = n.marks
				order = append(order, uint64(k.id)<<32|uint64(len(classes)))
				classes = append(classes, k)
			}
		}
	})
	slices.Sort(order)
	for _, o := range order {
		out = s.appendMatches(out, classes[uint32(o)].class, n.c.atoms) //nolint:gosec // the lower half
	}
	return out
}

// allMatches lists the entries of all sets and services, in order.
func (n *nodeState) allMatches() []ruleset.Match {
	sets := slices.Clone(n.added)
	slices.SortFunc(sets, func(a, b *nodeSet) int { return cmp.Compare(a.ID, b.ID) })
	services := make([]ruleset.Match, 0, len(n.edits))
	for _, e := range n.edits {
		if !e.Delete {
			services = append(services, e.Value)
		}
	}
	slices.SortFunc(services, ruleset.CompareMatches)
	var part []ruleset.Match
	out := make([]ruleset.Match, 0, n.c.manyMatches)
	for _, s := range sets {
		part = n.part(part[:0], s)
		for _, m := range part {
			for len(services) > 0 && ruleset.CompareMatches(services[0], m) < 0 {
				out, services = append(out, services[0]), services[1:]
			}
			out = append(out, m)
		}
	}
	out = append(out, services...)
	n.c.manyMatches = max(n.c.manyMatches, len(out)+len(out)/20)
	return slices.Clip(out)
}
