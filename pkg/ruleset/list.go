// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"cmp"
	"iter"
	"slices"
)

// pageSize is how many entries a new page holds; one that grew to twice of it
// is cut.
const pageSize = 32

// List is an ordered table that doesn't change. Edit makes another one that
// shares every page in which nothing was edited, so that a change of one entry
// among 70,000 costs a page, and comparing the two as little. The zero value
// is empty.
type List[T comparable] struct {
	pages [][]T // none is empty
	count int
}

// NewList makes a list of entries in order, each key once. It keeps the slice.
func NewList[T comparable](sorted []T) List[T] {
	l := List[T]{count: len(sorted)}
	for len(sorted) > 0 {
		n := min(pageSize, len(sorted))
		l.pages = append(l.pages, sorted[:n:n])
		sorted = sorted[n:]
	}
	return l
}

// Len is how many entries there are.
func (l List[T]) Len() int { return l.count }

// All gives the entries in order.
func (l List[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, page := range l.pages {
			for i := range page {
				if !yield(page[i]) {
					return
				}
			}
		}
	}
}

// Fresh gives, in order, at least those entries that another list doesn't have:
// all but those of pages that both share.
func (l List[T]) Fresh(old List[T], compare func(a, b T) int) iter.Seq[T] {
	return func(yield func(T) bool) {
		known := old.pages
		for _, page := range l.pages {
			for len(known) > 0 && compare(known[0][0], page[0]) < 0 {
				known = known[1:]
			}
			if len(known) > 0 && samePage(known[0], page) {
				continue
			}
			for i := range page {
				if !yield(page[i]) {
					return
				}
			}
		}
	}
}

// Slice is all entries in one slice; nil if there are none.
func (l List[T]) Slice() []T {
	if l.count == 0 {
		return nil
	}
	return slices.Concat(l.pages...)
}

// From gives the entries from the first one on of which below says false.
// Below must be true of some first entries and false of the rest.
func (l List[T]) From(below func(*T) bool) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		// The page before the first one that begins above may end above.
		p, _ := slices.BinarySearchFunc(l.pages, 0, func(page []T, _ int) int {
			if below(&page[len(page)-1]) {
				return -1
			}
			return 1
		})
		if p == len(l.pages) {
			return
		}
		page := l.pages[p]
		i, j := 0, len(page)
		for i < j {
			if h := (i + j) / 2; below(&page[h]) {
				i = h + 1
			} else {
				j = h
			}
		}
		for ; p < len(l.pages); p, i = p+1, 0 {
			for page := l.pages[p]; i < len(page); i++ {
				if !yield(&page[i]) {
					return
				}
			}
		}
	}
}

// Get finds the entry with the key of v, as compare has it; nil: there is none.
func (l List[T]) Get(v T, compare func(a, b T) int) *T {
	for found := range l.From(func(x *T) bool { return compare(*x, v) < 0 }) {
		if compare(*found, v) == 0 {
			return found
		}
		break
	}
	return nil
}

// Edit is one entry that is put, or whose key is deleted.
type Edit[T comparable] struct {
	Value  T
	Delete bool
}

// Edit makes the list that some edits lead to. Of several edits of one key the
// last one holds.
func (l List[T]) Edit(edits []Edit[T], compare func(a, b T) int) List[T] {
	if len(edits) == 0 {
		return l
	}
	edits = inOrder(edits, compare)
	out := List[T]{pages: make([][]T, 0, len(l.pages)+1+len(edits)/pageSize), count: l.count}
	for done := 0; ; { // pages that are in out, edited or not
		if len(edits) == 0 || len(l.pages) == 0 {
			out.pages = append(out.pages, l.pages[done:]...)
			if len(edits) > 0 {
				added := edit(nil, edits, compare)
				out.count += len(added)
				out.pages = appendPages(out.pages, added)
			}
			return out
		}
		// The first edit's page is the last one that begins at or below it.
		at, begins := slices.BinarySearchFunc(l.pages[done:], edits[0].Value, func(page []T, v T) int { return compare(page[0], v) })
		if at += done; !begins && at > done {
			at--
		}
		out.pages = append(out.pages, l.pages[done:at]...)
		n := len(edits) // how many edits are this page's: up to the next one's first key
		if at+1 < len(l.pages) {
			n, _ = slices.BinarySearchFunc(edits, l.pages[at+1][0], func(e Edit[T], v T) int {
				if compare(e.Value, v) < 0 {
					return -1
				}
				return 1
			})
		}
		edited := edit(l.pages[at], edits[:n], compare)
		edits = edits[n:]
		out.count += len(edited) - len(l.pages[at])
		out.pages = appendPages(out.pages, edited)
		done = at + 1
	}
}

