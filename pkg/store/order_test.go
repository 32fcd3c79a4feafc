// SPDX-License-Identifier: Apache-2.0

package store

import (
	"slices"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestSortingByWhatWasObserved: rows are in the order in which they ask to be
// looked at, unknown ones last, equal ones by arrival; and the other way round.
func TestSortingByWhatWasObserved(t *testing.T) {
	s := newSession(Limits{})
	for id := range uint64(8) {
		s.flows(toDB(id+1, nil))
	}
	set := func(id uint64, o flow.Outcome, a flow.Agreement) {
		r := s.rows.get(FlowID{"n2", id})
		r.outcome, r.agreement = o, a
	}
	set(1, flow.Answered, flow.Agrees)
	set(2, flow.Dropped, flow.AllowedButDropped)
	set(3, "", "")
	set(4, flow.Answered, flow.DeniedButDelivered)
	set(5, flow.Unanswered, flow.Agrees)
	set(6, flow.Answered, flow.Agrees)
	set(7, flow.Refused, flow.ContestedButSettled)
	set(8, "", "")
	for _, c := range []struct {
		by   string
		want []uint64
	}{
		{"agreement", []uint64{2, 4, 7, 6, 5, 1, 8, 3}},
		{"observed", []uint64{2, 7, 5, 6, 4, 1, 8, 3}},
	} {
		ids := func(q Query) (out []uint64) {
			for _, r := range s.Snapshot(q).Flows {
				out = append(out, r.ID.ID)
			}
			return out
		}
		q := Query{Flows: true, Order: Order{By: c.by}}
		if got := ids(q); !slices.Equal(got, c.want) {
			t.Errorf("by %s: %v, want %v", c.by, got, c.want)
		}
		part := q
		part.Offset, part.Limit = 2, 3
		if got := ids(part); !slices.Equal(got, c.want[2:5]) {
			t.Errorf("by %s, a window: %v, want %v", c.by, got, c.want[2:5])
		}
		q.Order.Reverse = true
		back := slices.Clone(c.want)
		slices.Reverse(back)
		if got := ids(q); !slices.Equal(got, back) {
			t.Errorf("by %s, turned round: %v, want %v", c.by, got, back)
		}
	}
}

// TestSortingPairsByWhatWasObserved: pairs go by their newest connection.
func TestSortingPairsByWhatWasObserved(t *testing.T) {
	s := newSession(Limits{})
	for id, port := range []uint32{5432, 5433, 5434} {
		s.flows(toDB(uint64(id+1), func(f *wire.Flow) { f.LocalPort = port })) //nolint:gosec // small
	}
	for id, is := range map[uint64]observed{
		1: {outcome: flow.Answered, agreement: flow.Agrees},
		2: {outcome: flow.NotArrived, agreement: flow.AllowedButDropped},
	} {
		r := s.rows.get(FlowID{"n2", id})
		r.outcome, r.agreement = is.outcome, is.agreement
	}
	for _, by := range []string{"agreement", "observed"} {
		var ports []uint16
		for _, p := range s.Snapshot(Query{Pairs: true, Order: Order{By: by}}).Pairs {
			ports = append(ports, p.ID.Port)
		}
		if want := []uint16{5433, 5432, 5434}; !slices.Equal(ports, want) {
			t.Errorf("by %s: ports %v, want %v", by, ports, want)
		}
	}
}

// TestTheTimelineIsAWindow: by time whatever order nodes tell in, with the
// number of all that match, and only what is asked for.
func TestTheTimelineIsAWindow(t *testing.T) {
	s := newSession(Limits{})
	for id := range uint64(6) {
		s.flows(toDB(id+1, func(f *wire.Flow) {
			if id%2 == 1 {
				f.Verdict, f.Bit, f.Candidate, f.CandidateBit = 2, 2, 2, 4
			}
		}))
	}
	first := func(e *flow.Event) bool { return e.Type == flow.FlowEvent }
	all := s.Snapshot(Query{Timeline: true, Match: first})
	telling := s.Snapshot(Query{Timeline: true, Match: first, Telling: true})
	if all.TimelineTotal != 6 || telling.TimelineTotal != 3 {
		t.Fatalf("%d events, %d that tell; want 6 and 3", all.TimelineTotal, telling.TimelineTotal)
	}
	if !slices.IsSortedFunc(all.Timeline, func(a, b Moment) int { return b.Time.Compare(a.Time) }) {
		t.Error("the newest isn't first")
	}
	some := s.Snapshot(Query{Timeline: true, Match: first, Offset: 2, Limit: 2})
	if some.TimelineTotal != 6 || len(some.Timeline) != 2 || some.Timeline[0].Number != all.Timeline[2].Number {
		t.Errorf("a window: %d of %d, from number %d", len(some.Timeline), some.TimelineTotal, some.Timeline[0].Number)
	}
	back := s.Snapshot(Query{Timeline: true, Match: first, Order: Order{Reverse: true}})
	if back.Timeline[0].Number != all.Timeline[5].Number {
		t.Error("the oldest isn't first when turned round")
	}
}
