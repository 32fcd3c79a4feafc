// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"math"
	"slices"
)

// spot is where a row stands in an order: by key, of equals the later one
// first. In the reversed order keys and slots are turned round.
type spot struct {
	key uint64
	at  int32 // slot; reversed: -1-slot
}

func (a spot) compare(b spot) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(b.at, a.at)) }

func (a spot) slot() int {
	if a.at < 0 {
		return int(-1 - a.at)
	}
	return int(a.at)
}

// The ends of every order.
var (
	firstSpot = spot{0, math.MaxInt32}
	lastSpot  = spot{math.MaxUint64, math.MinInt32}
)

// hint is between which rows the last answer was found, with some more on
// either side: most likely it is there again. What is there is counted, so that
// a hint that misleads costs time only.
type hint struct {
	reverse   bool
	low, high spot
}

// window gives the slots of the rows from offset on, limit of them, and how
// many rows there are.
func (s *Store) window(v *view, offset, limit int, reverse bool) (slots []int, total int) {
	s.rank(v)
	var before int
	// At first what stands where the last answer was; then everything.
	for _, h := range [2]hint{v.hint, {reverse, firstSpot, lastSpot}} {
		if h.reverse != reverse || h.high == (spot{}) {
			continue
		}
		before, total = s.scan(v, h)
		offset, limit := min(offset, total), min(limit, total-min(offset, total))
		if before <= offset && before+len(v.found) >= offset+limit {
			break
		}
	}
	offset = min(offset, total)
	limit = min(limit, total-offset)
	// The window and as much on either side.
	list := v.found
	from, to := max(0, offset-limit-before), min(len(list), offset+2*limit-before)
	list = part(list, from, to)
	v.hint = hint{reverse, firstSpot, lastSpot}
	if before+from > 0 && len(list) > 0 {
		v.hint.low = list[0]
	}
	if before+to < total && len(list) > 0 {
		v.hint.high = list[len(list)-1]
	}
	slots = make([]int, 0, limit)
	for _, p := range list[offset-before-from:][:limit] {
		slots = append(slots, p.slot())
	}
	return slots, total
}

// scan finds the rows between the hint's two, and counts those before and all.
func (s *Store) scan(v *view, h hint) (before, total int) {
	found := v.found[:0]
	quiet := stampOf(s.now.Add(-3 * tick)) // before that: as in rateOf
	for i, k := range v.keys {
		if k == notTaken {
			continue
		}
		total++
		switch {
		case v.column.named:
			k = v.placeOf(k)
		case v.column.fades && k != mostKey && v.updated[i] < quiet:
			k = mostKey
			v.keys[i] = k
		}
		p := spot{k, int32(i)} //nolint:gosec // bounded by Limits.Flows
		if h.reverse {
			p.key, p.at = mostKey-k, -1-p.at
		}
		if p.key < h.low.key || p.key == h.low.key && p.at > h.low.at {
			before++
			continue
		}
		if p.key > h.high.key || p.key == h.high.key && p.at < h.high.at {
			continue
		}
		found = append(found, p)
	}
	v.found = found
	return before, total
}

// part gives list[from:to] as if list were sorted. It reorders list.
func part(list []spot, from, to int) []spot {
	nth(list, from)
	list = list[from:]
	nth(list, to-from)
	list = list[:to-from]
	slices.SortFunc(list, spot.compare)
	return list
}

// nth moves the n first to the front, in no order.
func nth(list []spot, n int) {
	for len(list) > 64 && n > 0 && n < len(list) {
		a, b, c := list[0], list[len(list)/2], list[len(list)-1]
		if a.compare(b) > 0 {
			a, b = b, a
		}
		if b.compare(c) > 0 {
			b = c
		}
		if a.compare(b) > 0 {
			b = a
		}
		// All before i are before the median of three, and none after it is.
		i, j := 0, len(list)-1
		for i <= j {
			for list[i].compare(b) < 0 {
				i++
			}
			for list[j].compare(b) > 0 {
				j--
			}
			if i <= j {
				list[i], list[j] = list[j], list[i]
				i++
				j--
			}
		}
		switch {
		case n <= j+1:
			list = list[:j+1]
		case n >= i:
			list, n = list[i:], n-i
		default:
			return
		}
	}
	if n > 0 && n < len(list) {
		slices.SortFunc(list, spot.compare)
	}
}
