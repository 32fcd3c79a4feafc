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

// timelineEntry is an event with the memory that its ends point to. It is
// written again when its turn comes: whoever hands it out clones it.
type timelineEntry struct {
	event    flow.Event
	source   flow.Peer
	dest     flow.Peer
	id       FlowID
	number   uint64
	ordinary bool
}

func (t *timeline) add(e *flow.Event, id FlowID) {
	entry := t.room(id)
	entry.event = *e
	if e.Source != nil {
		entry.source = *e.Source
	}
	if e.Destination != nil {
		entry.dest = *e.Destination
	}
	t.wrote(entry)
}

// room is the next entry: the oldest one's, if there is no more. It is to be
// written at once.
func (t *timeline) room(id FlowID) *timelineEntry {
	t.came++
	at := t.next
	if len(t.ring) < t.limit {
		at = len(t.ring)
		if at == cap(t.ring) { // moved
			t.ring = append(make([]timelineEntry, 0, min(t.limit, max(256, 2*at))), t.ring...)
			for i := range t.ring {
				t.ring[i].hold()
			}
		}
		t.ring = t.ring[:at+1]
	} else {
		t.next = (t.next + 1) % t.limit
	}
	entry := &t.ring[at]
	entry.id, entry.number = id, t.came
	return entry
}

// wrote is called when an entry has been written.
func (t *timeline) wrote(entry *timelineEntry) {
	entry.hold()
	entry.ordinary = Ordinary(&entry.event)
}

// hold points the event's ends to the entry's own memory.
func (e *timelineEntry) hold() {
	if e.event.Source != nil {
		e.event.Source = &e.source
	}
	if e.event.Destination != nil {
		e.event.Destination = &e.dest
	}
}

// clone is the event in memory of its own: ends is where its ends go to.
func (e *timelineEntry) clone(ends *[2]flow.Peer) flow.Event {
	event := e.event
	if event.Source != nil {
		ends[0] = *event.Source
		event.Source = &ends[0]
	}
	if event.Destination != nil {
		ends[1] = *event.Destination
		event.Destination = &ends[1]
	}
	return event
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
	ends := make([][2]flow.Peer, len(list))
	for i, m := range list {
		out.Timeline[i] = Moment{m.entry.clone(&ends[i]), m.number}
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
