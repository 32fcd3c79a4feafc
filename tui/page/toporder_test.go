// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// TestRatesAreInOrderAndRowsKeepTheirPlace: the first order is exact, and a row
// moves once its rate has changed by a quarter.
func TestRatesAreInOrderAndRowsKeepTheirPlace(t *testing.T) {
	p := NewTop(env(nil))
	p.Resize(80, 24)
	order := func(rates ...float64) string {
		var rows []*store.WorkloadRow
		for i, r := range rates {
			rows = append(rows, &store.WorkloadRow{Namespace: "shop", Name: string(rune('a' + i)), Rate: r})
		}
		_, digest := p.Ask()
		p.Set(digest(&store.Snapshot{Workloads: rows}))
		var out []string
		for _, r := range p.rows {
			out = append(out, r.Name)
		}
		return strings.Join(out, "")
	}
	for _, c := range []struct {
		rates []float64
		want  string
	}{
		{[]float64{200, 210, 0, 208}, "bdac"},
		{[]float64{220, 190, 0.2, 230}, "bdac"}, // as they come and go
		{[]float64{300, 190, 0, 230}, "abdc"},
		{[]float64{250, 190, 40, 180}, "abdc"},
		{[]float64{0, 190, 400, 180}, "cbda"},
	} {
		if got := order(c.rates...); got != c.want {
			t.Errorf("%v: %s, want %s", c.rates, got, c.want)
		}
	}
}
