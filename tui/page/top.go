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
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Groups are what the page can sum up by.
func Groups() []string { return slices.Clone(groups) }

// Top sums up the traffic by workload, pod, namespace, node, port or external name.
type Top struct {
	list[*store.WorkloadRow, workloadID]
	group string
	held  map[workloadID]float64 // the rates that rows are sorted by; never changed
}

// others is the row of what the store doesn't keep apart.
const others = "(others)"

type workloadID struct{ namespace, name string }

var (
	_ Page = (*Top)(nil)

	groups = []string{"workload", "pod", "namespace", "node", "port", "external"}
)

// NewTop makes the page.
func NewTop(env *Env) *Top {
	p := &Top{group: groups[0]}
	p.list = list[*store.WorkloadRow, workloadID]{env: env, draw: p.cell, empty: p.nothing}
	p.table.Sorted = "rate"
	p.table.Columns = []part.Column{
		{Key: "state", Title: " ", Min: 1},
		{Key: "name", Title: "WORKLOAD", Letter: "N", Min: 14, Soft: 26, Max: 48, Rising: true},
		{Key: "rate", Title: "RATE", Letter: "R", Min: part.RateWidth, Right: true, Rank: 2},
		{Key: "history", Title: "LAST MINUTES", Min: 12, Max: 24, Rank: 5},
		{Key: "allowed", Title: "✓ ALLOW", Letter: "A", Min: 8, Right: true, Rank: 4},
		{Key: "would", Title: "~ WOULD DENY", Letter: "W", Min: 13, Right: true, Rank: 1},
		{Key: "denied", Title: "✗ DENIED", Letter: "D", Min: 9, Right: true},
		{Key: "contested", Title: "? CONTESTED", Letter: "C", Min: 12, Right: true, Rank: 8},
		{Key: "dropped", Title: "DROPPED", Letter: "X", Min: 8, Right: true, Rank: 3},
		{Key: "flows", Title: "OPEN", Letter: "F", Min: part.CountWidth, Right: true, Rank: 6},
		{Key: "in", Title: "IN", Letter: "T", Min: part.SizeWidth, Right: true, Rank: 9},
		{Key: "out", Title: "OUT", Letter: "O", Min: part.SizeWidth, Right: true, Rank: 8},
		{Key: "pods", Title: "PODS", Letter: "P", Min: 5, Right: true, Rank: 7},
		{Key: "nodes", Title: "NODES", Min: 8, Max: 24, Rank: 9, Wide: true},
		{Key: "enforced", Title: "CUT BY US", Min: 9, Right: true, Rank: 9, Wide: true},
	}
	if th := env.Theme; th.ASCII {
		for i := range p.table.Columns {
			c := &p.table.Columns[i]
			c.Title = strings.NewReplacer("✓", th.Yes, "✗", th.No).Replace(c.Title)
		}
	}
	return p
}

// Name implements [Page].
func (p *Top) Name() string { return "top" }

// Crumb implements [Page].
func (p *Top) Crumb() string { return "top by " + p.group }

// Ask implements [Page].
func (p *Top) Ask() (store.Query, func(*store.Snapshot) any) {
	q := p.query(store.Query{Workloads: true, GroupBy: p.group})
	// Groups are few: all of them come, and are filtered and sorted here. A
	// filter by words means the names on the screen, one by fields or labels
	// the flows that are summed up.
	order := q.Order
	q.Offset, q.Limit, q.Unsorted = 0, 20_000, true
	p.allAsked()
	filter, group, trouble, before := p.filter, p.group, q.Trouble, p.held
	if fields(filter) {
		filter = ""
	} else {
		q.Match = nil
	}
	return q, func(s *store.Snapshot) any {
		keep := words(filter)
		list := make([]sorting, 0, len(s.Workloads))
		held := make(map[workloadID]float64, len(s.Workloads))
		for _, r := range s.Workloads {
			if keep(slash(r.Namespace, r.Name)) && (!trouble || r.WouldDeny|r.Denied|r.Contested|r.Dropped|r.Enforced != 0) {
				// the group keeps ids of different groupings apart
				id := workloadID{group + " " + r.Namespace, r.Name}
				held[id] = hold(before[id], r.Rate)
				list = append(list, sorting{r, id, held[id]})
			}
		}
		slices.SortFunc(list, func(a, b sorting) int {
			c := compareWorkloads(a, b, order.By)
			if order.Reverse {
				c = -c
			}
			if c != 0 {
				return c
			}
			return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
		})
		b := batch[*store.WorkloadRow, workloadID]{total: len(list), rows: make([]*store.WorkloadRow, len(list)), ids: make([]workloadID, len(list))}
		for i, r := range list {
			b.rows[i], b.ids[i] = r.WorkloadRow, r.id
		}
		return ranked{b, held}
	}
}

// ranked is the digest.
type ranked struct {
	batch[*store.WorkloadRow, workloadID]

	held map[workloadID]float64
}

// Set implements [Page].
func (p *Top) Set(digest any) {
	if r, ok := digest.(ranked); ok {
		p.held = r.held
		p.list.Set(r.batch)
	}
}

// Key implements [Page].
func (p *Top) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Enter):
		if r, ok := p.Row(); ok {
			if r.Name == others || r.Name == "pod/"+others {
				return Effect{Toast: "These are too many to be listed one by one."}, true
			}
			return Effect{Push: NewFlows(p.env, slash(r.Namespace, r.Name), p.belongs(r))}, true
		}
		return Effect{}, true
	case key.Matches(msg, k.Changed):
		return Effect{Run: "changes"}, true
	case key.Matches(msg, k.Group):
		i := slices.Index(groups, p.group)
		p.Group(groups[(i+1)%len(groups)])
		return Effect{}, true
	}
	return p.list.Key(msg)
}

