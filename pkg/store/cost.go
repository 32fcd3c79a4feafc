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

// programsRest is after how long without a run programs are at rest.
const programsRest = 10 * time.Second

// programs takes over the programs' totals, those that took the most so far
// first.
func (n *nodeState) programs(list []*wire.ProgramStats, at time.Time) {
	var total, before uint64
	for _, p := range list {
		total += p.GetRunCount()
	}
	for _, r := range n.runs {
		before += r.count
	}
	dt := at.Sub(n.runsAt)
	if total == before && dt < programsRest || dt < 0 {
		return // the probe reads them less often than it sends them
	}
	if n.runs == nil || n.runsAt.IsZero() || total < before {
		n.runs, dt = map[string]programRun{}, 0
	}
	n.runsAt = at
	n.row.CPU = 0
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
			n.row.CPU += c.Share
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b ProgramCost) int {
		return cmp.Or(cmp.Compare(n.runs[b.Name].nanos, n.runs[a.Name].nanos), strings.Compare(a.Name, b.Name))
	})
	n.row.Programs = out
}
