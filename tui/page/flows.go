// SPDX-License-Identifier: Apache-2.0

package page

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Flows lists connections, those with trouble first.
type Flows struct {
	list[*store.FlowRow, store.FlowID]
	about   string // whose flows, if not everybody's
	only    func(*flow.Event) bool
	mine    *filterMark // stands for only
	changes bool
}

var _ Page = (*Flows)(nil)

// NewFlows lists all flows, or, with only, those about something.
func NewFlows(env *Env, about string, only func(*flow.Event) bool) *Flows {
	p := &Flows{about: about, only: only, mine: new(filterMark)}
	p.list = list[*store.FlowRow, store.FlowID]{env: env, draw: p.cell, note: p.why, empty: p.nothing}
	p.table.Sorted = "verdict" // trouble first; within a verdict the newest
	p.table.Columns = []part.Column{
		{Key: "verdict", Title: "VERDICT", Letter: "V", Min: 14},
		{Key: "direction", Title: "DIR", Min: 3, Rank: 2},
		{Key: "source", Title: "SOURCE", Letter: "S", Min: 16, Soft: 24, Max: 44, Rising: true},
		{Key: "destination", Title: "DESTINATION", Letter: "D", Min: 16, Soft: 24, Max: 44, Rising: true},
		{Key: "port", Title: "PORT", Letter: "P", Min: 8, Max: 10, Rank: 1, Rising: true},
		{Key: "rule", Title: "DECIDED BY", Letter: "R", Min: 20, Soft: 26, Max: 48, Rank: 3, Rising: true},
		{Key: "agreement", Title: "AGREES", Letter: "E", Min: 11, Rank: 6},
		{Key: "drops", Title: "DROPS", Letter: "X", Min: part.CountWidth, Right: true, Rank: 2},
		{Key: "rate", Title: "RATE", Letter: "T", Min: part.RateWidth, Right: true, Rank: 4},
		{Key: "bytes", Title: "BYTES", Letter: "B", Min: part.SizeWidth, Right: true, Rank: 7},
		{Key: "packets", Title: "PKTS", Letter: "K", Min: part.CountWidth, Right: true, Rank: 8},
		{Key: "age", Title: "AGE", Letter: "A", Min: 4, Right: true, Rank: 4, Rising: true},
		{Key: "node", Title: "NODE", Letter: "N", Min: 8, Max: 20, Rank: 9, Rising: true},
		{Key: "last", Title: "QUIET", Letter: "L", Min: 5, Right: true, Rank: 10, Wide: true, Rising: true},
		{Key: "sourceIP", Title: "FROM", Min: 15, Max: 39, Rank: 10, Wide: true},
		{Key: "destinationIP", Title: "TO", Min: 15, Max: 39, Rank: 10, Wide: true},
		{Key: "service", Title: "SERVICE", Min: 12, Max: 30, Rank: 11, Wide: true},
		{Key: "observed", Title: "OBSERVED", Letter: "O", Min: 14, Max: 40, Rank: 8, Wide: true},
		{Key: "owner", Title: "PROCESS", Min: 12, Max: 16, Rank: 10, Wide: true},
		{Key: "request", Title: "REQUEST", Min: 16, Max: 48, Rank: 10, Wide: true},
	}
	return p
}

// Changes limits the page to flows whose verdict the candidate changes.
func (p *Flows) Changes(on bool) *Flows {
	p.changes = on
	p.changed()
	return p
}

// Name implements [Page].
func (p *Flows) Name() string { return "connections" }

// Crumb implements [Page].
func (p *Flows) Crumb() string {
	s := "connections"
	if p.about != "" {
		s = "connections of " + part.Clean(p.about)
	}
	if p.changes {
		s += " (changes)"
	}
	return s
}

// FlowFilter is the filter as far as the probes may apply it: to which
// connections they tell of.
func (p *Flows) FlowFilter() string { return p.filter }

// Ask implements [Page].
func (p *Flows) Ask() (store.Query, func(*store.Snapshot) any) {
	q := p.query(store.Query{Flows: true})
	q.Changed = p.changes
	if only, match := p.only, p.match; only != nil {
		q.Match = func(e *flow.Event) bool { return only(e) && (match == nil || match(e)) }
		if p.same == nil {
			q.Same = p.mine
		}
	}
	offset := q.Offset
	return q, func(s *store.Snapshot) any {
		return newBatch(s.Flows, offset, s.FlowTotal, func(r *store.FlowRow) store.FlowID { return r.ID })
	}
}

