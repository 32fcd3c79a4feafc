// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// columns are all that connections can be sorted by.
var columns = []string{
	"", "rate", "bytes", "packets", "drops", "verdict", "name", "destination", "port", "protocol", "node", "last", "direction", "rule", "agreement", "observed",
}

// asked are a screen's question and the same one asked of each row.
func (s *session) asked(t interface{ Fatalf(string, ...any) }, q Query) {
	plain := q
	plain.Same, plain.Labels = nil, false
	if plain.Match == nil {
		plain.Match = func(*flow.Event) bool { return true }
	}
	got, want := s.Snapshot(q), s.Snapshot(plain)
	if got, want := told(got), told(want); !slices.Equal(got, want) {
		t.Fatalf("%+v:\n%v\nwant\n%v", q, got, want)
	}
}

// told is what a snapshot says of which rows; of pairs without rates and
// times, which are kept in other ways than those of their rows.
func told(x *Snapshot) []string {
	out := []string{fmt.Sprint(x.FlowTotal, x.PairTotal, x.MeetTotal)}
	for _, r := range x.Flows {
		out = append(out, fmt.Sprint(r.ID, r.BytesIn))
	}
	for _, p := range x.Pairs {
		out = append(out, fmt.Sprint(p.ID, p.Flows, p.Open, p.Packets, p.Bytes, p.Faults, p.Sample.ID))
	}
	met := make([]string, 0, len(x.Meets))
	for _, m := range x.Meets {
		from, to := x.MeetNames[m.From], x.MeetNames[m.To]
		m.From, m.To = 0, 0
		met = append(met, fmt.Sprint(from, to, m))
	}
	slices.Sort(met)
	return append(out, met...)
}

// TestAViewIsWhatAskingEachRowGives after any history, whatever was asked before.
func TestAViewIsWhatAskingEachRowGives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSession(Limits{Flows: 25})
		watchBoth(s)
		draw := func() Query {
			q := Query{
				Flows: true, Trouble: rapid.Bool().Draw(rt, "trouble"), Changed: rapid.Bool().Draw(rt, "changed"),
				Offset: rapid.IntRange(0, 30).Draw(rt, "offset"), Limit: rapid.IntRange(1, 30).Draw(rt, "limit"),
				Order: Order{By: rapid.SampledFrom(columns).Draw(rt, "by"), Reverse: rapid.Bool().Draw(rt, "reverse")},
			}
			if text := rapid.SampledFrom([]string{
				"", "port=5432", "to=db", "!web", "203", "observed=answered", "type=close", "agreement=disagrees", "process=curl", "-l app=web", "verdict=would-deny",
				"host=a.example", "ip=10.0.0.2", "reset", "rule=allow", "allow:[0-9]", "candidate=deny",
			}).Draw(rt, "filter"); text != "" {
				match, err := ParseFilter(text, s.Labels)
				if err != nil {
					rt.Fatal(err)
				}
				q.Match, q.Same, q.Labels = match, text, text[0] == '-'
				switch rapid.IntRange(0, 3).Draw(rt, "of") {
				case 0:
					q.Flows, q.Pairs, q.Order = false, true, Order{By: "bytes"}
				case 1:
					q = Query{Meets: true, Trouble: q.Trouble, Match: match, Same: q.Same, Labels: q.Labels}
				}
			}
			return q
		}
		q := draw()
		total := uint64(0)
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			id := rapid.Uint64Range(1, 60).Draw(rt, "id")
			total += rapid.Uint64Range(0, 900).Draw(rt, "bytes")
			kind := rapid.SampledFrom([]wire.Flow_Kind{wire.Flow_NEW, wire.Flow_VERDICT, wire.Flow_COUNTERS, wire.Flow_CLOSE}).Draw(rt, "kind")
			change := func(f *wire.Flow) {
				f.Kind, f.BytesIn, f.PacketsOut = kind, total, total/500
				f.Verdict, f.Candidate = uint32(1+id%3), uint32(1+id%2)
				f.Bit, f.CandidateBit, f.TcpFlagsOut = f.Verdict, f.Candidate+2, 0
				// Mostly one thing changes: what one forgets to say another would make good.
				switch rapid.IntRange(0, 12).Draw(rt, "more") {
				case 3:
					f.Verdict = rapid.Uint32Range(1, 3).Draw(rt, "verdict")
					f.Candidate = rapid.Uint32Range(1, 2).Draw(rt, "candidate")
				case 4:
					f.Bit, f.CandidateBit = rapid.Uint32Range(1, 4).Draw(rt, "bit"), rapid.Uint32Range(1, 4).Draw(rt, "candidateBit")
				case 5:
					f.Enforced = true
				case 6, 7:
					f.TcpFlagsIn, f.TcpFlagsOut = rapid.SampledFrom([]uint32{0, 2, 4, 16, 18}).Draw(rt, "in"), rapid.SampledFrom([]uint32{0, 2, 4, 16, 18}).Draw(rt, "out")
				case 0:
					f.Owner = &wire.Owner{Pid: 7, Command: "curl"}
				case 1:
					f.Request = &wire.Request{Kind: "http", Host: "a.example", Path: "/"}
				case 2:
					f.BackendIp, f.BackendPort = ip4("10.0.0.2"), uint32(5432+id%2)
				}
			}
			switch rapid.IntRange(0, 11).Draw(rt, "what") {
			case 0:
				s.policies(rapid.Bool().Draw(rt, "candidate"))
			case 1:
				s.world(
					&wire.Pod{Namespace: "shop", Name: "web-1", Uid: "u1", Node: "n1", Ips: [][]byte{ip4("10.0.0.1")}, Workload: "deploy/web", Endpoint: 1, Labels: map[string]string{"app": rapid.SampledFrom([]string{"web", "x"}).Draw(rt, "label")}},
					&wire.Pod{Namespace: "shop", Name: "db-0", Uid: "u2", Node: "n2", Ips: [][]byte{ip4("10.0.0.2")}, Workload: "sts/db", Endpoint: 2},
					&wire.Pod{Namespace: "shop", Name: fmt.Sprintf("late-%d", id), Uid: fmt.Sprint(id), Node: "n2", Ips: [][]byte{ip4(fmt.Sprintf("203.0.113.%d", id%4))}, Workload: "deploy/late"},
				)
			case 2:
				d := drop("NETFILTER_DROP", "nft_do_chain", 0)
				d.Sport = 40000 + uint32(id)
				s.frame("n1", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{d}}})
			case 3:
				s.now = s.now.Add(time.Duration(rapid.IntRange(0, 5).Draw(rt, "later")) * time.Second)
			case 4, 5:
				s.from("n1", fromWeb(id, change))
			default:
				s.flows(toDB(id, func(f *wire.Flow) {
					change(f)
					f.PeerPort = uint32(40000 + id)
					if id%3 == 0 {
						f.PeerIp = ip4(fmt.Sprintf("203.0.113.%d", id%7))
					}
				}))
			}
			if rapid.IntRange(0, 7).Draw(rt, "other") == 0 {
				q = draw()
			}
			s.asked(rt, q)
		}
	})
}

