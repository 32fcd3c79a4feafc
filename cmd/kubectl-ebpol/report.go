// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// replay judges the flows of a recording by other policies, with the reference
// evaluator. What the cluster's policies say of them was recorded. Without
// policies it reports on the dry-run that was recorded.
func (c *dryRunCommand) replay(ctx context.Context) error {
	o, err := c.readRecording(ctx, c.from)
	if err != nil {
		return err
	}
	own := len(c.list) > 0 || len(c.policies.without) > 0
	if !own && !o.tried {
		return fmt.Errorf("recording %q tried no policies of its own: give some with -f, -k or --without", c.from)
	}
	out := &changes{observed: o, out: lines.New(c.Out, c.format), format: c.format, errOut: c.ErrOut, report: c.report}
	out.coverage = func(cover *traffic.Coverage) { cover.NoJobs = noJobs }
	if !own {
		out.list = nil
		out.sum = out.sumUp()
		return c.told(out)
	}
	removed, err := c.judge(o)
	if err != nil {
		return err
	}
	out.list = slices.Concat([]*policy.Policy{}, c.list)
	out.replayed = true
	out.sum = out.sumUpOf(removed)
	return c.told(out)
}

// told prints what was found in a recording.
func (c *dryRunCommand) told(out *changes) error {
	switch {
	case c.report != "":
	case c.format == lines.JSON:
		if err := out.out.Object(out.sum); err != nil {
			return err
		}
	default:
		if err := out.sum.Write(c.Out, "text"); err != nil {
			return err
		}
	}
	return c.finish(out.sum)
}

// judge writes into each flow what the candidate set says of it.
func (c *dryRunCommand) judge(o *observed) (removed []*policy.Policy, err error) {
	state := o.state()
	modes, err := c.policies.leaveOut(state, c.list, c.namespace)
	if err != nil {
		return nil, err
	}
	var kept []*policy.Policy
	for _, p := range state.Policies {
		if _, out := modes[session.KeyOf(p)]; out {
			removed = append(removed, p)
			continue
		}
		kept = append(kept, p)
	}
	candidate := replace(kept, c.list)
	for _, p := range candidate {
		if o.partly[p] {
			fmt.Fprintf(c.ErrOut, "note: the recording doesn't hold the cluster's text of %s %s, but the one that its session tried: give the cluster's with -f to be exact\n", p.Kind, p.Key())
		}
	}
	view := policy.NewView(state.World)
	if !slices.ContainsFunc(slices.Concat(c.list, removed), func(p *policy.Policy) bool {
		for _, pod := range o.log.Pods() {
			if view.Selects(&p.Subject, pod) {
				return true
			}
		}
		return false
	}) {
		return nil, errNobody(c.list, c.policies.without)
	}
	set := o.log.Judge().With(candidate)
	for _, s := range o.log.Seen() {
		s.Candidate, s.CandidateRule, s.CandidateIsolatedBy = flow.NotJudged, nil, nil
		if s.Verdict != flow.NotJudged {
			set.Apply(s)
		}
	}
	return removed, nil
}

// tellLimits says before enforcement what is not judged, or not as it is written.
func (g *globals) tellLimits(s *liveSession, list []*policy.Policy) {
	state := s.watcher.State()
	l := traffic.New()
	l.Know(state.World)
	notes := limitsOf(l, list, state.Policies)
	for _, n := range state.NotEvaluated {
		notes = append(notes, fmt.Sprintf("%s %s/%s is not evaluated: %s", n.Kind, n.Namespace, n.Name, n.Why))
	}
	for i, n := range notes {
		if i == maxNotes {
			fmt.Fprintf(g.ErrOut, "note: and %d more of that kind\n", len(notes)-i)
			return
		}
		fmt.Fprintf(g.ErrOut, "note: %s\n", oneLine(errors.New(n)))
	}
}

const maxNotes = 10