// Group sums up by something else, one of [Groups].
func (p *Top) Group(by string) bool {
	if !slices.Contains(groups, by) {
		return false
	}
	p.group = by
	for i := range p.table.Columns {
		if p.table.Columns[i].Key == "name" {
			p.table.Columns[i].Title = strings.ToUpper(by)
			if by == "external" {
				p.table.Columns[i].Title = "EXTERNAL NAME"
			}
		}
	}
	p.table.Start()
	p.changed()
	return true
}

// belongs matches the flows of a row: those of which it is either end.
func (p *Top) belongs(r *store.WorkloadRow) func(*flow.Event) bool {
	ns, name, group := r.Namespace, r.Name, p.group
	if group == "port" {
		return func(e *flow.Event) bool { return port(e) == name }
	}
	if ns == "" && group != "namespace" && group != "node" { // "external" as well // nobody of the cluster: a name or an address
		return func(e *flow.Event) bool { return is(e.Source, name) || is(e.Destination, name) }
	}
	end := func(e *flow.Peer) bool {
		if e == nil {
			return false
		}
		switch group {
		case "namespace":
			return e.Namespace == cmp.Or(name, ns)
		case "node":
			return e.Node == name
		case "pod":
			return e.Namespace == ns && (e.Pod == name || "pod/"+e.Pod == name)
		}
		return e.Namespace == ns && (e.Workload == name || e.Workload == "" && "pod/"+e.Pod == name)
	}
	return func(e *flow.Event) bool {
		return end(e.Source) || end(e.Destination) || group == "node" && e.Node == name
	}
}

// Sections implements [Page].
func (p *Top) Sections() []keys.Section {
	return append([]keys.Section{{Title: "Top", Bindings: []key.Binding{p.env.Keys.Enter, p.changes(), p.env.Keys.Group}}}, p.list.Sections()...)
}

// Footer implements [Page].
func (p *Top) Footer() []key.Binding {
	k := p.env.Keys
	enter := k.Enter
	enter.SetHelp("enter", "connections")
	out := []key.Binding{enter, k.Filter, k.Group, k.Trouble, k.Freeze}
	if p.env.Health.HasCandidate {
		out = append(out[:1:1], append([]key.Binding{p.changes()}, out[1:]...)...)
	}
	return out
}

// changes goes to what the candidate would change.
func (p *Top) changes() key.Binding {
	c := p.env.Keys.Changed
	c.SetHelp("c", "what would change")
	return c
}

func (p *Top) cell(r *store.WorkloadRow, column string) part.Cell {
	th := p.env.Theme
	rare := func(n uint64, paint style.Paint) part.Cell { return part.Cell{Text: part.Nought(n), Paint: paint} }
	switch column {
	case "state":
		switch {
		case r.Denied+r.Enforced > 0:
			return part.Cell{Text: th.No, Paint: th.Denied}
		case r.WouldDeny > 0:
			return part.Cell{Text: th.Would, Paint: th.WouldDeny}
		case r.Contested > 0:
			return part.Cell{Text: th.Unsure, Paint: th.Contested}
		case r.Allowed > 0:
			return part.Cell{Text: th.Yes, Paint: th.Allowed}
		}
		return part.Cell{Text: th.None, Paint: th.Dim}
	case "name":
		name := r.Name
		if p.group == "pod" { // the title says that they are pods
			name = strings.TrimPrefix(name, "pod/")
		}
		c := part.Cell{Text: p.env.short(part.Clean(slash(r.Namespace, name)))}
		if p.group == groups[0] && r.Namespace != "" {
			c.Short = p.env.short(part.Clean(slash(r.Namespace, kindless(r.Name))))
		}
		return c
	case "rate":
		if r.Rate < 0.5 {
			return part.Cell{Text: part.Rate(0), Paint: th.Dim}
		}
		return part.Cell{Text: part.Rate(r.Rate)}
	case "history":
		return part.Cell{Text: part.Spark(r.History, p.table.WidthOf("history"), th.Spark), Paint: th.Trend}
	case "allowed":
		return part.Cell{Text: part.Nought(r.Allowed)}
	case "would":
		return rare(r.WouldDeny, th.WouldDeny)
	case "denied":
		return rare(r.Denied, th.Denied)
	case "contested":
		return rare(r.Contested, th.Contested)
	case "dropped":
		return rare(r.Dropped+r.Enforced, th.Denied) // by anyone, also by us
	case "enforced":
		return rare(r.Enforced, th.Denied)
	case "flows":
		return rare(uint64(max(0, r.Flows)), style.Paint{})
	case "in":
		return part.Cell{Text: part.Size(r.BytesIn), Paint: th.Dim}
	case "out":
		return part.Cell{Text: part.Size(r.BytesOut), Paint: th.Dim}
	case "pods":
		return part.Cell{Text: part.Nought(uint64(max(0, r.Pods))), Paint: th.Dim}
	case "nodes":
		return part.Cell{Text: part.Clean(strings.Join(r.Nodes, ",")), Paint: th.Dim}
	}
	return part.Cell{}
}

func (p *Top) nothing() []string {
	if p.group == "external" {
		return p.env.nothing(p.filter, "Nobody outside the cluster seen yet",
			"Names and addresses outside appear here with their first packet. b groups by something else.")
	}
	return p.env.nothing(p.filter, "No traffic seen yet",
		"Workloads appear with their first packet. Those that stay silent are not listed.")
}