// TestAWindowIsPartOfTheSortedList wherever it is, whatever was asked before.
func TestAWindowIsPartOfTheSortedList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := New(Options{Quiet: true})
		v := &view{}
		for _, k := range rapid.SliceOfN(rapid.Uint64Range(0, 12), 0, 400).Draw(rt, "keys") {
			if k == 0 {
				k = notTaken
			}
			v.keys = append(v.keys, k)
		}
		for range 5 {
			if n := len(v.keys); n > 0 {
				v.keys[rapid.IntRange(0, n-1).Draw(rt, "slot")] = rapid.Uint64Range(1, 20).Draw(rt, "key")
			}
			offset, limit, reverse := rapid.IntRange(0, 420).Draw(rt, "offset"), rapid.IntRange(1, 40).Draw(rt, "limit"), rapid.Bool().Draw(rt, "reverse")
			var all []int
			for i, k := range slices.Backward(v.keys) {
				if k != notTaken {
					all = append(all, i)
				}
			}
			slices.SortStableFunc(all, func(a, b int) int { return int(v.keys[a]) - int(v.keys[b]) }) //nolint:gosec // small
			if reverse {
				slices.Reverse(all)
			}
			want := all[min(offset, len(all)):min(offset+limit, len(all))]
			got, total := s.window(v, offset, limit, reverse)
			if total != len(all) || !slices.Equal(got, want) {
				rt.Fatalf("%d+%d reverse %v: %v of %d, want %v of %d", offset, limit, reverse, got, total, want, len(all))
			}
		}
	})
}

// TestAViewIsLetGo: what nobody asks for costs nothing.
func TestAViewIsLetGo(t *testing.T) {
	s := newSession(Limits{})
	s.flows(toDB(1, nil))
	s.Snapshot(Query{Flows: true, Order: Order{By: "bytes"}})
	s.flows(toDB(2, nil))
	if s.rows.view == nil {
		t.Fatal("it is gone at once")
	}
	s.rows.view.used = s.rows.view.used.Add(-2 * unused)
	s.flows(toDB(3, nil))
	if s.rows.view != nil {
		t.Error("it is still there")
	}
}

