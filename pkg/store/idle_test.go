// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestHeartbeatsAreNoNews: that nodes are still there, and what they cost,
// changes nothing that is shown, but on their own page; that one lost something does.
func TestHeartbeatsAreNoNews(t *testing.T) {
	s := New(Options{})
	beat := func(node string, at time.Duration, lost uint64) {
		s.Apply(&wire.Frame{Node: node, TimeNs: t0.Add(at).UnixNano(), Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{Ring: lost}}}})
		s.Apply(&wire.Frame{Node: node, TimeNs: t0.Add(at).UnixNano(), Body: &wire.Frame_Stats{Stats: &wire.Stats{RssBytes: uint64(at)}}}) //nolint:gosec // not negative
	}
	beat("n1", 0, 0)
	beat("n2", 0, 0)
	flows := Query{Flows: true, Pairs: true, Drops: true, Workloads: true, Policies: true, Timeline: true}
	was, costs := s.Version(flows), s.Version(Query{Nodes: true})
	for i := range 30 {
		beat("n1", time.Duration(i)*100*time.Millisecond, 0)
		beat("n2", time.Duration(i)*100*time.Millisecond, 0)
	}
	if now := s.Version(flows); now != was {
		t.Errorf("%d changes where nothing happens", now-was)
	}
	if now := s.Version(Query{Nodes: true}); now == costs {
		t.Error("what the nodes cost is no news of theirs")
	}
	beat("n2", 3*time.Second, 7)
	if now := s.Version(flows); now == was {
		t.Error("a loss is no news")
	}
}

// TestNumbersFadeUntilTheyStandStill: rates and histories of what has fallen
// silent move on by themselves, each for whom it shows, and not for ever.
func TestNumbersFadeUntilTheyStandStill(t *testing.T) {
	for _, c := range []struct {
		name  string
		query Query
		until time.Duration // nothing moves after
	}{
		{"connections", Query{Flows: true}, 40 * time.Second},
		{"pairs", Query{Pairs: true}, 40 * time.Second},
		{"workloads", Query{Workloads: true}, (historyTicks + 2) * time.Second},
		{"ports", Query{Workloads: true, GroupBy: "port"}, (historyTicks + 2) * time.Second},
		{"drops", Query{Drops: true}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSession(Limits{})
			s.flows(toDB(1, func(f *wire.Flow) { f.BytesIn, f.PacketsIn = 1<<20, 700 }))
			show := func() string {
				snap := s.Snapshot(c.query)
				b, err := json.Marshal([]any{snap.Flows, snap.Pairs, snap.Workloads, snap.Drops})
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			settled := 15 * time.Second // what became of the connection is known
			version, shown, moved := s.Version(c.query), show(), time.Duration(0)
			for now := time.Second; now < 5*time.Minute; now += time.Second {
				s.Apply(&wire.Frame{Node: "n1", TimeNs: s.now.Add(now).UnixNano(), Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{}}}})
				v, is := s.Version(c.query), show()
				if is != shown && v == version {
					t.Fatalf("after %s the version is the same, and the answer is not:\n%s\n%s", now, shown, is)
				}
				if v != version && now > settled {
					moved = now
				}
				version, shown = v, is
			}
			if moved > c.until {
				t.Errorf("still changes after %s", moved)
			}
		})
	}
}
