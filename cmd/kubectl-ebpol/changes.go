// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/ebpol/kubectl-ebpol/pkg/confidence"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// summary is the last object of `dry-run -o json`.
type summary = confidence.Report

// changes prints the flows whose verdict the candidate changes, and at the end
// what was seen and what was not.
type changes struct {
	*observed
	out    *lines.Printer
	format lines.Format
	errOut io.Writer

	list     []*policy.Policy        // that the dry-run adds or changes; nil: as the session says
	coverage func(*traffic.Coverage) // tells more of it, such as CronJobs; may be nil
	report   string                  // one of confidence.Formats, instead of lines; empty: lines
	sum      *confidence.Report      // once it has ended
	replayed bool                    // what the session tried is nothing to us
}

func newChanges(out, errOut io.Writer, f lines.Format) *changes {
	return &changes{observed: newObserved(""), out: lines.New(out, f), format: f, errOut: errOut}
}

var _ liner = (*changes)(nil)

// Event implements [liner].
func (c *changes) Event(e *flow.Event) error {
	fresh := c.log.Event(e)
	if c.report != "" {
		return nil
	}
	switch e.Type {
	case flow.LossEvent, flow.GapEvent:
		return c.out.Print(e)
	case flow.FlowEvent, flow.VerdictEvent:
	case flow.DropEvent:
		// What something else stops before it arrives: a policy less would let it
		// through. Its repetitions say nothing new.
		if !fresh {
			return nil
		}
	default:
		return nil
	}
	if !e.WouldChange() {
		return nil
	}
	return c.out.Print(e)
}

// End implements [liner].
func (c *changes) End(s *store.Store) error {
	if err := c.observed.End(s); err != nil {
		return err
	}
	c.sum = c.sumUp()
	switch {
	case c.report != "":
		return nil // printed by whoever asked for it
	case c.format == lines.JSON:
		return c.out.Object(c.sum)
	}
	if _, err := fmt.Fprintln(c.errOut); err != nil {
		return err
	}
	return c.sum.WriteText(c.errOut)
}

func (c *changes) sumUp() *confidence.Report { return c.sumUpOf(nil) }

// sumUpOf is sumUp for a candidate set that leaves policies out which the
// session knew nothing of.
func (c *changes) sumUpOf(removed []*policy.Policy) *confidence.Report {
	snap := c.store.Snapshot(store.Query{Policies: true})
	in := confidence.Input{Log: c.log, Coverage: c.observed.coverage(), Policies: c.list, Source: c.source, Time: snap.Time, Without: removed}
	if c.coverage != nil {
		c.coverage(in.Coverage)
	}
	for _, r := range snap.Policies {
		p := &policy.Policy{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		if read, err := policy.Parse([]byte(r.YAML), ""); err == nil && len(read.Policies) == 1 {
			p = read.Policies[0]
		}
		switch {
		case r.NotEvaluated != "":
			in.NotEvaluated = append(in.NotEvaluated, fmt.Sprintf("%s %s: %s", r.Kind, p.Key(), r.NotEvaluated))
		case c.replayed:
		case r.Current && !r.Candidate:
			in.Without = append(in.Without, p)
		case r.Origin != "cluster" && c.list == nil:
			in.Policies = append(in.Policies, p)
		}
	}
	in.Warnings = limitsOf(c.log, in.Policies, c.policies)
	return confidence.Sum(in)
}

// limitsOf says what of the policies is not judged as it is written, and what
// is judged in a coarser way than it could be.
func limitsOf(l *traffic.Log, list, current []*policy.Policy) []string {
	var out []string
	for _, p := range list {
		for _, w := range p.Warnings {
			out = append(out, fmt.Sprintf("%s %s: %s", p.Kind, p.Key(), w))
		}
	}
	w := l.World()
	if w == nil || len(list) == 0 {
		return out
	}
	var modes []compile.PolicyMode
	for _, p := range replace(current, list) {
		modes = append(modes, compile.PolicyMode{Policy: p, Current: true, Candidate: true})
	}
	compiled, err := compile.New().Compile(compile.Input{Generation: 1, World: w, Policies: modes})
	if err != nil {
		return append(out, oneLine(err))
	}
	return append(out, compiled.Warnings()...)
}

// replace puts the policies of a list in the place of those of the same name.
func replace(current, list []*policy.Policy) []*policy.Policy {
	return (&given{current: current, files: list}).candidate()
}
