// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/explain"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui"
)

var _ tui.Explainer = (*actions)(nil)

// nearMisses is how many rules are worth naming.
const nearMisses = 5

// Explain implements [tui.Explainer]: why no rule lets a denied flow pass, by
// the reference evaluator, from what the store knows; so it works on a
// recording too. The set that denies is asked: the current one if it does.
func (a *actions) Explain(_ context.Context, row *store.FlowRow) (tui.Explanation, error) {
	var none tui.Explanation
	e := &row.Event
	candidate := e.Verdict != flow.Deny
	if candidate && e.Candidate != flow.Deny || e.Source == nil || e.Destination == nil {
		return none, nil
	}
	world := a.looked().World()
	if world == nil {
		return none, fmt.Errorf("why no rule matches: who is who isn't known yet")
	}
	b, err := explain.NewBatch(world, a.policies(candidate), explain.Reference)
	if err != nil {
		return none, err
	}
	x := b.Explain(policy.Packet{Protocol: e.Protocol, Source: e.Source.IP, Destination: e.Destination.IP, Port: e.Destination.Port})
	side := &x.Ingress
	if e.Direction == flow.Egress {
		side = &x.Egress
	}
	var out tui.Explanation
	for _, m := range side.Misses[:min(len(side.Misses), nearMisses)] {
		ref := m.Policy.RuleRef(m.Rule.Index)
		out.Misses = append(out.Misses, tui.Miss{
			Rule: fmt.Sprintf("%s rule %d of %s %s", e.Direction, m.Rule.Index, m.Policy.Kind, m.Policy.Key()),
			Why:  strings.TrimSpace(strings.TrimPrefix(m.String(), ref.String())),
		})
	}
	if p := side.Patch; p != nil {
		out.Fix, out.FixFor = p.YAML, fmt.Sprintf("%s %s, by kubectl patch --type=json", p.Policy.Kind, p.Policy.Key())
	}
	return out, nil
}

// looked is the store that the screen looks at: of now, or of a moment before.
func (a *actions) looked() *store.Store {
	if a.lens != nil {
		return a.lens.shown()
	}
	return a.store
}

// policies reads the policies of one of the two sets from what the store knows.
func (a *actions) policies(candidate bool) []*policy.Policy {
	var out []*policy.Policy
	for _, r := range a.looked().Snapshot(store.Query{Policies: true}).Policies {
		if r.YAML == "" || candidate && !r.Candidate || !candidate && !r.Current {
			continue
		}
		o, err := policy.Parse([]byte(r.YAML), r.Origin)
		if err != nil {
			continue // was good when it was compiled; a text cut short isn't
		}
		out = append(out, o.Policies...)
	}
	return out
}