// TestOnlyWhatChangedIsAskedAgain: a filter sees a row when it comes and when
// its words change, not when it counts.
func TestOnlyWhatChangedIsAskedAgain(t *testing.T) {
	s := newSession(Limits{})
	times := 0
	q := Query{Flows: true, Order: Order{By: "bytes"}, Same: "it", Match: func(*flow.Event) bool { times++; return true }}
	s.flows(toDB(1, nil), toDB(2, nil), toDB(3, nil))
	s.Snapshot(q)
	if times != 3 {
		t.Errorf("%d rows were asked, want 3", times)
	}
	for i := range uint64(5) {
		s.flows(toDB(2, func(f *wire.Flow) { f.Kind, f.BytesIn = wire.Flow_COUNTERS, 1000*i }))
		if got := s.Snapshot(q).Flows[0]; i > 0 && (got.ID.ID != 2 || got.BytesIn != 1000*i) {
			t.Errorf("the first is %v with %d bytes", got.ID, got.BytesIn)
		}
	}
	if times > 3+3 { // time alone says that it wasn't answered
		t.Errorf("rows were asked %d times", times)
	}
	times = 0
	q.Order.By = "source"
	s.Snapshot(q)
	s.flows(toDB(1, func(f *wire.Flow) { f.Kind, f.Verdict, f.Bit = wire.Flow_VERDICT, 2, 2 }))
	if before := times; before != 4 {
		t.Errorf("%d were asked, want all and the one that changed", before)
	}
}

// TestWhatAPatternMustHave never keeps back what it matches.
func TestWhatAPatternMustHave(t *testing.T) {
	for pattern, want := range map[string]string{
		"pod-7[0-9] ": "pod-7", "a|b": "", "x*": "", "(ab)+c?": "ab", "DB.*Web": "web", "[a-c]x{2,}": "", "": "",
	} {
		if got := mustHave("(?i)" + pattern); string(got) != want {
			t.Errorf("%q must have %q, want %q", pattern, got, want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune("abkSſ.*+?|()[]^$\\d ")), 1, 12, -1).Draw(rt, "pattern")
		plain, err := regexp.Compile("(?i)" + pattern)
		if err != nil || regexp.QuoteMeta(pattern) == pattern {
			return // a plain word has a way of its own
		}
		match, err := matcher(pattern)
		if err != nil {
			rt.Fatal(err)
		}
		text := rapid.StringOfN(rapid.SampledFrom([]rune("aAbBkKsS\u212aſ .d")), 0, 20, -1).Draw(rt, "text")
		if got, want := match([]byte(text)), plain.MatchString(text); got != want {
			rt.Fatalf("%q in %q: %v, want %v", pattern, text, got, want)
		}
	})
}

// TestWhatChangesARow: each of these alone moves it in an order, or in or out
// of a filter.
func TestWhatChangesARow(t *testing.T) {
	for name, c := range map[string]struct {
		by, filter string
		change     func(*session)
	}{
		"another rule, the same verdict": {"rule", "", func(s *session) {
			s.flows(toDB(2, func(f *wire.Flow) { f.Kind, f.Bit = wire.Flow_VERDICT, 2 }))
		}},
		"a backend": {"", "to=db-0", func(s *session) {
			s.from("n1", fromWeb(3, func(f *wire.Flow) { // to a service that nobody knows
				f.PeerIp = ip4("10.96.0.77")
			}))
			s.asked(t, Query{Flows: true, Limit: 9, Same: "to=db-0", Match: mustParse(t, "to=db-0")})
			s.from("n1", fromWeb(3, func(f *wire.Flow) {
				f.Kind, f.PeerIp, f.BackendIp, f.BackendPort = wire.Flow_COUNTERS, ip4("10.96.0.77"), ip4("10.0.0.2"), 5432
			}))
		}},
		"drops": {"drops", "", func(s *session) {
			for range 3 {
				d := drop("NETFILTER_DROP", "nft_do_chain", 0)
				s.frame("n1", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{d}}})
				s.asked(t, Query{Flows: true, Limit: 9, Order: Order{By: "drops"}})
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(Limits{})
			s.flows(toDB(1, nil), toDB(2, nil), toDB(3, nil))
			q := Query{Flows: true, Limit: 9, Order: Order{By: c.by}}
			if c.filter != "" {
				q.Same, q.Match = c.filter, mustParse(t, c.filter)
			}
			ids := func() (out []FlowID) {
				for _, r := range s.Snapshot(q).Flows {
					out = append(out, r.ID)
				}
				return out
			}
			before := ids()
			c.change(s)
			s.asked(t, q)
			if after := ids(); slices.Equal(before, after) {
				t.Errorf("nothing changed: %v", after)
			}
		})
	}
}

func mustParse(t *testing.T, filter string) func(*flow.Event) bool {
	t.Helper()
	match, err := ParseFilter(filter, nil)
	if err != nil {
		t.Fatal(err)
	}
	return match
}
