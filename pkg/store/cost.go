// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// ProgramCost is what one of our programs takes on a node.
type ProgramCost struct {
	Name   string
	PerRun time.Duration // mean of the last ticks; of all time while it rests
	Rate   float64       // runs per second over the last ticks
	Share  float64       // of one core, 0..1, over the last ticks
}

// programRun is what a program had taken when it was last heard of.
type programRun struct{ count, nanos uint64 }

// programs takes over the programs' totals, the dearest first. dt is how long
// ago the totals before were told; 0: they are the first.
func (n *nodeState) programs(list []*wire.ProgramStats, dt time.Duration) {
	if n.runs == nil || dt <= 0 {
		n.runs = map[string]programRun{}
	}
	out := make([]ProgramCost, 0, len(list))
	for _, p := range list {
		name := clean(p.GetName())
		now, was := programRun{p.GetRunCount(), p.GetRunTimeNs()}, n.runs[name]
		n.runs[name] = now
		c := ProgramCost{Name: name}
		if now.count > 0 {
			c.PerRun = time.Duration(now.nanos / now.count) //nolint:gosec // a mean of nanoseconds
		}
		if dt > 0 && now.count > was.count && now.nanos >= was.nanos {
			c.PerRun = time.Duration((now.nanos - was.nanos) / (now.count - was.count)) //nolint:gosec // likewise
			c.Rate = float64(now.count-was.count) / dt.Seconds()
			c.Share = float64(now.nanos-was.nanos) / float64(dt)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b ProgramCost) int {
		return cmp.Or(cmp.Compare(b.PerRun*time.Duration(b.Rate), a.PerRun*time.Duration(a.Rate)), strings.Compare(a.Name, b.Name))
	})
	n.row.Programs = out
}
