// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// Policies lists the policies with their mode, which is changed here.
type Policies struct {
	list[*store.PolicyRow, PolicyID]
	advice map[PolicyID]Advice
	keep   func(*store.PolicyRow) bool // the filter; nil: all
	all    []*store.PolicyRow          // that there are
}

// PolicyID names a policy: the cluster's and a file's of one name are one row.
type PolicyID struct {
	Kind            flow.RuleKind
	Namespace, Name string
}

// IDOf is the row's id.
func IDOf(r *store.PolicyRow) PolicyID { return PolicyID{r.Kind, r.Namespace, r.Name} }

var _ Page = (*Policies)(nil)

// NewPolicies makes the page.
func NewPolicies(env *Env) *Policies {
	p := &Policies{}
	p.list = list[*store.PolicyRow, PolicyID]{env: env, draw: p.cell, note: p.explain, empty: p.nothing}
	p.table.Sorted = "name"
	p.table.Columns = []part.Column{
		{Key: "mode", Title: "MODE", Letter: "M", Min: 12},
		{Key: "name", Title: "POLICY", Letter: "N", Min: 20, Max: 52, Rising: true},
		{Key: "kind", Title: "KIND", Letter: "K", Min: 14, Max: 26, Rank: 4, Rising: true},
		{Key: "origin", Title: "FROM", Letter: "F", Min: 8, Max: 28, Rank: 3, Rising: true},
		{Key: "pods", Title: "PODS", Letter: "P", Min: 5, Right: true, Rank: 2},
		{Key: "hits", Title: "DECIDED", Letter: "H", Min: 8, Right: true, Rank: 1},
		{Key: "would", Title: "WOULD DENY", Letter: "W", Min: 11, Right: true},
		{Key: "lint", Title: "LINT", Letter: "L", Min: 12, Rank: 2},
		{Key: "weight", Title: "WEIGHT", Letter: "T", Min: 7, Right: true, Rank: 5},
		{Key: "profile", Title: "WEIGHED", Min: 16, Max: 40, Rank: 6, Wide: true},
	}
	return p
}

// Follow puts the cursor on a policy.
func (p *Policies) Follow(id PolicyID) { p.table.Follow(id) }

// Name implements [Page].
func (p *Policies) Name() string { return "policies" }

// Crumb implements [Page].
func (p *Policies) Crumb() string { return "policies" }

// Ask implements [Page].
func (p *Policies) Ask() (store.Query, func(*store.Snapshot) any) {
	q := p.query(store.Query{Policies: true})
	q.Offset, q.Limit, q.Match, q.Trouble = 0, 20_000, nil, false
	p.allAsked()
	keep, order, trouble, actions := p.keep, q.Order, p.env.Trouble, p.env.Actions
	return q, func(s *store.Snapshot) any {
		advice := advise(actions)
		rows := slices.DeleteFunc(slices.Clone(s.Policies), func(r *store.PolicyRow) bool {
			return keep != nil && !keep(r) || trouble && r.WouldDeny == 0 && r.NotEvaluated == "" && len(r.Warnings)+len(advice[IDOf(r)].Findings) == 0
		})
		slices.SortStableFunc(rows, func(a, b *store.PolicyRow) int {
			c := comparePolicies(a, b, order.By, advice)
			if order.Reverse {
				c = -c
			}
			return cmp.Or(c, cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Origin, b.Origin))
		})
		return advised{newBatch(rows, 0, len(rows), IDOf), advice, s.Policies}
	}
}

// advised is the digest: the policies and what is known about them.
type advised struct {
	batch  batch[*store.PolicyRow, PolicyID]
	advice map[PolicyID]Advice
	all    []*store.PolicyRow // also those that the filter leaves out
}

// lent is what is exported.
func (a advised) lent() batch[*store.PolicyRow, PolicyID] { return a.batch }

// Set implements [Page].
func (p *Policies) Set(digest any) {
	if d, ok := digest.(advised); ok {
		p.advice, p.all = d.advice, d.all
		p.list.Set(d.batch)
	}
}

