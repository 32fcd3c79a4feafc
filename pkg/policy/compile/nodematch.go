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
	touched := n.changedSets()
	edits := n.c.editScratch[:0]
	list := n.c.scratch
	for _, s := range touched {
		slices.SortFunc(s.changed, func(a, b *nodeClass) int { return cmp.Compare(a.id, b.id) })
		for _, k := range s.changed {
			list = s.appendMatches(list[:0], k.class, n.c.atoms)
			edits = appendEdits(edits, list, k.peers == 0)
		}
		s.changed = nil
	}
	matches := n.pages.Matches.Edit(edits, ruleset.CompareMatches)
	for _, s := range n.removed {
		matches = matches.Replace(ruleset.Match{Set: s.ID}, ruleset.Match{Set: s.ID + 1}, nil, ruleset.CompareMatches)
	}
	for _, s := range n.added {
		list = n.part(list[:0], s)
		matches = matches.Replace(ruleset.Match{Set: s.ID}, ruleset.Match{Set: s.ID + 1}, slices.Clone(list), ruleset.CompareMatches)
	}
	n.pages.Matches = matches.Edit(n.edits, ruleset.CompareMatches) // of services: they have classes of their own
	n.c.scratch, n.c.editScratch, n.edits = list[:0], edits[:0], nil
}

func appendEdits(edits []ruleset.Edit[ruleset.Match], list []ruleset.Match, gone bool) []ruleset.Edit[ruleset.Match] {
	for i := range list {
		edits = append(edits, ruleset.Edit[ruleset.Match]{Value: list[i], Delete: gone})
	}
	return edits
}

// changedSets are the sets that stay and ask something about classes that came
// or went, in order, with those.
func (n *nodeState) changedSets() (out []*nodeSet) {
	for _, list := range [2][]*nodeClass{n.vanished, n.appeared} {
		for _, k := range list {
			n.eachSetOf(k.class, func(s *nodeSet) {
				if len(s.changed) == 0 {
					out = append(out, s)
				}
				s.changed = append(s.changed, k)
			})
		}
	}
	slices.SortFunc(out, func(a, b *nodeSet) int { return cmp.Compare(a.ID, b.ID) })
	return out
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
	classes := n.c.classScratch[:0]
	order := n.c.orderScratch[:0] // id, place: sorting numbers spares following pointers
	for _, a := range s.askings {
		for _, k := range n.asks[a].classes {
			if k.mark != n.marks {
				k.mark = n.marks
				order = append(order, uint64(k.id)<<32|uint64(len(classes)))
				classes = append(classes, k)
			}
		}
	}
	slices.Sort(order)
	for _, o := range order {
		out = s.appendMatches(out, classes[uint32(o)].class, n.c.atoms) //nolint:gosec // the lower half
	}
	clear(classes)
	n.c.classScratch, n.c.orderScratch = classes[:0], order[:0]
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
	out := make([]ruleset.Match, 0, n.c.manyMatches)
	for _, s := range sets {
		if len(services) == 0 || services[0].Set != s.ID {
			out = n.part(out, s)
			continue
		}
		n.c.scratch = n.part(n.c.scratch[:0], s)
		for i := range n.c.scratch {
			m := &n.c.scratch[i]
			for len(services) > 0 && ruleset.CompareMatches(services[0], *m) < 0 {
				out, services = append(out, services[0]), services[1:]
			}
			out = append(out, *m)
		}
		for len(services) > 0 && services[0].Set == s.ID {
			out, services = append(out, services[0]), services[1:]
		}
	}
	n.c.manyMatches = max(n.c.manyMatches, len(out)+len(out)/20)
	return slices.Clip(out)
}
