// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"cmp"
	"slices"
	"sort"
)

// Edit is one entry that is put, or whose key is deleted.
type Edit[T comparable] struct {
	Value  T
	Delete bool
}

// Edit makes the list that some edits lead to. Of several edits of one key the
// last one holds. It keeps nothing of the slice.
func (l List[T]) Edit(edits []Edit[T], compare func(a, b T) int) List[T] {
	if len(edits) == 0 {
		return l
	}
	edits = inOrder(edits, compare)
	out := List[T]{parts: make([]part[T], 0, len(l.parts)+1+len(edits)/pageSize[T]()/partSize), count: l.count}
	done := 0 // parts that are in out, edited or not
	for len(edits) > 0 && done < len(l.parts) {
		// The first edit's part is the last one that begins at or below it.
		at := done + max(0, lastBegins(len(l.parts)-done, func(i int) bool { return compare(*l.parts[done+i].first(), edits[0].Value) <= 0 }))
		out.parts = append(out.parts, l.parts[done:at]...)
		n := len(edits) // how many edits are this part's: up to the next one's first key
		if at+1 < len(l.parts) {
			n = below(edits, *l.parts[at+1].first(), compare)
		}
		pages, more := l.parts[at].edit(edits[:n], compare)
		out.parts, out.count = appendParts(out.parts, pages), out.count+more
		edits, done = edits[n:], at+1
	}
	out.parts = append(out.parts, l.parts[done:]...)
	if len(edits) > 0 { // there was nothing
		added := edit(nil, edits, compare)
		out.parts, out.count = appendParts(out.parts, appendPages(nil, added)), len(added)
	}
	return out
}

// edit gives the part itself if nothing changes, and how many entries more it
// has; it may become empty, or too long.
func (p part[T]) edit(edits []Edit[T], compare func(a, b T) int) (out part[T], more int) {
	changed := false
	done := 0 // pages that are in out, edited or not
	for len(edits) > 0 {
		at := done + max(0, lastBegins(len(p)-done, func(i int) bool { return compare(p[done+i][0], edits[0].Value) <= 0 }))
		n := len(edits)
		if at+1 < len(p) {
			n = below(edits, p[at+1][0], compare)
		}
		edited := edit(p[at], edits[:n], compare)
		edits = edits[n:]
		if len(edited) > 0 && samePage(edited, p[at]) {
			continue
		}
		if !changed {
			changed, out = true, make(part[T], 0, len(p)+1+n/pageSize[T]())
		}
		out = append(out, p[done:at]...)
		more += len(edited) - len(p[at])
		out = appendPages(out, edited)
		done = at + 1
	}
	if !changed {
		return p, 0
	}
	return append(out, p[done:]...), more
}

// Replace makes the list in which a run of entries stands for all that are from
// low to below high. The run lies between the two and is in order; it is kept.
func (l List[T]) Replace(low, high T, run []T, compare func(a, b T) int) List[T] {
	from, to := l.place(low, compare), l.place(high, compare)
	if from.part == to.part && from.page == to.page && from.at == to.at && len(run) == 0 {
		return l
	}
	out := List[T]{parts: make([]part[T], 0, len(l.parts)+2+len(run)/pageSize[T]()/partSize), count: l.count + len(run)}
	begins, ends := from, to
	if from.page == 0 && from.at == 0 && from.part > 0 { // the part before grows, so that parts don't become many
		begins = cursor[T]{part: from.part - 1, page: len(l.parts[from.part-1])}
	}
	out.parts = append(out.parts, l.parts[:begins.part]...)
	var pages part[T]
	if begins.part < len(l.parts) {
		pages = append(pages, l.parts[begins.part][:begins.page]...)
		if begins.at > 0 {
			pages = append(pages, l.parts[begins.part][begins.page][:begins.at:begins.at])
		}
	}
	pages = appendPages(pages, run)
	if ends.page+ends.at > 0 {
		p := l.parts[ends.part][ends.page:]
		if ends.at > 0 {
			pages, p = append(pages, p[0][ends.at:]), p[1:]
		}
		pages = append(pages, p...)
		ends.part++
	}
	out.parts = append(appendParts(out.parts, pages), l.parts[ends.part:]...)
	for from.parts = l.parts; from.part != to.part || from.page != to.page; from.nextPage() {
		out.count -= len(from.rest())
	}
	out.count -= to.at - from.at
	return out
}

// place is where the first entry is that isn't below v.
func (l List[T]) place(v T, compare func(a, b T) int) (at cursor[T]) {
	at.part = sort.Search(len(l.parts), func(i int) bool { return compare(*l.parts[i].last(), v) >= 0 })
	if at.part == len(l.parts) {
		return at
	}
	pages := l.parts[at.part]
	at.page = sort.Search(len(pages), func(i int) bool { return compare(pages[i][len(pages[i])-1], v) >= 0 })
	at.at = sort.Search(len(pages[at.page]), func(i int) bool { return compare(pages[at.page][i], v) >= 0 })
	return at
}

// below is how many of the edits, in order, are of keys below that of v.
func below[T comparable](edits []Edit[T], v T, compare func(a, b T) int) int {
	return sort.Search(len(edits), func(i int) bool { return compare(edits[i].Value, v) >= 0 })
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

// appendPages adds a run of entries, cut into pages.
func appendPages[T comparable](pages part[T], run []T) part[T] {
	return appendCut(pages, run, pageSize[T]())
}

// appendParts adds a run of pages, cut into parts.
func appendParts[T comparable](parts []part[T], run part[T]) []part[T] {
	return appendCut(parts, run, partSize)
}

// appendCut adds what stands in a row, cut into pieces; one may grow to twice
// the size.
func appendCut[L ~[]S, S ~[]E, E any](list L, run S, size int) L {
	for len(run) > 2*size {
		list = append(list, run[:size:size])
		run = run[size:]
	}
	if len(run) == 0 {
		return list
	}
	return append(list, run)
}
