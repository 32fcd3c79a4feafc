// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestAFrozenStoreStaysAsItWas: to every question it answers what the store
// answered then, in whatever order and with whatever filter it is asked.
func TestAFrozenStoreStaysAsItWas(t *testing.T) {
	s := newSession(Limits{Flows: 30, Events: 40})
	watchBoth(s)
	s.policies(true)
	more := func(from, to uint64) {
		for id := from; id < to; id++ {
			s.flows(toDB(id, func(f *wire.Flow) {
				f.BytesIn = 100 * (id * 7 % 11)
				f.Verdict, f.Candidate = uint32(1+id%3), uint32(1+id%2)
				if id%4 == 0 {
					f.PeerIp = []byte{203, 0, 113, byte(id)}
				}
			}))
			s.from("n1", fromWeb(id, nil))
			d := drop("NETFILTER_DROP", "nft_do_chain", 0)
			d.Sport = 40000 + uint32(id)
			s.frame("n1", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{d}, Counts: []*wire.DropCount{{ReasonName: "NETFILTER_DROP", Location: "nft_do_chain", Endpoint: 1, Packets: 10 * id}}}})
		}
	}
	more(1, 12)
	s.flows(toDB(3, func(f *wire.Flow) { f.Kind = wire.Flow_CLOSE }))
	var queries []Query
	match := mustParse(t, "port=5432 !203")
	for _, by := range columns {
		for _, q := range []Query{{Flows: true}, {Pairs: true}, {Drops: true}, {Workloads: true}, {Timeline: true}, {Flows: true, Trouble: true}} {
			q.Order.By = by
			queries = append(queries, q)
			q.Match, q.Order.Reverse = match, true
			queries = append(queries, q)
			q.Same = "it"
			queries = append(queries, q)
		}
	}
	for _, by := range []string{"pod", "namespace", "node", "port", "external"} {
		queries = append(queries, Query{Workloads: true, GroupBy: by}, Query{Workloads: true, GroupBy: by, Match: match})
	}
	queries = append(queries, Query{Meets: true}, Query{Policies: true}, Query{Nodes: true}, Query{Selected: &FlowID{"n2", 3}}, Query{Selected: &FlowID{"n1", 5}})
	answers := func(s *Store) (out []string) {
		for _, q := range queries {
			snap := s.Snapshot(q)
			text := ""
			for _, p := range snap.Policies { // the keys of its map have no JSON
				text += fmt.Sprintf("%+v\n", *p)
			}
			b, err := json.Marshal([]any{
				snap.ID, snap.Time, snap.Flows, snap.FlowTotal, snap.Pairs, snap.PairTotal, snap.Meets, snap.MeetNames, snap.MeetTotal, snap.Drops, snap.DropTotal,
				snap.Workloads, snap.Nodes, snap.Timeline, snap.TimelineTotal, snap.TimelineFrom, snap.Selected, snap.FlowEvents, snap.Isolation, snap.Health,
			})
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, text+string(b))
		}
		return out
	}
	want := answers(s.Store)
	frozen := s.Freeze()
	s.now = s.now.Add(10 * time.Second)
	s.policies(false)
	more(8, 60)
	s.world(&wire.Pod{Namespace: "shop", Name: "other", Uid: "u9", Node: "n1", Ips: [][]byte{ip4("10.0.0.1")}, Endpoint: 1})
	moved := answers(s.Store)
	for i, got := range answers(frozen) {
		if got != want[i] {
			t.Errorf("%+v:\nfrozen %s\nwant   %s", queries[i], got, want[i])
		}
		if moved[i] == want[i] {
			t.Errorf("%+v: the store itself hasn't moved", queries[i])
		}
	}
}

func BenchmarkFreeze(b *testing.B) {
	s, change := benchStore(b)
	change(0)
	b.ReportAllocs()
	for b.Loop() {
		s.Freeze()
	}
}
