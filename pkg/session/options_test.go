// SPDX-License-Identifier: Apache-2.0

package session

import (
	"testing"
	"testing/synctest"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestOptionsChangeWhileItRuns: every probe is told, once, and nothing that was
// asked for before is forgotten.
func TestOptionsChangeWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("deny")}, Options: &wire.Options{Drops: true, BudgetBytes: 7777}}, "n1", "n2")
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"))}
		only := &wire.Pattern{Port: 5432}
		for _, n := range []string{"n1", "n2"} {
			fake := b.probes[n].fake
			fake.Await(func() bool { return fake.OptionsLocked() != nil })
		}
		b.live.SetOptions(func(o *wire.Options) { o.Only = only })
		for _, n := range []string{"n1", "n2"} {
			fake := b.probes[n].fake
			fake.Await(func() bool {
				o := fake.OptionsLocked()
				return o.GetOnly().GetPort() == 5432 && o.GetDrops() && o.GetBudgetBytes() == 7777
			})
		}
		b.live.SetOptions(func(o *wire.Options) { o.Only = nil })
		for _, n := range []string{"n1", "n2"} {
			fake := b.probes[n].fake
			fake.Await(func() bool { return fake.OptionsLocked().GetOnly() == nil })
		}
		b.close()
	})
}
