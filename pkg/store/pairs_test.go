// SPDX-License-Identifier: Apache-2.0

package store

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

func TestPairsSumUpWhoTalksToWhom(t *testing.T) {
	s := newSession(Limits{})
	s.flows(
		toDB(1, nil), toDB(2, nil),
		toDB(3, func(f *wire.Flow) { f.Verdict, f.Bit = 2, 2 }),
		toDB(4, func(f *wire.Flow) { f.PeerIp = ip4("203.0.113.5") }),
		toDB(5, func(f *wire.Flow) { f.Kind = wire.Flow_CLOSE }),
	)
	snap := s.Snapshot(Query{Pairs: true})
	if snap.PairTotal != 3 || len(snap.Pairs) != 3 {
		t.Fatalf("%d pairs", snap.PairTotal)
	}
	first := snap.Pairs[0]
	if first.ID.Verdict != flow.Deny || first.ID.Source != "shop/deploy/web" || first.ID.Destination != "shop/sts/db" || first.ID.Port != 5432 {
		t.Errorf("what is denied comes first: %+v", first.ID)
	}
	if by := snap.Pairs[1]; by.ID.Source != "203.0.113.5" || by.Flows != 1 {
		t.Errorf("nobody known goes by the address: %+v", by.ID)
	}
	web := snap.Pairs[2]
	if web.Flows != 3 || web.Open != 2 || web.Bytes != 180 || web.Sample.ID.ID != 5 {
		t.Errorf("sum %+v of sample %v", web, web.Sample.ID)
	}
	only := func(e *flow.Event) bool { return e.Verdict == flow.Deny }
	if got := s.Snapshot(Query{Pairs: true, Match: only}); got.PairTotal != 1 || len(got.Flows) != 0 {
		t.Errorf("%d pairs and %d flows match", got.PairTotal, len(got.Flows))
	}
	if got := s.Snapshot(Query{Pairs: true, Offset: 2, Limit: 5}); got.PairTotal != 3 || len(got.Pairs) != 1 {
		t.Errorf("%d of %d in the window", len(got.Pairs), got.PairTotal)
	}
}

// BenchmarkVerdictsOfOnePair judges a hundred thousand connections of one pair
// anew, in the order in which a kernel's table has them: none.
func BenchmarkVerdictsOfOnePair(b *testing.B) {
	s := New(Options{Quiet: true})
	const n = 50_000
	order := rand.New(rand.NewPCG(1, 2)).Perm(n) //nolint:gosec // the same each time
	for i := range n {
		s.Apply(&wire.Frame{Node: "n1", TimeNs: t0.UnixNano(), Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{{
			Id: uint64(i + 1), Kind: wire.Flow_NEW, Endpoint: 1, Direction: 1, Protocol: 6, LocalIp: ip4("10.0.0.2"), PeerIp: ip4("10.0.0.1"), //nolint:gosec // small
			LocalPort: 443, PeerPort: uint32(i), Verdict: 1, Candidate: 1, //nolint:gosec // small
		}}}}})
	}
	verdict := uint32(1)
	for b.Loop() {
		verdict = 3 - verdict
		for list := range slices.Chunk(order, 250) {
			f := &wire.Flows{}
			for _, i := range list {
				f.Flows = append(f.Flows, &wire.Flow{Id: uint64(i + 1), Kind: wire.Flow_VERDICT, Endpoint: 1, Verdict: verdict, Candidate: verdict}) //nolint:gosec // small
			}
			s.Apply(&wire.Frame{Node: "n1", TimeNs: t0.UnixNano(), Body: &wire.Frame_Flows{Flows: f}})
		}
	}
}

// TestPingsAreOnePair: where ports are an echo has a number, another in each
// ping.
func TestPingsAreOnePair(t *testing.T) {
	s := newSession(Limits{})
	ping := func(f *wire.Flow) { f.Protocol, f.PeerPort, f.LocalPort = 1, uint32(f.Id), uint32(f.Id) }
	s.flows(toDB(1, ping), toDB(2, ping))
	snap := s.Snapshot(Query{Pairs: true, Flows: true})
	if len(snap.Pairs) != 1 || snap.Pairs[0].Flows != 2 || snap.Pairs[0].ID.Port != 0 {
		t.Errorf("%+v", snap.Pairs)
	}
	for _, r := range snap.Flows {
		if r.Event.Source.Port != 0 || r.Event.Destination.Port != 0 {
			t.Errorf("a port: %+v, %+v", r.Event.Source, r.Event.Destination)
		}
	}
}