func comparePolicies(a, b *store.PolicyRow, by string, advice map[PolicyID]Advice) int {
	of := func(r *store.PolicyRow) *Advice {
		x := advice[IDOf(r)]
		return &x
	}
	switch by {
	case "lint":
		return cmp.Or(compareMarks(of(a), of(b)), cmp.Compare(len(b.Warnings), len(a.Warnings)))
	case "weight":
		return cmp.Compare(of(b).Weight, of(a).Weight)
	case "mode":
		return cmp.Compare(rank(b), rank(a))
	case "kind":
		return cmp.Compare(a.Kind, b.Kind)
	case "origin":
		return cmp.Compare(a.Origin, b.Origin)
	case "pods":
		return cmp.Compare(b.Selected, a.Selected)
	case "hits":
		return cmp.Compare(b.Hits, a.Hits)
	case "would":
		return cmp.Compare(b.WouldDeny, a.WouldDeny)
	}
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// language is what policies are filtered by.
func (p *Policies) language() *fielded[*store.PolicyRow] {
	one := func(s func(*store.PolicyRow) string) func(*store.PolicyRow) []string {
		return func(r *store.PolicyRow) []string { return []string{s(r)} }
	}
	return &fielded[*store.PolicyRow]{
		of: "policies",
		fields: []facet[*store.PolicyRow]{
			{"ns", one(func(r *store.PolicyRow) string { return r.Namespace })},
			{"policy", func(r *store.PolicyRow) []string { return []string{r.Name, slash(r.Namespace, r.Name)} }},
			{"mode", one(func(r *store.PolicyRow) string { return strings.ReplaceAll(p.env.modeNow(r), " ", "-") })},
			{"kind", one(func(r *store.PolicyRow) string { return string(r.Kind) })},
			{"from", one(func(r *store.PolicyRow) string { return r.Origin })},
		},
		text: func(r *store.PolicyRow) string {
			return slash(r.Namespace, r.Name) + " " + string(r.Kind) + " " + r.Origin
		},
	}
}

// SetFilter implements [Filterer].
func (p *Policies) SetFilter(s string) error {
	keep, err := p.language().compile(s)
	if err != nil {
		return err
	}
	p.keep = keep
	p.narrowed(s)
	return nil
}

// Fields implements [Fielder].
func (p *Policies) Fields() []string { return p.language().names() }

// Values implements [Fielder].
func (p *Policies) Values(field string) []string {
	return p.language().values(field, p.all)
}

// Key implements [Page].
func (p *Policies) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	r, ok := p.Row()
	switch {
	case !ok:
	case key.Matches(msg, k.Enter):
		return Effect{Push: NewPolicy(p.env, r)}, true
	default:
		if eff, handled := p.env.modeKey(msg, r); handled {
			return eff, true
		}
	}
	return p.list.Key(msg)
}

// Take waits for the preview that precedes enforcing.
func (p *Policies) Take(msg tea.Msg) Effect { return p.env.previewed(msg) }

// Sections implements [Page].
func (p *Policies) Sections() []keys.Section {
	k := p.env.Keys
	return append([]keys.Section{{Title: "Policies", Bindings: []key.Binding{k.Enter, k.Toggle, k.Off, k.DryRun, k.Enforce}}}, p.list.Sections()...)
}

// Footer implements [Page].
func (p *Policies) Footer() []key.Binding {
	k := p.env.Keys
	enter := k.Enter
	enter.SetHelp("enter", "YAML")
	out := []key.Binding{enter}
	if r, ok := p.Row(); ok {
		out = append(p.env.modeFooter(r), enter)
	}
	if p.env.Health.Enforcing {
		out = append([]key.Binding{p.env.toFlows()}, out...)
	}
	return append(out, k.Filter, k.Trouble, k.Freeze)
}

func (p *Policies) cell(r *store.PolicyRow, column string) part.Cell {
	th := p.env.Theme
	switch column {
	case "mode":
		w := p.env.mode(r)
		return part.Cell{Text: w.String(), Paint: w.Paint}
	case "name":
		return part.Cell{Text: part.Clean(slash(r.Namespace, r.Name))}
	case "kind":
		return part.Cell{Text: part.Clean(string(r.Kind)), Paint: th.Dim}
	case "origin":
		return part.Cell{Text: part.Clean(r.Origin), Paint: th.Dim}
	case "pods":
		return part.Cell{Text: part.Count(uint64(max(0, r.Selected)))}
	case "hits":
		return part.Cell{Text: part.Count(r.Hits)}
	case "would":
		return part.Cell{Text: part.Nought(r.WouldDeny), Paint: th.WouldDeny}
	case "lint":
		a := p.advice[IDOf(r)]
		if w := p.env.marks(&a, len(r.Warnings)); w.Text != "" {
			return part.Cell{Text: w.String(), Paint: w.Paint}
		}
		if p.advice != nil && r.NotEvaluated == "" {
			return part.Cell{Text: "clean", Paint: th.Dim}
		}
	case "weight", "profile":
		a, ok := p.advice[IDOf(r)]
		if !ok || r.NotEvaluated != "" {
			return part.Cell{}
		}
		if column == "profile" {
			return part.Cell{Text: part.Clean(a.Profile), Paint: th.Dim}
		}
		paint := th.Dim
		if a.Weight >= 0.1 {
			paint = th.Warn
		}
		return part.Cell{Text: weight(&a), Paint: paint}
	}
	return part.Cell{}
}

func (p *Policies) explain(r *store.PolicyRow, width int) []string {
	say := []string{p.env.policySentence(r)}
	for _, w := range r.Warnings {
		say = append(say, "Warning: "+part.Clean(w))
	}
	for _, f := range p.advice[IDOf(r)].Findings {
		say = append(say, f.sentence())
	}
	return p.notes(width, say...)
}

func pods(n int) string { return part.Of(uint64(max(0, n)), "pod") }

func (p *Policies) nothing() []string {
	return p.env.nothing(p.filter, "No policy here",
		"The cluster has none in these namespaces, and no file was given. Every pod accepts everything. Try one: kubectl ebpol dry-run -f policy.yaml")
}
