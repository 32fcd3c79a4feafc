// SPDX-License-Identifier: Apache-2.0

package store

// queue holds rows in order. Rows that left it otherwise are skipped by pop
// and swept out from time to time, so that it holds at most about twice as
// many entries as rows that are still in it.
type queue struct {
	still func(*row) bool
	rows  []queued
	head  int
	sweep int // length at which the next sweep is due
}

// queued is a row while it has the number that it was queued with: its memory
// may be another row's by now.
type queued struct {
	row *row // nil: it was popped
	seq uint64
}

func (q *queue) in(e queued) bool { return e.row != nil && e.row.seq == e.seq && q.still(e.row) }

func (q *queue) add(r *row) {
	if len(q.rows) >= max(q.sweep, 1024) {
		n := 0
		for _, e := range q.rows[q.head:] {
			if q.in(e) {
				q.rows[n] = e
				n++
			}
		}
		clear(q.rows[n:])
		q.rows, q.head, q.sweep = q.rows[:n], 0, 2*n
	}
	q.rows = append(q.rows, queued{r, r.seq})
}

// pop takes the oldest row; nil if there is none.
func (q *queue) pop() *row {
	for q.head < len(q.rows) {
		e := q.rows[q.head]
		q.rows[q.head] = queued{}
		q.head++
		if q.in(e) {
			return e.row
		}
	}
	return nil
}
