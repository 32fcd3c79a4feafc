// SPDX-License-Identifier: Apache-2.0

package store

// queue holds rows in order. Rows that left it otherwise are skipped by pop
// and swept out from time to time, so that it holds at most about twice as
// many entries as rows that are still in it.
type queue struct {
	still func(*row) bool
	rows  []*row
	head  int
	sweep int // length at which the next sweep is due
}

func (q *queue) add(r *row) {
	if len(q.rows) >= max(q.sweep, 1024) {
		n := 0
		for _, r := range q.rows[q.head:] {
			if r != nil && q.still(r) {
				q.rows[n] = r
				n++
			}
		}
		clear(q.rows[n:])
		q.rows, q.head, q.sweep = q.rows[:n], 0, 2*n
	}
	q.rows = append(q.rows, r)
}

// pop takes the oldest row; nil if there is none.
func (q *queue) pop() *row {
	for q.head < len(q.rows) {
		r := q.rows[q.head]
		q.rows[q.head] = nil
		q.head++
		if q.still(r) {
			return r
		}
	}
	return nil
}
