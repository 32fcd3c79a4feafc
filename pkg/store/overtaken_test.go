// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestTheFirstPacketsNewsTakesNothingBack: totals may be read from the table
// before the news of the first packet is taken from the ring.
func TestTheFirstPacketsNewsTakesNothingBack(t *testing.T) {
	s := newSession(Limits{})
	dropped := func(f *wire.Flow) {
		f.Kind, f.Verdict, f.Bit, f.Candidate, f.CandidateBit, f.Enforced, f.EnforcedPackets = wire.Flow_COUNTERS, 2, 2, 2, 2, true, 1
	}
	s.flows(toDB(1, dropped))
	for name, f := range map[string]*wire.Flow{
		"enforced packets": toDB(1, nil),
		"packets":          toDB(1, func(f *wire.Flow) { dropped(f); f.Kind, f.PacketsIn, f.Verdict = wire.Flow_NEW, 0, 1 }),
	} {
		if got := s.flows(f); len(got) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		if r := s.Snapshot(Query{Flows: true}).Flows[0]; !r.Event.Enforced || r.Event.Verdict != flow.Deny || r.PacketsIn != 1 || r.Leased != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
