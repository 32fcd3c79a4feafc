// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"iter"
	"reflect"
	"slices"
	"sort"
)

// pageBytes is about how long a new page is, and partSize how many pages a new
// part has; what grew to twice of it is cut.
const (
	pageBytes = 1536
	partSize  = 32
)

// pageSize is how many entries a new page holds.
func pageSize[T any]() int { return max(8, pageBytes/int(reflect.TypeFor[T]().Size())) }

// List is an ordered table that doesn't change. Edit makes another one that
// shares every page in which nothing was edited, and every part of which all
// pages are shared: so a change of one entry among 70,000 costs a page and a
// part, and comparing the two as little. The zero value is empty.
type List[T comparable] struct {
	parts []part[T] // none is empty
	count int
}

// part is some pages in a row; none is empty.
type part[T comparable] [][]T

func (p part[T]) first() *T { return &p[0][0] }

func (p part[T]) last() *T {
	page := p[len(p)-1]
	return &page[len(page)-1]
}

// NewList makes a list of entries in order, each key once. It keeps the slice.
func NewList[T comparable](sorted []T) List[T] {
	return List[T]{parts: appendParts(nil, appendPages(nil, sorted)), count: len(sorted)}
}

// Len is how many entries there are.
func (l List[T]) Len() int { return l.count }

// All gives the entries in order.
func (l List[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, pages := range l.parts {
			for _, page := range pages {
				for i := range page {
					if !yield(page[i]) {
						return
					}
				}
			}
		}
	}
}

// Fresh gives, in order, the entries that another list doesn't have, or has
// otherwise.
func (l List[T]) Fresh(old List[T], compare func(a, b T) int) iter.Seq[T] {
	put, _ := diffLists(old, l, compare)
	return slices.Values(put)
}

// Slice is all entries in one slice; nil if there are none.
func (l List[T]) Slice() []T {
	if l.count == 0 {
		return nil
	}
	out := make([]T, 0, l.count)
	for _, pages := range l.parts {
		for _, page := range pages {
			out = append(out, page...)
		}
	}
	return out
}

// From gives the entries from the first one on of which below says false.
// Below must be true of some first entries and false of the rest.
func (l List[T]) From(below func(*T) bool) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		at := sort.Search(len(l.parts), func(i int) bool { return !below(l.parts[i].last()) })
		if at == len(l.parts) {
			return
		}
		pages := l.parts[at]
		p := sort.Search(len(pages), func(i int) bool { return !below(&pages[i][len(pages[i])-1]) })
		i := sort.Search(len(pages[p]), func(i int) bool { return !below(&pages[p][i]) })
		for ; at < len(l.parts); at, p = at+1, 0 {
			for pages := l.parts[at]; p < len(pages); p, i = p+1, 0 {
				for page := pages[p]; i < len(page); i++ {
					if !yield(&page[i]) {
						return
					}
				}
			}
		}
	}
}

// Get finds the entry with the key of v, as compare has it; nil: there is none.
func (l List[T]) Get(v T, compare func(a, b T) int) *T {
	pages := l.parts
	at := lastBegins(len(pages), func(i int) bool { return compare(*pages[i].first(), v) <= 0 })
	if at < 0 {
		return nil
	}
	part := pages[at]
	page := part[lastBegins(len(part), func(i int) bool { return compare(part[i][0], v) <= 0 })]
	i, found := slices.BinarySearchFunc(page, v, compare)
	if !found {
		return nil
	}
	return &page[i]
}

// lastBegins is the last of n places that begins at or below something; -1:
// none does.
func lastBegins(n int, begins func(i int) bool) int {
	return sort.Search(n, func(i int) bool { return !begins(i) }) - 1
}

// diffLists says how to get from old to new. Parts and pages that both share
// are not looked into.
func diffLists[T comparable](old, new List[T], compare func(a, b T) int) (put, del []T) {
	// Once to count, as these may be thousands: growing takes longer.
	puts, dels := 0, 0
	eachDifference(old, new, compare, func(run []T) { puts += len(run) }, func(run []T) { dels += len(run) })
	if puts+dels == 0 {
		return nil, nil
	}
	if puts > 0 {
		put = make([]T, 0, puts)
	}
	if dels > 0 {
		del = make([]T, 0, dels)
	}
	eachDifference(old, new, compare, func(run []T) { put = append(put, run...) }, func(run []T) { del = append(del, run...) })
	return put, del
}

// eachDifference calls put and del with runs of entries, in order.
func eachDifference[T comparable](old, new List[T], compare func(a, b T) int, put, del func([]T)) {
	a, b := cursor[T]{parts: old.parts}, cursor[T]{parts: new.parts}
	for {
		a.skipShared(&b)
		x, y := a.rest(), b.rest()
		switch {
		case x == nil && y == nil:
			return
		case y == nil || x != nil && compare(x[len(x)-1], y[0]) < 0:
			del(x)
			a.nextPage()
			continue
		case x == nil || compare(x[0], y[len(y)-1]) > 0:
			put(y)
			b.nextPage()
			continue
		}
		// The two overlap: one of them is over first.
		i, j := 0, 0
		for i < len(x) && j < len(y) {
			switch order := compare(x[i], y[j]); {
			case order < 0:
				del(x[i : i+1])
				i++
			case order > 0:
				put(y[j : j+1])
				j++
			default:
				if x[i] != y[j] {
					put(y[j : j+1])
				}
				i++
				j++
			}
		}
		a.skip(i)
		b.skip(j)
	}
}

// cursor is a place in a list.
type cursor[T comparable] struct {
	parts          []part[T]
	part, page, at int
}

// skipShared moves both on to where they next begin with something of their own.
func (c *cursor[T]) skipShared(d *cursor[T]) {
	for c.at == 0 && d.at == 0 && c.part < len(c.parts) && d.part < len(d.parts) {
		p, q := c.parts[c.part], d.parts[d.part]
		switch {
		case c.page == 0 && d.page == 0 && samePages(p, q):
			c.part++
			d.part++
		case samePage(p[c.page], q[d.page]):
			c.nextPage()
			d.nextPage()
		default:
			return
		}
	}
}

// rest is what is left of the page.
func (c *cursor[T]) rest() []T {
	if c.part >= len(c.parts) {
		return nil
	}
	return c.parts[c.part][c.page][c.at:]
}

func (c *cursor[T]) skip(n int) {
	if c.at += n; c.at == len(c.parts[c.part][c.page]) {
		c.nextPage()
	}
}

func (c *cursor[T]) nextPage() {
	c.at = 0
	if c.page++; c.page == len(c.parts[c.part]) {
		c.part, c.page = c.part+1, 0
	}
}

func samePage[T any](a, b []T) bool { return len(a) == len(b) && &a[0] == &b[0] }

func samePages[T comparable](a, b part[T]) bool { return len(a) == len(b) && &a[0] == &b[0] }
