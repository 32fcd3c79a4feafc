// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestSharesOfPairsAreWhatTheirRowsAddUpTo: filters that take some of a pair's
// connections are asked after each change of one of them.
func TestSharesOfPairsAreWhatTheirRowsAddUpTo(t *testing.T) {
	split := 0
	rapid.Check(t, func(rt *rapid.T) {
		s := newSession(Limits{Flows: 15})
		filter := rapid.SampledFrom([]string{"type=close", "type=flow", "reset", "port=5432 type=close", "!reset"}).Draw(rt, "filter")
		match, err := ParseFilter(filter, nil)
		if err != nil {
			rt.Fatal(err)
		}
		q := Query{Pairs: true, Match: match, Same: filter, Limit: 100, Order: Order{By: "bytes"}}
		total, last := uint64(0), uint64(0)
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			total += rapid.Uint64Range(0, 900).Draw(rt, "bytes")
			id := rapid.Uint64Range(max(last, 12)-11, last+1).Draw(rt, "id")
			last = max(last, id)
			s.now = s.now.Add(-time.Duration(rapid.IntRange(0, 1).Draw(rt, "at once")) * time.Second)
			s.flows(toDB(id, func(f *wire.Flow) {
				f.BytesIn, f.BytesOut, f.PacketsOut = total, total/2, total/300
				f.Verdict = 1 + rapid.Uint32Range(0, 9).Draw(rt, "verdict")/9
				f.Kind = rapid.SampledFrom([]wire.Flow_Kind{wire.Flow_NEW, wire.Flow_VERDICT, wire.Flow_COUNTERS, wire.Flow_CLOSE}).Draw(rt, "kind")
				f.TcpFlagsIn = rapid.SampledFrom([]uint32{0, 2, 18, tcpRst}).Draw(rt, "flags")
			}))
			if rapid.IntRange(0, 5).Draw(rt, "drop") == 0 {
				d := drop("NETFILTER_DROP", "nft_do_chain", 0)
				d.Sport = 40000 + uint32(id)
				s.frame("n2", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{d}}})
			}
			s.asked(rt, q)
			for _, p := range s.Snapshot(q).Pairs {
				if p.Rate < 0 || p.First.IsZero() || p.Last.Before(p.First) {
					rt.Fatalf("%+v", p)
				}
			}
			for _, e := range s.sums.list {
				if e.share != nil && e.share.Flows != e.Flows {
					split++
				}
			}
		}
	})
	if split == 0 {
		t.Error("no filter took some of a pair's connections")
	}
}

// TestAShareFallsSilent: the rate of the connections that a filter takes fades
// with them, and doesn't go on where one of them is taken no more.
func TestAShareFallsSilent(t *testing.T) {
	s := newSession(Limits{})
	q := Query{Pairs: true, Match: mustParse(t, "type=flow"), Same: "type=flow"}
	rate := func() float64 {
		pairs := s.Snapshot(q).Pairs
		if len(pairs) != 1 {
			t.Fatalf("%d pairs, want 1", len(pairs))
		}
		return pairs[0].Rate
	}
	s.flows(toDB(1, nil), toDB(2, nil), toDB(3, nil))
	s.flows(toDB(3, func(f *wire.Flow) { f.Kind = wire.Flow_CLOSE }))
	if r := rate(); r > 1000 {
		t.Errorf("a rate of %.0f before anything is sent", r)
	}
	for i := range uint64(5) {
		s.flows(toDB(1, func(f *wire.Flow) { f.Kind, f.BytesIn, f.PacketsIn = wire.Flow_COUNTERS, 100_000*(i+1), 100*(i+1) }))
	}
	if r := rate(); r < 50_000 || r > 200_000 {
		t.Errorf("100,000 bytes in each second are a rate of %.0f", r)
	}
	s.flows(toDB(1, func(f *wire.Flow) { f.Kind, f.BytesIn, f.PacketsIn = wire.Flow_CLOSE, 500_000, 500 }))
	for range 20 {
		s.frame("n2", &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{}})
	}
	if r := rate(); r != 0 {
		t.Errorf("still a rate of %.0f", r)
	}
	if got := fmt.Sprint(s.Snapshot(q).Pairs[0].Flows); got != "1" {
		t.Errorf("%s connections are open, want 1", got)
	}
}