// inOrder sorts by key; edits of one key stay in their order. It sorts places,
// as edits are long: a stable sort of the edits themselves takes many times as
// long.
func inOrder[T comparable](edits []Edit[T], compare func(a, b T) int) []Edit[T] {
	if slices.IsSortedFunc(edits, func(a, b Edit[T]) int { return compare(a.Value, b.Value) }) {
		return edits
	}
	places := make([]int, len(edits))
	for i := range places {
		places[i] = i
	}
	slices.SortFunc(places, func(a, b int) int {
		return cmp.Or(compare(edits[a].Value, edits[b].Value), cmp.Compare(a, b))
	})
	out := make([]Edit[T], len(edits))
	for i, p := range places {
		out[i] = edits[p]
	}
	return out
}

// edit gives the page itself if nothing changes.
func edit[T comparable](page []T, edits []Edit[T], compare func(a, b T) int) []T {
	var out []T
	kept := 0 // how many entries of page are in out
	changed := false
	for i, e := range edits {
		if i+1 < len(edits) && compare(edits[i+1].Value, e.Value) == 0 {
			continue
		}
		at, there := slices.BinarySearchFunc(page[kept:], e.Value, compare)
		at += kept
		if there && !e.Delete && page[at] == e.Value || !there && e.Delete {
			continue
		}
		if !changed {
			changed, out = true, make([]T, 0, len(page)+len(edits)-i)
		}
		out = append(out, page[kept:at]...)
		kept = at
		if there {
			kept++
		}
		if !e.Delete {
			out = append(out, e.Value)
		}
	}
	if !changed {
		return page
	}
	return append(out, page[kept:]...)
}

func appendPages[T comparable](pages [][]T, page []T) [][]T {
	if len(page) == 0 {
		return pages
	}
	for len(page) > 2*pageSize {
		pages = append(pages, page[:pageSize:pageSize])
		page = page[pageSize:]
	}
	return append(pages, page)
}

// diffLists says how to get from old to new. Pages that both share are not
// looked into.
func diffLists[T comparable](old, new List[T], compare func(a, b T) int) (put, del []T) {
	a, b := cursor[T]{pages: old.pages}, cursor[T]{pages: new.pages}
	for {
		for a.page < len(a.pages) && b.page < len(b.pages) && a.at == 0 && b.at == 0 && samePage(a.pages[a.page], b.pages[b.page]) {
			a.page++
			b.page++
		}
		x, y := a.value(), b.value()
		switch {
		case x == nil && y == nil:
			return put, del
		case y == nil || x != nil && compare(*x, *y) < 0:
			del = append(del, *x)
			a.next()
		case x == nil || compare(*x, *y) > 0:
			put = append(put, *y)
			b.next()
		default:
			if *x != *y {
				put = append(put, *y)
			}
			a.next()
			b.next()
		}
	}
}

type cursor[T comparable] struct {
	pages    [][]T
	page, at int
}

func (c *cursor[T]) value() *T {
	if c.page >= len(c.pages) {
		return nil
	}
	return &c.pages[c.page][c.at]
}

func (c *cursor[T]) next() {
	if c.at++; c.at == len(c.pages[c.page]) {
		c.page, c.at = c.page+1, 0
	}
}

func samePage[T any](a, b []T) bool { return len(a) == len(b) && &a[0] == &b[0] }
