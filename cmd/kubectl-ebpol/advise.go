// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/lint"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/weight"
	"github.com/ebpol/kubectl-ebpol/tui"
)

var _ tui.Adviser = (*actions)(nil)

// adviser finds out beside the screen what is wrong with the policies, and what
// they cost. It rests after each time for twenty times as long as that took.
type adviser struct {
	mu      sync.Mutex
	world   *identity.World
	key     []adviceKey // what found is about
	found   map[tui.PolicyID]tui.Advice
	version uint64 // grows with found
	busy    bool
	rested  time.Time
}

// adviceKey is what the advice about a policy depends on, besides who is who.
type adviceKey struct {
	id                 tui.PolicyID
	yaml               string
	current, candidate bool
}

const (
	adviceSoon = 300 * time.Millisecond // is waited for
	adviceRest = 2 * time.Second        // between two, at least
)

// Advise implements [tui.Adviser].
func (a *actions) Advise(ctx context.Context) map[tui.PolicyID]tui.Advice {
	world := a.looked().World()
	if world == nil {
		return nil
	}
	rows := a.looked().Snapshot(store.Query{Policies: true}).Policies
	key := make([]adviceKey, 0, len(rows))
	for _, r := range rows {
		key = append(key, adviceKey{tui.PolicyID{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}, r.YAML, r.Current, r.Candidate})
	}
	d := &a.advice
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy || d.world == world && slices.Equal(d.key, key) || time.Now().Before(d.rested) {
		return d.found
	}
	d.busy = true
	done := make(chan struct{})
	go func() {
		defer a.lens.poke()
		defer close(done)
		begin := time.Now()
		found := advice(world, rows)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.world, d.key, d.found, d.busy = world, key, found, false
		d.version++
		d.rested = time.Now().Add(max(adviceRest, 20*time.Since(begin)))
	}()
	d.mu.Unlock()
	soon := time.NewTimer(adviceSoon)
	defer soon.Stop()
	select {
	case <-done:
	case <-soon.C:
	case <-ctx.Done():
	}
	d.mu.Lock()
	return d.found
}

// adviceVersion changes when there is something new to show.
func (a *actions) adviceVersion() uint64 {
	a.advice.mu.Lock()
	defer a.advice.mu.Unlock()
	return a.advice.version
}

// advice lints and weighs: those of the candidate set among themselves, what
// stands outside of it among those of the cluster.
func advice(world *identity.World, rows []*store.PolicyRow) map[tui.PolicyID]tui.Advice {
	out := make(map[tui.PolicyID]tui.Advice, len(rows))
	var in, rest, current []*policy.Policy
	ids := map[*policy.Policy]tui.PolicyID{}
	for _, r := range rows {
		if r.YAML == "" || r.NotEvaluated != "" {
			continue
		}
		o, err := policy.Parse([]byte(r.YAML), "")
		if err != nil {
			continue // was good when it was compiled; a text cut short isn't
		}
		for _, p := range o.Policies {
			ids[p] = tui.PolicyID{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
			if r.Current {
				current = append(current, p)
			}
			if r.Candidate {
				in = append(in, p)
			} else {
				rest = append(rest, p)
				if !r.Current {
					current = append(current, p)
				}
			}
		}
	}
	weigh := weight.New(world, weight.Illustrative())
	for _, g := range []struct{ about, all []*policy.Policy }{{in, in}, {rest, current}} {
		if len(g.about) == 0 {
			continue
		}
		byName := map[string]tui.PolicyID{}
		about := map[*policy.Policy]bool{}
		for _, p := range g.about {
			about[p] = true
			byName[string(p.Kind)+" "+p.Key()] = ids[p]
			e := weigh.Of(p)
			x := tui.Advice{Weight: e.Weight, Profile: e.Profile.String()}
			if e.Unknown > 0 {
				x.Unknown = count.Of(e.Unknown, "rule") + " that no limit covers"
			}
			out[ids[p]] = x
		}
		for _, f := range lint.Run(lint.Input{World: world, Policies: g.all, About: func(p *policy.Policy) bool { return about[p] }}) {
			id, ok := byName[string(f.Kind)+" "+f.Policy]
			if !ok {
				continue
			}
			x := out[id]
			if f.Patch != "" { // there is no room for it beside the table
				f.Fix += "; kubectl ebpol lint writes it"
			}
			x.Findings = append(x.Findings, tui.Finding{Severity: f.Severity.String(), ID: f.ID, Line: f.Line, Reason: f.Reason, Fix: f.Fix})
			out[id] = x
		}
	}
	rank := map[string]int{lint.Error.String(): 0, lint.Warning.String(): 1}
	for _, x := range out {
		slices.SortStableFunc(x.Findings, func(a, b tui.Finding) int {
			ra, oka := rank[a.Severity]
			rb, okb := rank[b.Severity]
			if !oka {
				ra = 2
			}
			if !okb {
				rb = 2
			}
			return cmp.Compare(ra, rb)
		})
	}
	return out
}
