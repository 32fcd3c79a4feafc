// SPDX-License-Identifier: Apache-2.0

package store

import "github.com/ebpol/kubectl-ebpol/pkg/flow"

// breath is after how many rows a walk through all of them lets the feeder in:
// it waits for about a millisecond, not for the whole walk.
const breath = 2000

// matching calls f for each row that the query lets through, the newest first:
// whoever keeps the best ones, and of equals the newest, is done with most of
// the others at the first look.
func (s *Store) matching(q *Query, f func(*row)) {
	var look looked
	seen := 0
	for i := len(s.rows.slots) - 1; i >= 0; i-- {
		if seen++; seen%breath == 0 {
			// Whoever feeds the store comes in between, and may move the slots.
			swept, at := s.rows.swept, s.rows.slots[i].seq
			s.mu.RUnlock()
			s.mu.RLock()
			if s.rows.swept != swept {
				if i = s.rows.after(at) - 1; i < 0 {
					return
				}
			}
		}
		r := s.rows.slots[i].row
		if r == nil || !s.wants(q, s.rows.slots[i].plight) {
			continue
		}
		if q.Match == nil || s.matches(r, q.Match, &look) {
			f(r)
		}
	}
}

// looked is memory for what filters look at.
type looked struct {
	event                flow.Event
	source, dest, behind flow.Peer
}

func (s *Store) matches(r *row, match func(*flow.Event) bool, l *looked) bool {
	s.fill(r, &l.event, &l.source, &l.dest)
	if r.backend.IsValid() {
		r.backendWho.fill(&l.behind, r.backend)
		l.event.Backend = &l.behind
	}
	return match(&l.event)
}
