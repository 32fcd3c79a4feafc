// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"slices"
	"strings"
)

// ranking numbers names as they come, and says where each stands among all of
// them. Names are far fewer than rows, and new ones rare: their places are found
// when somebody asks, by sorting the new ones in.
type ranking[T comparable] struct {
	ids    map[T]uint32
	names  []T      // by number
	sorted []uint32 // numbers, by name: of those that have a place
	places []uint32 // by number
}

func (r *ranking[T]) id(name T) uint64 {
	if id, ok := r.ids[name]; ok {
		return uint64(id)
	}
	if r.ids == nil {
		r.ids = map[T]uint32{}
	}
	id := uint32(len(r.names)) //nolint:gosec // see rank
	r.ids[name] = id
	r.names = append(r.names, name)
	return uint64(id)
}

// sort gives each name its place.
func (r *ranking[T]) sort(compare func(a, b T) int) {
	old := len(r.sorted)
	if old == len(r.names) {
		return
	}
	by := func(a, b uint32) int { return compare(r.names[a], r.names[b]) }
	fresh := make([]uint32, 0, len(r.names)-old)
	for id := old; id < len(r.names); id++ {
		fresh = append(fresh, uint32(id)) //nolint:gosec // see rank
	}
	slices.SortFunc(fresh, by)
	// Merged from behind, in place.
	r.sorted = slices.Grow(r.sorted, len(fresh))[:len(r.names)]
	i, j := old-1, len(fresh)-1
	for k := len(r.sorted) - 1; j >= 0; k-- {
		if i >= 0 && by(r.sorted[i], fresh[j]) > 0 {
			r.sorted[k] = r.sorted[i]
			i--
			continue
		}
		r.sorted[k] = fresh[j]
		j--
	}
	r.places = slices.Grow(r.places[:0], len(r.names))[:len(r.names)]
	for place, id := range r.sorted {
		r.places[id] = uint32(place) //nolint:gosec // see rank
	}
}

// rank gives the view's names their places, and begins anew with those that
// rows still have once most names are of rows that went.
func (s *Store) rank(v *view) {
	if !v.column.named {
		return
	}
	if len(v.texts.names)+len(v.addrs.names) > 4096+2*s.rows.n {
		v.texts, v.addrs = ranking[string]{}, ranking[[16]byte]{}
		for i, k := range v.keys {
			if k < unknown {
				s.weigh(v, s.rows.slots[i].row)
			}
		}
	}
	v.texts.sort(strings.Compare)
	v.addrs.sort(func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
}

// placeOf is where a name stands: addresses come after all that have a name.
func (v *view) placeOf(key uint64) uint64 {
	if key&1 == 0 {
		return uint64(v.texts.places[key>>1])
	}
	return 1<<32 | uint64(v.addrs.places[key>>1])
}