// Key implements [Page].
func (p *Flows) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Enter):
		if r, ok := p.Row(); ok {
			return Effect{Push: NewWhy(p.env, r)}, true
		}
		return Effect{}, true
	case key.Matches(msg, k.Changed):
		p.Changes(!p.changes)
		p.table.Start()
		if p.changes && !p.env.Health.HasCandidate {
			return Effect{Toast: "There is no candidate yet: put a policy into dry-run on the page \"policies\" (key 4)."}, true
		}
		return Effect{}, true
	}
	return p.list.Key(msg)
}

// Sections implements [Page].
func (p *Flows) Sections() []keys.Section {
	return append([]keys.Section{{Title: "Connections", Bindings: []key.Binding{p.env.Keys.Enter, p.env.Keys.Changed}}}, p.list.Sections()...)
}

// Footer implements [Page].
func (p *Flows) Footer() []key.Binding {
	k := p.env.Keys
	enter := k.Enter
	enter.SetHelp("enter", "why")
	changed := k.Changed
	if p.changes {
		changed.SetHelp("c", "all connections")
	}
	return []key.Binding{enter, k.Filter, changed, k.Trouble, k.Freeze}
}

func (p *Flows) cell(r *store.FlowRow, column string) part.Cell {
	th, e := p.env.Theme, &r.Event
	switch column {
	case "verdict":
		w := th.Of(e.Verdict, e.Candidate, e.Enforced)
		return part.Cell{Text: w.String() + badge(e), Paint: w.Paint}
	case "direction":
		return part.Cell{Text: map[flow.Direction]string{flow.Ingress: "in", flow.Egress: "out"}[e.Direction], Paint: th.Dim}
	case "source":
		return part.Cell{Text: p.env.peer(e.Source), Paint: p.shade(r)}
	case "destination":
		if r.Backend != nil {
			return part.Cell{Text: p.env.peer(r.Backend), Paint: p.shade(r)}
		}
		return part.Cell{Text: p.env.peer(e.Destination), Paint: p.shade(r)}
	case "port":
		return part.Cell{Text: port(e), Paint: p.shade(r)}
	case "rule":
		return p.env.ruleCell(e, th.Dim)
	case "agreement":
		return p.env.agreementCell(e)
	case "observed":
		return part.Cell{Text: outcome(e), Paint: th.Dim}
	case "owner":
		if e.Owner != nil {
			return part.Cell{Text: part.Clean(e.Owner.Command), Paint: th.Dim}
		}
	case "request":
		if e.Request != nil {
			return part.Cell{Text: request(e.Request), Paint: th.Dim}
		}
	case "drops":
		return part.Cell{Text: part.Nought(r.Faults), Paint: th.Denied}
	case "rate":
		if r.Closed {
			return part.Cell{Text: "closed", Paint: th.Dim}
		}
		return part.Cell{Text: part.Rate(r.Rate), Paint: p.shade(r)}
	case "bytes":
		return part.Cell{Text: part.Size(r.BytesIn + r.BytesOut), Paint: p.shade(r)}
	case "packets":
		return part.Cell{Text: part.Count(r.PacketsIn + r.PacketsOut), Paint: p.shade(r)}
	case "age":
		return part.Cell{Text: p.env.age(r.First), Paint: th.Dim}
	case "last":
		return part.Cell{Text: p.env.age(r.Last), Paint: th.Dim}
	case "node":
		return part.Cell{Text: part.Clean(r.ID.Node), Paint: th.Dim}
	case "sourceIP":
		return part.Cell{Text: address(e.Source), Paint: th.Dim}
	case "destinationIP":
		return part.Cell{Text: address(e.Destination), Paint: th.Dim}
	case "service":
		if e.Destination != nil {
			return part.Cell{Text: part.Clean(e.Destination.Service), Paint: th.Dim}
		}
	}
	return part.Cell{}
}

// shade makes what has ended recede.
func (p *Flows) shade(r *store.FlowRow) (none style.Paint) {
	if r.Closed {
		return p.env.Theme.Dim
	}
	return none
}

func (p *Flows) why(r *store.FlowRow, width int) []string {
	return p.notes(width, story(&r.Event, r)...)
}

func (p *Flows) nothing() []string {
	if p.changes && p.filter == "" && !p.env.Trouble {
		return p.env.noChanges()
	}
	return p.env.nothing(p.filter, "No connection seen yet",
		"A connection appears with its first packet; TCP that was open before at once, UDP as soon as it says something.")
}

// Copy gives the flow as the JSON object that -o json prints.
func (p *Flows) Copy() string {
	if r, ok := p.Row(); ok {
		if b, ok := part.JSON(&r.Event); ok {
			return b
		}
	}
	return ""
}

// Export gives the loaded flows as JSON Lines.
func (p *Flows) Export() (lines []string, ext string) {
	for _, r := range p.rows {
		if b, ok := part.JSON(&r.Event); ok {
			lines = append(lines, b)
		}
	}
	return lines, "jsonl"
}
