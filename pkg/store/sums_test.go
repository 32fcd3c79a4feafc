// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestKeptPairsAreWhatTheirRowsAddUpTo compares the pairs that are kept with
// those summed up from all rows, after any history.
func TestKeptPairsAreWhatTheirRowsAddUpTo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSession(Limits{Flows: 12})
		var total uint64
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			id := rapid.Uint64Range(1, 20).Draw(rt, "id")
			total += rapid.Uint64Range(0, 900).Draw(rt, "bytes")
			f := toDB(id, func(f *wire.Flow) {
				f.PeerPort = uint32(30000 + id)
				f.BytesIn = total
				f.Verdict = rapid.Uint32Range(1, 3).Draw(rt, "verdict")
				f.Candidate = rapid.Uint32Range(1, 2).Draw(rt, "candidate")
				f.Enforced = rapid.Bool().Draw(rt, "enforced")
				f.Kind = rapid.SampledFrom([]wire.Flow_Kind{wire.Flow_NEW, wire.Flow_VERDICT, wire.Flow_COUNTERS, wire.Flow_CLOSE}).Draw(rt, "kind")
				if rapid.Bool().Draw(rt, "stranger") {
					f.PeerIp = ip4(fmt.Sprintf("203.0.113.%d", id%4))
				}
			})
			if f.Kind == wire.Flow_NEW && s.rows.get(FlowID{"n1", id}) != nil {
				f.Kind = wire.Flow_VERDICT
			}
			s.flows(f)
		}
		all := func(*flow.Event) bool { return true }
		text := func(q Query) string {
			q.Pairs, q.Limit = true, 1000
			var lines []string
			for _, p := range s.Snapshot(q).Pairs {
				lines = append(lines, fmt.Sprintf("%+v flows=%d open=%d packets=%d bytes=%d faults=%d newest=%v", p.ID, p.Flows, p.Open, p.Packets, p.Bytes, p.Faults, p.Sample.ID))
			}
			slices.Sort(lines)
			return strings.Join(lines, "\n")
		}
		if kept, summed := text(Query{}), text(Query{Match: all}); kept != summed {
			rt.Fatalf("kept\n%s\nbut the rows add up to\n%s", kept, summed)
		}
		met := func(q Query) string {
			q.Meets, q.Limit = true, 1000
			var lines []string
			snap := s.Snapshot(q)
			for _, m := range snap.Meets {
				lines = append(lines, fmt.Sprintf("%s %s %v %v %v flows=%d faults=%d ports=%v", snap.MeetNames[m.From], snap.MeetNames[m.To], m.Verdict, m.Candidate, m.Enforced, m.Flows, m.Faults, m.Ports))
			}
			slices.Sort(lines)
			return strings.Join(lines, "\n")
		}
		if kept, summed := met(Query{}), met(Query{Match: all}); kept != summed {
			rt.Fatalf("kept\n%s\nbut the rows meet in\n%s", kept, summed)
		}
		for _, place := range s.rows.slots {
			if place.row != nil && place.plight != place.row.plight() {
				rt.Fatalf("row %d stands in the list as %+v, but is %+v", place.row.id.ID, place.plight, place.row.plight())
			}
		}
		for i, e := range s.sums.list {
			if e.at != i || e.plight != e.enter().plight || s.sums.pairs[e.key] != e.pair {
				rt.Fatalf("pair %+v stands in the list as %+v", e.ID, e.plight)
			}
		}
		if len(s.sums.list) != len(s.sums.pairs) {
			rt.Fatalf("%d of %d pairs are listed", len(s.sums.list), len(s.sums.pairs))
		}
		if n := len(s.Store.sums.groups); n > 40 {
			rt.Fatalf("%d names are kept for %d rows", n, s.rows.n)
		}
	})
}

func TestPortsAndExternalNamesCountEachConnectionOnce(t *testing.T) {
	s := newSession(Limits{})
	s.flows(
		toDB(1, nil),
		toDB(2, func(f *wire.Flow) { f.PeerIp = ip4("203.0.113.5"); f.Verdict = 2 }),
		toDB(3, func(f *wire.Flow) { f.PeerIp = ip4("203.0.113.5"); f.PeerPort = 40001 }),
	)
	ports := s.Snapshot(Query{Workloads: true, GroupBy: "port"}).Workloads
	if len(ports) != 1 || ports[0].Name != "tcp/5432" || ports[0].Flows != 3 || ports[0].Allowed != 2 || ports[0].Denied != 1 {
		t.Fatalf("ports %+v", ports)
	}
	ext := s.Snapshot(Query{Workloads: true, GroupBy: "external"}).Workloads
	if len(ext) != 1 || ext[0].Name != "203.0.113.5" || ext[0].Flows != 2 || ext[0].Denied != 1 {
		t.Fatalf("external %+v", ext)
	}
	only := s.Snapshot(Query{Workloads: true, GroupBy: "port", Match: func(e *flow.Event) bool { return e.Verdict == flow.Deny }}).Workloads
	if len(only) != 1 || only[0].Flows != 1 || only[0].Denied != 1 || only[0].Allowed != 0 {
		t.Fatalf("of the denied ones %+v", only)
	}
	s.flows(toDB(1, func(f *wire.Flow) { f.Kind = wire.Flow_CLOSE }))
	s.now = s.now.Add(2 * time.Second)
	s.flows(toDB(2, func(f *wire.Flow) { f.Kind = wire.Flow_VERDICT; f.Verdict, f.BytesIn = 1, 10_000 }))
	ports = s.Snapshot(Query{Workloads: true, GroupBy: "port"}).Workloads
	if ports[0].Flows != 2 || ports[0].Allowed != 3 || ports[0].Denied != 0 || len(ports[0].History) == 0 {
		t.Fatalf("later %+v", ports[0])
	}
}

// A recording begins with what connections have done so far; that isn't what
// they do now.
func TestWhatWasBeforeIsNoRate(t *testing.T) {
	s := newSession(Limits{})
	s.nodes["n2"] = &nodeState{bootOffset: 1}
	s.flows(toDB(1, func(f *wire.Flow) {
		f.FirstNs, f.BytesIn = s.now.Add(-100*time.Second).UnixNano(), 1_000_000
	}))
	s.now = s.now.Add(time.Second)
	s.flows(toDB(1, func(f *wire.Flow) { f.Kind, f.BytesIn = wire.Flow_COUNTERS, 1_000_001 }))
	pair := s.Snapshot(Query{Pairs: true}).Pairs[0]
	top := s.Snapshot(Query{Workloads: true}).Workloads[0]
	if pair.Rate > 20_000 || top.Rate > 20_000 || pair.Bytes != 1_000_001 || top.BytesIn != 1_000_001 {
		t.Fatalf("1,000,000 bytes in 100 s: rates %.0f and %.0f a second, bytes %d and %d", pair.Rate, top.Rate, pair.Bytes, top.BytesIn)
	}
}
