// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// timeline is a bounded ring of events.
type timeline struct {
	limit int
	ring  []timelineEntry
	next  int
	came  uint64 // so far: the last one's number
}

type timelineEntry struct {
	event    flow.Event
	id       FlowID
	number   uint64
	ordinary bool
}

func (t *timeline) add(e *flow.Event, id FlowID) {
	t.came++
	entry := timelineEntry{*e, id, t.came, Ordinary(e)}
	if len(t.ring) < t.limit {
		t.ring = append(t.ring, entry)
		return
	}
	t.ring[t.next] = entry
	t.next = (t.next + 1) % t.limit
}

// each visits the entries, newest first, until yes says no.
func (t *timeline) each(yes func(*timelineEntry) bool) {
	for i := range t.ring {
		if !yes(&t.ring[(t.next-1-i+2*len(t.ring))%len(t.ring)]) {
			return
		}
	}
}

// Ordinary is what a day has thousands of: connections that are allowed come
// and go, and the kernel frees what nobody waits for any more.
func Ordinary(e *flow.Event) bool {
	switch e.Type {
	case flow.DropEvent:
		return e.Benign
	case flow.CloseEvent, flow.HopEvent:
		return true
	case flow.OutcomeEvent:
		return e.Agreement == "" || e.Agreement == flow.Agrees
	case flow.DNSEvent:
		return e.Answer != nil && !e.Answer.Unanswered && (e.Answer.Code == "" || e.Answer.Code == "NOERROR")
	}
	return e.Type == flow.FlowEvent && !e.Enforced && !e.WouldChange() && e.Verdict != flow.Deny && e.Verdict != flow.Contested
}

// queryTimeline sorts what matches by its own time, as nodes don't tell in
// order, and copies only what is asked for.
func (s *Store) queryTimeline(q *Query, out *Snapshot) {
	type moment struct {
		at     int64
		number uint64
		entry  *timelineEntry
	}
	var list []moment
	s.events.each(func(e *timelineEntry) bool {
		if at := e.event.Time; out.TimelineFrom.IsZero() || at.Before(out.TimelineFrom) {
			out.TimelineFrom = at
		}
		if (!q.Telling && !q.Trouble || !e.ordinary) && (!q.Trouble || !news(&e.event)) && (q.Match == nil || q.Match(&e.event)) {
			list = append(list, moment{e.event.Time.UnixNano(), e.number, e})
		}
		return true
	})
	out.TimelineTotal = len(list)
	newest := func(a, b moment) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.number, a.number)) }
	if q.Order.Reverse {
		slices.SortFunc(list, func(a, b moment) int { return newest(b, a) })
	} else {
		slices.SortFunc(list, newest)
	}
	list = list[min(q.Offset, len(list)):]
	list = list[:min(q.Limit, len(list))]
	out.Timeline = make([]Moment, len(list))
	for i, m := range list {
		out.Timeline[i] = Moment{m.entry.event, m.number}
	}
}

// Moment is an event of the timeline. Its number is its own for as long as the
// session lasts.
type Moment struct {
	flow.Event
	Number uint64
}

// Kept says since when events are kept; zero: there are none.
func (s *Store) Kept() (since time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := len(s.events.ring); n > 0 {
		return s.events.ring[s.events.next%n].event.Time
	}
	return since
}
