// SPDX-License-Identifier: Apache-2.0

package store

// rows are all that the store keeps of connections: by the name that the
// node's probe gave them, and one after the other for those who look at all.
// A walk over the slots reads memory in order, which is several times as fast
// as one over a map; slots are never moved, so that a walk which pauses misses
// no row that stays.
type rows struct {
	of    map[string]*hashed // by node, then by number
	slots []slot
	free  []int32
	n     int
}

// slot is a place for a row, with what is asked of all of them.
type slot struct {
	row    *row // nil: free
	seq    uint64
	plight plight
}

// noSlot is the slot of a row that was let go.
const noSlot = -1

func (t *rows) init() { t.of = map[string]*hashed{} }

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

func (t *rows) put(r *row) {
	t.on(r.id.Node).put(r.id.ID, r)
	t.n++
	if last := len(t.free) - 1; last >= 0 {
		r.slot, t.free = t.free[last], t.free[:last]
		t.slots[r.slot] = slot{row: r, seq: r.seq}
		return
	}
	r.slot = int32(len(t.slots)) //nolint:gosec // bounded by Limits.Flows
	t.slots = append(t.slots, slot{row: r, seq: r.seq})
}

func (t *rows) drop(r *row) {
	if r.slot == noSlot {
		return
	}
	t.of[r.id.Node].drop(r.id.ID, r)
	t.n--
	t.slots[r.slot] = slot{}
	t.free = append(t.free, r.slot)
	r.slot = noSlot
}

// stands takes over what is asked of a row that the store has.
func (t *rows) stands(r *row) {
	if r.slot != noSlot {
		t.slots[r.slot].plight = r.plight()
	}
}
