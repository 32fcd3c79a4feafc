// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// A view remembers of each connection whether a screen's question takes it and
// what it is sorted by: a number for each slot, brought up to date as rows
// change, while they are in the processor's cache anyway. So a snapshot of a
// sorted or filtered page reads some numbers that lie one after the other, and
// looks at the few rows only that it shows; asking a hundred thousand rows anew
// took up to 300 ms of each.
//
// There is one at most, of the last question. Whoever writes it holds the
// store's lock, or is the one snapshot that holds Store.viewing and reads the store.
type view struct {
	of     question
	match  func(*flow.Event) bool
	column column

	hasCandidate bool // the rules' when it was made: verdicts are weighed by it
	keys         []uint64
	updated      []stamp // of the same slots, if the column fades
	built        bool    // no key is unknown but of rows in todo
	todo         []*row  // whose key is unknown since this frame
	used         time.Time
	number       uint32 // of this view: rows and pairs know by it what it took
	look         looked

	texts ranking[string]
	addrs ranking[[16]byte]
	hint  hint
	found []spot // memory of the last look
}

// question is what makes two queries ask for the same rows in the same order.
type question struct {
	same             any
	labels           bool
	trouble, changed bool
	by               string
}

// Keys that aren't what a row is sorted by: those are below.
const (
	notTaken uint64 = 1<<64 - 1 // or there is no row
	unknown  uint64 = 1<<64 - 2
	mostKey  uint64 = 1 << 63
)

// unused is how long after the last question a view is kept: a screen asks
// every two seconds at least while something changes.
const unused = 10 * time.Second

// viewed says whether a view answers the query. A filter that nobody can tell
// from another is asked of each row again.
func (q *Query) viewed() bool {
	return q.Flows && q.Match == nil && q.Order.By != "verdict" || (q.Flows || q.Pairs || q.Meets) && q.Match != nil && q.Same != nil
}

// viewOf is the view that answers q, with no key unknown. The caller holds
// Store.viewing and reads the store.
func (s *Store) viewOf(q *Query) *view {
	of := question{trouble: q.Trouble, changed: q.Changed, by: q.Order.By}
	if !q.Flows {
		of.by = "" // pairs have an order of their own
	}
	if !q.Flows && !q.Pairs {
		of.trouble, of.changed = false, false // of meets as a whole
	}
	if q.Match != nil {
		of.same, of.labels = q.Same, q.Labels
	}
	for {
		v := s.rows.view
		if v == nil || v.of != of || v.hasCandidate != s.rules.hasCandidate {
			v = s.newView(of, q.Match)
		}
		v.used = time.Now()
		if v.built || s.build(v) {
			return v
		}
	}
}

func (s *Store) newView(of question, match func(*flow.Event) bool) *view {
	v := &view{of: of, match: match, column: columnOf(of.by), hasCandidate: s.rules.hasCandidate}
	s.rows.views++
	v.number = s.rows.views
	n := len(s.rows.slots)
	v.keys = make([]uint64, n, n+n/8)
	old := s.rows.view
	// What the same filter left out stays out, in whatever order.
	known := old != nil && old.built && old.hasCandidate == v.hasCandidate && len(old.keys) == n
	if known {
		with := old.of
		with.by = of.by
		known = with == of
	}
	for i := range v.keys {
		v.keys[i] = unknown
		if s.rows.slots[i].row == nil || known && old.keys[i] == notTaken {
			v.keys[i] = notTaken
		}
	}
	if v.column.fades {
		v.updated = make([]stamp, n, n+n/8)
	}
	s.rows.view = v
	return v
}

// build finds out all keys, the newest rows' first, and lets the feeder in
// from time to time; false: it has let the view go meanwhile.
func (s *Store) build(v *view) bool {
	seen := 0
	for i := len(s.rows.slots) - 1; i >= 0; i-- {
		if v.keys[i] != unknown {
			continue
		}
		if seen++; seen%breath == 0 {
			swept, at := s.rows.swept, s.rows.slots[i].seq
			s.mu.RUnlock()
			s.mu.RLock()
			if s.rows.view != v {
				return false
			}
			if s.rows.swept != swept {
				i = s.rows.after(at)
				continue
			}
		}
		if r := s.rows.slots[i].row; r != nil && v.keys[i] == unknown {
			s.decide(v, r)
		}
	}
	v.built = true
	return true
}

// decide finds out a row's key.
func (s *Store) decide(v *view, r *row) {
	q := Query{Trouble: v.of.trouble, Changed: v.of.changed}
	wanted := s.wants(&q, r.plight()) && (v.match == nil || s.matches(r, v.match, &v.look))
	v.keys[r.slot] = notTaken
	if wanted {
		s.weigh(v, r)
	}
	if r.sum.pair == nil || wanted == (r.sum.taken == v.number) {
		return
	}
	if wanted {
		s.takes(r, v.number)
	} else {
		s.leftBy(r)
	}
}

// weigh takes over what a row that is taken is sorted by.
func (s *Store) weigh(v *view, r *row) {
	v.keys[r.slot] = v.column.key(s, v, r)
	if v.column.fades {
		v.updated[r.slot] = r.updated
	}
}

// reworded says that a row is another than it was, for filters or in what it
// is sorted by: it is looked at when the frame has been taken.
func (t *rows) reworded(r *row) {
	if v := t.view; v != nil && r.slot != noSlot && v.keys[r.slot] != unknown {
		v.keys[r.slot] = unknown
		v.todo = append(v.todo, r)
	}
}

// recounted says that numbers of a row have grown.
func (s *Store) recounted(r *row) {
	if v := s.rows.view; v != nil && v.column.counts && r.slot != noSlot && v.keys[r.slot] < unknown {
		s.weigh(v, r)
	}
}

// review looks at the rows that a frame has changed, and lets a view go that
// nobody asks for any more.
func (s *Store) review() {
	v := s.rows.view
	if v == nil {
		return
	}
	if time.Since(v.used) > unused || v.hasCandidate != s.rules.hasCandidate {
		s.rows.view = nil
		return
	}
	for _, r := range v.todo {
		if r.slot != noSlot && v.keys[r.slot] == unknown {
			s.decide(v, r)
		}
	}
	clear(v.todo)
	v.todo = v.todo[:0]
}

// relabelled says that pods have other labels than before: a filter by labels
// is to be asked anew.
func (t *rows) relabelled() {
	if t.view != nil && t.view.of.labels {
		t.view = nil
	}
}

// grow makes room for the newest row.
func (v *view) grow(r *row) {
	v.keys = append(v.keys, unknown)
	if v.column.fades {
		v.updated = append(v.updated, 0)
	}
	v.todo = append(v.todo, r)
}

// move is of slots that move together.
func (v *view) move(to, from int) {
	v.keys[to] = v.keys[from]
	if v.column.fades {
		v.updated[to] = v.updated[from]
	}
}

// cut is of slots that are gone.
func (v *view) cut(n int) {
	v.keys = v.keys[:n]
	if v.column.fades {
		v.updated = v.updated[:n]
	}
}
