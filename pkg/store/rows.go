// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"slices"
)

// rows are all that the store keeps of connections: by the name that the
// node's probe gave them, and one after the other, in the order in which they
// came, for those who look at many. A walk over the slots reads memory in
// order, which is several times as fast as one over a map. How many rows there
// are of each plight is counted, so that whoever wants the gravest knows when
// there are no more of them.
type rows struct {
	of    map[string]*hashed // by node, then by number
	slots []slot
	n     int    // slots that hold a row
	swept int    // how often slots were moved
	room  []*row // memory of rows that were let go, to be used again
	count map[plight]int
	view  *view // nil: none
	views uint32
}

// slot is a place for a row, with what is asked of all of them.
type slot struct {
	row    *row // nil: it was let go
	seq    uint64
	plight plight
}

// noSlot is the slot of a row that was let go.
const noSlot = -1

func (t *rows) init() { t.of, t.count = map[string]*hashed{}, map[plight]int{} }

// on are the rows of a node.
func (t *rows) on(node string) *hashed {
	mine := t.of[node]
	if mine == nil {
		mine = new(hashed)
		t.of[node] = mine
	}
	return mine
}

func (t *rows) get(id FlowID) *row {
	if mine := t.of[id.Node]; mine != nil {
		return mine.get(id.ID)
	}
	return nil
}

// rowsInPiece is how many rows are asked for at once: a collection of garbage
// goes through a hundred thousand rows that lie one after the other in a
// fraction of the time that it takes where each lies somewhere else.
const rowsInPiece = 128

// fresh is an empty row. In a session at its limits it is one that was let go:
// nothing becomes garbage.
func (t *rows) fresh() *row {
	if len(t.room) == 0 {
		piece := make([]row, rowsInPiece)
		for i := range piece {
			t.room = append(t.room, &piece[len(piece)-1-i])
		}
	}
	last := len(t.room) - 1
	r := t.room[last]
	t.room = t.room[:last]
	return r
}

// reuse takes the memory of a row that nothing finds any more. Lists that may
// still have it know it by its number.
func (t *rows) reuse(r *row) {
	*r = row{slot: noSlot, observed: observed{waits: r.waits}}
	t.room = append(t.room, r)
}

// put adds the newest row.
func (t *rows) put(r *row) {
	t.on(r.id.Node).put(r.id.ID, r)
	if len(t.slots) > 1024+t.n+t.n/2 {
		t.sweep()
	}
	t.n++
	t.count[plight{}]++
	r.slot = int32(len(t.slots)) //nolint:gosec // bounded by Limits.Flows
	t.slots = append(t.slots, slot{row: r, seq: r.seq})
	if t.view != nil {
		t.view.grow(r)
	}
}

func (t *rows) drop(r *row) {
	if r.slot == noSlot {
		return
	}
	t.of[r.id.Node].drop(r.id.ID, r)
	t.n--
	at := &t.slots[r.slot]
	t.leaves(at.plight)
	at.row = nil // its number stays: slots are found by it
	if t.view != nil {
		t.view.keys[r.slot] = notTaken
	}
	r.slot = noSlot
}

// sweep closes the gaps.
func (t *rows) sweep() {
	n := 0
	for i, at := range t.slots {
		if at.row != nil {
			t.slots[n] = at
			if t.view != nil {
				t.view.move(n, i)
			}
			at.row.slot = int32(n) //nolint:gosec // bounded by Limits.Flows
			n++
		}
	}
	clear(t.slots[n:])
	t.slots = t.slots[:n]
	if t.view != nil {
		t.view.cut(n)
	}
	t.swept++
}

// after is the first slot of a row that came after the one with this number.
func (t *rows) after(seq uint64) int {
	i, found := slices.BinarySearchFunc(t.slots, seq, func(s slot, seq uint64) int { return cmp.Compare(s.seq, seq) })
	if found {
		i++
	}
	return i
}

// stands takes over what is asked of a row that the store has.
func (t *rows) stands(r *row) {
	if r.slot == noSlot {
		return
	}
	at, now := &t.slots[r.slot], r.plight()
	if at.plight != now {
		t.leaves(at.plight)
		t.count[now]++
		at.plight = now
		t.reworded(r)
	}
}

func (t *rows) leaves(p plight) {
	if t.count[p]--; t.count[p] == 0 {
		delete(t.count, p)
	}
}
