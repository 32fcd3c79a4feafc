// SPDX-License-Identifier: Apache-2.0

package store

// rows are all that the store keeps of connections: by the name that the
// node's probe gave them, and one after the other for those who look at all.
// A walk over the slots reads memory in order, which is several times as fast
// as one over a map; slots are never moved, so that a walk which pauses misses
// no row that stays.
type rows struct {
	of    map[string]map[uint64]*row // by node, then by number
	slots []*row                     // nil: free
	free  []int32
	n     int
}

func (t *rows) init() { t.of = map[string]map[uint64]*row{} }

func (t *rows) get(id FlowID) *row { return t.of[id.Node][id.ID] }

func (t *rows) put(r *row) {
	mine := t.of[r.id.Node]
	if mine == nil {
		mine = map[uint64]*row{}
		t.of[r.id.Node] = mine
	}
	mine[r.id.ID] = r
	t.n++
	if last := len(t.free) - 1; last >= 0 {
		r.slot, t.free = t.free[last], t.free[:last]
		t.slots[r.slot] = r
		return
	}
	r.slot = int32(len(t.slots)) //nolint:gosec // bounded by Limits.Flows
	t.slots = append(t.slots, r)
}

func (t *rows) drop(r *row) {
	mine := t.of[r.id.Node]
	if mine[r.id.ID] != r {
		return
	}
	delete(mine, r.id.ID)
	t.n--
	t.slots[r.slot] = nil
	t.free = append(t.free, r.slot)
}
