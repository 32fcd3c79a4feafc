// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// nearMiss is a flow that the policy denies, and the rule of it that the flow
// all but met.
type nearMiss struct {
	flow string // who to whom on which port
	rule string
	why  string
}

// policyTold is the digest of a policy's page.
type policyTold struct {
	row    *store.PolicyRow // nil: it is gone
	advice Advice
	near   []nearMiss
	denied uint64 // default denials that near is about
	at     time.Time
}

const (
	maxNear   = 4
	nearEvery = 5 * time.Second // looking for near misses walks through the connections
)

// denials is how many flows the policy's default deny has decided.
func denials(r *store.PolicyRow) uint64 {
	return r.RuleHits[store.RuleAt{Direction: flow.Ingress, Index: -1}] + r.RuleHits[store.RuleAt{Direction: flow.Egress, Index: -1}]
}

// Ask implements [Page].
func (p *Policy) Ask() (store.Query, func(*store.Snapshot) any) {
	id, before, actions := p.id, p.told, p.env.Actions
	q := store.Query{Policies: true, Limit: 400}
	look := p.row != nil && denials(p.row) != before.denied && (before.at.IsZero() || p.env.Now.Sub(before.at) >= nearEvery)
	if look {
		q.Flows, q.Match = true, p.isolates()
	}
	return q, func(s *store.Snapshot) any {
		t := policyTold{near: before.near, denied: before.denied, at: before.at, advice: advise(actions)[id]}
		for _, r := range s.Policies {
			if IDOf(r) == id {
				t.row = r
			}
		}
		if look && t.row != nil {
			t.near, t.denied, t.at = nearest(actions, id, s.Flows, before.near), denials(t.row), s.Time
		}
		return t
	}
}

// isolates matches the flows that the policy's default deny denies, now or as a
// candidate.
func (p *Policy) isolates() func(*flow.Event) bool {
	id := p.id
	in := func(list []flow.Rule) bool {
		for i := range list {
			if list[i].Kind == id.Kind && list[i].Namespace == id.Namespace && list[i].Name == id.Name {
				return true
			}
		}
		return false
	}
	return func(e *flow.Event) bool { return in(e.IsolatedBy) || in(e.CandidateIsolatedBy) }
}

// nearest explains some of the denied flows, one for each pair and port: those
// that are shown already first, so that they keep their place.
func nearest(a Actions, id PolicyID, flows []*store.FlowRow, shown []nearMiss) []nearMiss {
	explainer, ok := a.(Explainer)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var out []nearMiss
	of := " " + string(id.Kind) + " " + slash(id.Namespace, id.Name)
	samples := map[string]*store.FlowRow{}
	var texts []string
	for _, r := range flows {
		e := &r.Event
		text := peerGroup(e.Source) + " → " + peerGroup(e.Destination) + " " + port(e)
		if samples[text] == nil {
			samples[text] = r
			texts = append(texts, text)
		}
	}
	place := func(text string) int {
		if at := slices.IndexFunc(shown, func(n nearMiss) bool { return n.flow == text }); at >= 0 {
			return at
		}
		return len(shown)
	}
	slices.SortFunc(texts, func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a, b))
	})
	for _, text := range texts[:min(len(texts), 4*maxNear)] {
		x, err := explainer.Explain(ctx, samples[text])
		if err != nil {
			return out // what isn't known isn't shown
		}
		for _, m := range x.Misses {
			if strings.HasSuffix(m.Rule, of) {
				out = append(out, nearMiss{text, strings.TrimSuffix(strings.TrimSuffix(m.Rule, of), " of"), m.Why})
				break // the nearest
			}
		}
		if len(out) == maxNear {
			break
		}
	}
	return out
}

// Set implements [Page].
func (p *Policy) Set(digest any) {
	t, ok := digest.(policyTold)
	if !ok {
		return
	}
	p.gone = t.row == nil
	p.told = t
	if t.row != nil {
		p.row = t.row
		p.read()
	}
}

// below is what stands under the text: findings, and near misses, in at most
// room lines.
func (p *Policy) below(room int) []string {
	th := p.env.Theme
	var out []string
	say := func(lead, s string) {
		for i, l := range part.Wrap(s, max(10, p.width-4), 2, th.Ellipsis) {
			if i > 0 {
				lead = "  "
			}
			out = append(out, " "+lead+l)
		}
	}
	for _, w := range p.row.Warnings {
		say(th.Warn.S("! "), part.Clean(w))
	}
	for i := range p.told.advice.Findings {
		f := &p.told.advice.Findings[i]
		say(th.Warn.S(map[bool]string{true: th.No, false: "!"}[f.Severity == "error"])+" ", f.sentence())
	}
	for i, n := range p.told.near {
		if i == 0 {
			out = append(out, " "+th.Head.S("NEARLY")+th.Dim.S("  denied by it, and which rule they all but met"))
		}
		flow := strings.Replace(n.flow, "→", th.Right, 1)
		say(th.Denied.S(th.No)+" ", flow+": "+part.Clean(n.rule)+" "+part.Clean(n.why))
	}
	if len(out) == 0 {
		return nil
	}
	if len(out) >= room {
		out = append(out[:max(0, room-2)], th.Dim.S(" "+th.Ellipsis))
	}
	return append([]string{th.Rule.S(strings.Repeat(th.Line, p.width))}, out...)
}
