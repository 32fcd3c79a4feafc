// SPDX-License-Identifier: Apache-2.0

package store

import (
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
