// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// TestARowThatIsOverSaysSo: after a lease began, the connections before it are
// history, and nobody shall take them for what happens now.
func TestARowThatIsOverSaysSo(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 22, 14, 0, s, 0, time.UTC) }
	row := func(v flow.Verdict, enforced bool, from, to, open int) *store.PairRow {
		id := store.PairID{Source: "default/intruder", Destination: "shop/db", Port: 22, Protocol: flow.TCP, Verdict: v, Candidate: flow.Deny, Enforced: enforced}
		e := flow.Event{Verdict: v, Candidate: flow.Deny, Enforced: enforced, Protocol: flow.TCP}
		return &store.PairRow{ID: id, First: at(from), Last: at(to), Open: open, Flows: 3, Rate: 100, Sample: &store.FlowRow{Event: e}}
	}
	other := row(flow.Allow, false, 0, 5, 0)
	other.ID.Port = 23
	for _, c := range []struct {
		name string
		rows []*store.PairRow
		over []bool
	}{
		{"alone", []*store.PairRow{row(flow.Allow, false, 0, 10, 0)}, []bool{false}},
		{"before a lease", []*store.PairRow{row(flow.Allow, true, 11, 20, 0), row(flow.Allow, false, 0, 10, 0)}, []bool{false, true}},
		{"still open", []*store.PairRow{row(flow.Allow, true, 11, 20, 0), row(flow.Allow, false, 0, 10, 1)}, []bool{false, false}},
		{"both at once", []*store.PairRow{row(flow.Allow, true, 5, 20, 0), row(flow.Allow, false, 0, 10, 0)}, []bool{false, false}},
		{"another port", []*store.PairRow{row(flow.Allow, true, 11, 20, 0), other}, []bool{false, false}},
	} {
		p := NewTalks(env(&drafts{}))
		p.Resize(120, 40)
		ids := func(r *store.PairRow) store.PairID { return r.ID }
		p.Set(newBatch(c.rows, 0, len(c.rows), ids))
		for i, r := range c.rows {
			verdict, rate := p.cell(r, "verdict").Text, p.cell(r, "rate").Text
			note := strings.Join(p.why(r, 120), "\n")
			if got := strings.HasPrefix(verdict, "· would deny"); got != c.over[i] || (rate == "over") != got || strings.Contains(note, "until 14:00:10; what came since is ✗ denied") != got {
				t.Errorf("%s: row %d is %q, %q, %q", c.name, i, verdict, rate, note)
			}
		}
	}
}
