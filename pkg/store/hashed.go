// SPDX-License-Identifier: Apache-2.0

package store

import "math/bits"

// hashed finds rows by a hash. Cells stand one after the other and are probed
// in that order, so that a look-up waits for memory once; Go's own maps wait
// two or three times, which for a hundred thousand rows, hardly one of which is
// in the processor's cache, was a third of what an event cost. The zero value
// is empty.
type hashed struct {
	cells []hashedCell // a power of two, at most three quarters full
	shift uint8
	n     int
}

type hashedCell struct {
	hash uint64
	row  *row // nil: free
}

// home is where a hash belongs: the upper bits of a product, so that numbers
// in a row are as good as random ones.
func (t *hashed) home(hash uint64) int {
	return int(hash * 0x9e3779b97f4a7c15 >> t.shift) //nolint:gosec // less than len(cells)
}

// get finds the row with a hash; nil: there is none.
func (t *hashed) get(hash uint64) *row {
	if t.n == 0 {
		return nil
	}
	for i := t.home(hash); ; i = (i + 1) & (len(t.cells) - 1) {
		switch c := &t.cells[i]; {
		case c.row == nil:
			return nil
		case c.hash == hash:
			return c.row
		}
	}
}

// put enters a row in the place of one with the same hash, if there is one.
func (t *hashed) put(hash uint64, r *row) {
	if 4*(t.n+1) > 3*len(t.cells) {
		t.grow()
	}
	for i := t.home(hash); ; i = (i + 1) & (len(t.cells) - 1) {
		c := &t.cells[i]
		if c.row == nil {
			t.n++
		} else if c.hash != hash {
			continue
		}
		*c = hashedCell{hash, r}
		return
	}
}

func (t *hashed) grow() {
	old := t.cells
	t.cells = make([]hashedCell, max(64, 2*len(old)))
	t.shift = uint8(64 - bits.TrailingZeros(uint(len(t.cells)))) //nolint:gosec // at most 64
	t.n = 0
	for _, c := range old {
		if c.row != nil {
			t.put(c.hash, c.row)
		}
	}
}

// drop takes out the row with a hash, if it is r.
func (t *hashed) drop(hash uint64, r *row) {
	if t.n == 0 {
		return
	}
	mask := len(t.cells) - 1
	i := t.home(hash)
	for t.cells[i].row != nil && t.cells[i].hash != hash {
		i = (i + 1) & mask
	}
	if t.cells[i].row != r {
		return
	}
	t.n--
	// Those behind it move up, unless they would come before their home.
	for j := (i + 1) & mask; t.cells[j].row != nil; j = (j + 1) & mask {
		if home := t.home(t.cells[j].hash); (j-home)&mask >= (j-i)&mask {
			t.cells[i] = t.cells[j]
			i = j
		}
	}
	t.cells[i] = hashedCell{}
}

// all are the rows, in no order, in a list that stays as it is.
func (t *hashed) all() []*row {
	out := make([]*row, 0, t.n)
	for _, c := range t.cells {
		if c.row != nil {
			out = append(out, c.row)
		}
	}
	return out
}
