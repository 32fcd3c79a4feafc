// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"errors"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// elements reads a set once.
func (w *walk) elements(t *nftables.Table, name string) []nftables.SetElement {
	key := t.Name + "\x00" + name
	list, ok := w.sets[key]
	if ok {
		return list
	}
	list, err := w.conn.GetSetElements(&nftables.Set{Table: t, Name: name})
	if err != nil || len(list) > maxElements {
		w.err = errors.Join(err, ErrAmbiguous)
		list = nil
	}
	w.sets[key] = list
	return list
}

// member says whether what the register holds is in the set, and by which
// elements: one that surely is, or those that may.
func (w *walk) member(t *nftables.Table, regs registers, e *expr.Lookup) (truth, []nftables.SetElement) {
	list := w.elements(t, e.SetName)
	if len(list) == 0 {
		return no, nil
	}
	if slices.ContainsFunc(list, func(s nftables.SetElement) bool { return len(s.KeyEnd) > 0 }) {
		return maybe, list // ranges of several fields at once
	}
	if slices.ContainsFunc(list, func(s nftables.SetElement) bool { return s.IntervalEnd }) {
		return interval(regs.get(e.SourceRegister, len(list[0].Key)), list)
	}
	var may []nftables.SetElement
	for _, s := range list {
		switch regs.get(e.SourceRegister, len(s.Key)).equals(s.Key) {
		case yes:
			return yes, []nftables.SetElement{s}
		case maybe:
			may = append(may, s)
		}
	}
	if len(may) > 0 {
		return maybe, may
	}
	return no, nil
}

// interval looks in a set of ranges, each from an element to the next one that
// ends it.
func interval(b bits, list []nftables.SetElement) (truth, []nftables.SetElement) {
	if !b.whole() {
		return maybe, list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y nftables.SetElement) int {
		if c := bytes.Compare(x.Key, y.Key); c != 0 {
			return c
		}
		switch {
		case x.IntervalEnd == y.IntervalEnd:
			return 0
		case x.IntervalEnd:
			return -1
		}
		return 1
	})
	var in *nftables.SetElement
	for i := range list {
		if bytes.Compare(list[i].Key, b.data) > 0 {
			break
		}
		if in = &list[i]; list[i].IntervalEnd {
			in = nil
		}
	}
	if in == nil {
		return no, nil
	}
	return yes, []nftables.SetElement{*in}
}

// vmap says what a map of verdicts may do.
func (w *walk) vmap(t *nftables.Table, regs registers, e *expr.Lookup, match truth) (out []verdict) {
	found, list := w.member(t, regs, e)
	for i := range list {
		// The library leaves the verdict as the kernel wrote it.
		v := verdict{sure: min(match, found) == yes}
		_ = attributes(list[i].Val, func(kind uint16, b []byte) { // what was read until an error is what there is
			switch kind {
			case verdictCode:
				v.kind = expr.VerdictKind(int32(number(b))) //nolint:gosec // negative ones are the kernel's
			case verdictChain:
				v.chain = text(b)
			}
		})
		out = append(out, v)
	}
	return out
}
