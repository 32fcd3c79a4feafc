// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"fmt"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// Talks lists who talks to whom on which port, with the verdict, those with
// trouble first. A service that opens a thousand short connections is one row
// that keeps its place.
type Talks struct {
	list[*store.PairRow, store.PairID]
	changes bool
	over    map[store.PairID]string // rows that are no longer so, with the sentence that says it
}

var _ Page = (*Talks)(nil)

// NewTalks makes the page.
func NewTalks(env *Env) *Talks {
	p := &Talks{}
	p.list = list[*store.PairRow, store.PairID]{env: env, draw: p.cell, note: p.why, empty: p.nothing}
	p.table.Sorted = "verdict"
	p.table.Columns = []part.Column{
		{Key: "verdict", Title: "VERDICT", Letter: "V", Min: 14},
		{Key: "source", Title: "SOURCE", Letter: "S", Min: 14, Soft: 20, Max: 44, Rising: true},
		{Key: "destination", Title: "DESTINATION", Letter: "D", Min: 14, Soft: 20, Max: 44, Rising: true},
		{Key: "port", Title: "PORT", Letter: "P", Min: 8, Max: 10, Rank: 1, Rising: true},
		{Key: "side", Title: "DIR", Min: 3, Rank: 2},
		{Key: "rule", Title: "DECIDED BY", Letter: "R", Min: 20, Max: 48, Rank: 3, Rising: true},
		{Key: "agreement", Title: "AGREES", Letter: "E", Min: 11, Rank: 6},
		{Key: "flows", Title: "CONNS", Letter: "C", Min: part.CountWidth, Right: true, Rank: 2},
		{Key: "open", Title: "OPEN", Min: 5, Right: true, Rank: 8},
		{Key: "drops", Title: "DROPS", Letter: "X", Min: part.CountWidth, Right: true, Rank: 3},
		{Key: "rate", Title: "RATE", Letter: "T", Min: part.RateWidth, Right: true, Rank: 4},
		{Key: "bytes", Title: "BYTES", Letter: "B", Min: part.SizeWidth, Right: true, Rank: 6},
		{Key: "packets", Title: "PKTS", Letter: "K", Min: part.CountWidth, Right: true, Rank: 7},
		{Key: "last", Title: "LAST", Letter: "L", Min: 4, Right: true, Rank: 6, Rising: true},
		{Key: "age", Title: "SINCE", Letter: "A", Min: 6, Right: true, Rank: 9, Rising: true},
		{Key: "observed", Title: "OBSERVED", Letter: "O", Min: 14, Max: 40, Rank: 8, Wide: true},
		{Key: "request", Title: "LAST REQUEST", Min: 16, Max: 48, Rank: 10, Wide: true},
	}
	return p
}

// Changes limits the page to flows whose verdict the candidate changes.
func (p *Talks) Changes(on bool) *Talks {
	p.changes = on
	p.changed()
	return p
}

// Name implements [Page].
func (p *Talks) Name() string { return "flows" }

// Crumb implements [Page].
func (p *Talks) Crumb() string {
	if p.changes {
		return "flows (changes)"
	}
	return "flows"
}

// FlowFilter is the filter as far as the probes may apply it: to which
// connections they tell of.
func (p *Talks) FlowFilter() string { return p.filter }

// Ask implements [Page].
func (p *Talks) Ask() (store.Query, func(*store.Snapshot) any) {
	q := p.query(store.Query{Pairs: true})
	q.Changed = p.changes
	offset := q.Offset
	return q, func(s *store.Snapshot) any {
		return newBatch(s.Pairs, offset, s.PairTotal, func(r *store.PairRow) store.PairID { return r.ID })
	}
}

// Set implements [Page].
func (p *Talks) Set(digest any) {
	p.list.Set(digest)
	p.over = p.past()
}

// past are the rows that tell of what was: all their connections are closed, and
// those that came later came to another verdict.
func (p *Talks) past() map[store.PairID]string {
	var out map[store.PairID]string
	same := func(id store.PairID) store.PairID {
		id.Verdict, id.Candidate, id.Enforced = 0, 0, false
		return id
	}
	latest := make(map[store.PairID]*store.PairRow, len(p.rows)) // by when they began
	for _, r := range p.rows {
		if l := latest[same(r.ID)]; l == nil || r.First.After(l.First) {
			latest[same(r.ID)] = r
		}
	}
	for _, r := range p.rows {
		if r.Open > 0 {
			continue
		}
		if l := latest[same(r.ID)]; l.First.After(r.Last) {
			if out == nil {
				out = map[store.PairID]string{}
			}
			out[r.ID] = fmt.Sprintf("So it was until %s; what came since is %s.", r.Last.UTC().Format("15:04:05"),
				p.env.Theme.Of(l.ID.Verdict, l.ID.Candidate, l.ID.Enforced))
		}
	}
	return out
}

// silence is how long a pair without an open connection says nothing until its
// rate is called closed instead of fading.
const silence = 3 * time.Second

// Key implements [Page].
func (p *Talks) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Enter):
		r, ok := p.Row()
		if !ok {
			return Effect{}, true
		}
		if r.Flows == 1 {
			return Effect{Push: NewWhy(p.env, r.Sample)}, true
		}
		return Effect{Push: NewFlows(p.env, peerGroup(r.Sample.Event.Source)+" "+p.env.Theme.Right+" "+peerGroup(r.Sample.Event.Destination), about(r.ID))}, true
	case key.Matches(msg, k.Changed):
		p.Changes(!p.changes)
		p.table.Start()
		return Effect{}, true
	case key.Matches(msg, k.Each):
		return Effect{Push: NewFlows(p.env, "", nil)}, true
	}
	return p.list.Key(msg)
}

// about matches the connections of a pair, whatever their verdict is by now:
// a row that is followed shall not vanish because something changed.
func about(id store.PairID) func(*flow.Event) bool {
	return func(e *flow.Event) bool {
		return e.Protocol == id.Protocol && e.Direction == id.Direction &&
			(e.Destination == nil || e.Destination.Port == id.Port) && is(e.Source, id.Source) && is(e.Destination, id.Destination)
	}
}

// is reports whether an end belongs to a group as the store names it.
func is(p *flow.Peer, group string) bool {
	switch {
	case p == nil:
		return false
	case p.Workload != "":
		return slash(p.Namespace, p.Workload) == group
	case p.Pod != "":
		return slash(p.Namespace, p.Pod) == group
	}
	return cmp.Or(p.Service, p.Name, p.IP.String()) == group
}

// Changing implements [Changer].
func (p *Talks) Changing() (PolicyID, bool) {
	r, ok := p.Row()
	if !ok {
		return PolicyID{}, false
	}
	return changing(&r.Sample.Event)
}

// Sections implements [Page].
func (p *Talks) Sections() []keys.Section {
	k := p.env.Keys
	return append([]keys.Section{{Title: "Flows", Bindings: []key.Binding{k.Enter, k.Changed, k.Each}}}, p.list.Sections()...)
}

// Footer implements [Page].
func (p *Talks) Footer() []key.Binding {
	k := p.env.Keys
	enter := k.Enter
	enter.SetHelp("enter", "connections")
	if r, ok := p.Row(); ok && r.Flows == 1 {
		enter.SetHelp("enter", "why")
	}
	changed := k.Changed
	if p.changes {
		changed.SetHelp("c", "all flows")
	}
	out := []key.Binding{enter, changed}
	if p.changes {
		out = []key.Binding{enter, p.env.toPolicies(), changed}
	}
	return append(out, k.Filter, k.Each, k.Trouble, k.Freeze)
}

func (p *Talks) cell(r *store.PairRow, column string) part.Cell {
	th, e := p.env.Theme, &r.Sample.Event
	shade := th.Text
	if r.Open == 0 {
		shade = th.Dim
	}
	switch column {
	case "verdict":
		w := th.Of(r.ID.Verdict, e.Candidate, r.ID.Enforced)
		if p.over[r.ID] != "" {
			w.Symbol, w.Paint = th.None, th.Dim
		}
		return part.Cell{Text: w.String() + badge(e), Paint: w.Paint}
	case "source":
		return p.env.groupCell(e.Source, shade)
	case "destination":
		return p.env.groupCell(e.Destination, shade)
	case "port":
		return part.Cell{Text: port(e), Paint: shade}
	case "side":
		return part.Cell{Text: map[flow.Direction]string{flow.Ingress: "in", flow.Egress: "out"}[r.ID.Direction], Paint: th.Dim}
	case "rule":
		return p.env.ruleCell(e, th.Dim)
	case "agreement":
		return p.env.agreementCell(e)
	case "observed":
		return part.Cell{Text: outcome(e), Paint: th.Dim}
	case "request":
		if e.Request != nil {
			return part.Cell{Text: request(e.Request), Paint: th.Dim}
		}
	case "flows":
		return part.Cell{Text: part.Count(uint64(max(0, r.Flows))), Paint: shade}
	case "open":
		return part.Cell{Text: part.Nought(uint64(max(0, r.Open))), Paint: shade}
	case "drops":
		return part.Cell{Text: part.Nought(r.Faults), Paint: th.Denied}
	case "rate":
		switch {
		case p.over[r.ID] != "":
			return part.Cell{Text: "over", Paint: th.Dim}
		case r.Open == 0 && p.env.Now.Sub(r.Last) >= silence:
			return part.Cell{Text: "closed", Paint: th.Dim}
		}
		if r.Open == 0 {
			p.env.Until(r.Last.Add(silence))
		}
		switch {
		case r.Rate < 0.5:
			return part.Cell{Text: part.Rate(0), Paint: th.Dim}
		}
		return part.Cell{Text: part.Rate(r.Rate), Paint: shade}
	case "bytes":
		return part.Cell{Text: part.Size(r.Bytes), Paint: shade}
	case "packets":
		return part.Cell{Text: part.Count(r.Packets), Paint: shade}
	case "last":
		return part.Cell{Text: p.env.age(r.Last), Paint: th.Dim}
	case "age":
		return part.Cell{Text: p.env.age(r.First), Paint: th.Dim}
	}
	return part.Cell{}
}

func (p *Talks) why(r *store.PairRow, width int) []string {
	sentences := story(&r.Sample.Event, r.Sample)
	if over := p.over[r.ID]; over != "" {
		sentences = append([]string{over}, sentences...)
	}
	return p.notes(width, sentences...)
}

func (p *Talks) nothing() []string {
	if p.changes && p.filter == "" && !p.env.Trouble {
		return p.env.noChanges()
	}
	return p.env.nothing(p.filter, "No connection seen yet",
		"A connection appears with its first packet; TCP that was open before at once, UDP as soon as it says something.")
}

// Copy gives the newest connection as the JSON object that -o json prints.
func (p *Talks) Copy() string {
	if r, ok := p.Row(); ok {
		if b, ok := part.JSON(&r.Sample.Event); ok {
			return b
		}
	}
	return ""
}
