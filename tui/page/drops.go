// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// Drops lists who dropped packets, and why, by culprit and reason.
type Drops struct {
	list[*store.DropRow, dropID]
	benign bool
	known  []*store.DropRow // what was there before it was filtered
}

type dropID struct{ culprit, reason, location, source, destination, port string }

var _ Page = (*Drops)(nil)

// NewDrops makes the page.
func NewDrops(env *Env) *Drops {
	p := &Drops{}
	p.list = list[*store.DropRow, dropID]{env: env, draw: p.cell, note: p.why, empty: p.nothing}
	p.table.Sorted = "culprit" // then by reason: rows keep their place while their numbers grow
	p.table.Columns = []part.Column{
		{Key: "culprit", Title: "DROPPED BY", Letter: "B", Min: 20, Soft: 28, Max: 40, Rising: true},
		{Key: "count", Title: "PACKETS", Letter: "C", Min: 8, Right: true},
		{Key: "source", Title: "SOURCE", Letter: "S", Min: 14, Max: 40, Rank: 1, Rising: true},
		{Key: "destination", Title: "DESTINATION", Letter: "D", Min: 14, Max: 40, Rising: true},
		{Key: "port", Title: "PORT", Letter: "P", Min: 8, Rank: 2, Rising: true},
		{Key: "reason", Title: "KERNEL'S REASON", Letter: "R", Min: 18, Max: 32, Rank: 4, Rising: true},
		{Key: "last", Title: "LAST", Letter: "L", Min: 5, Right: true, Rank: 3, Rising: true},
		{Key: "node", Title: "NODE", Letter: "N", Min: 8, Max: 20, Rank: 6, Rising: true},
		{Key: "location", Title: "WHERE", Min: 20, Max: 40, Rank: 5},
		{Key: "device", Title: "DEVICE", Min: 10, Max: 16, Rank: 7, Wide: true},
		{Key: "nft", Title: "NFT RULE", Min: 20, Max: 60, Rank: 8, Wide: true},
	}
	return p
}

// Name implements [Page].
func (p *Drops) Name() string { return "drops" }

// Crumb implements [Page].
func (p *Drops) Crumb() string {
	if p.benign {
		return "drops (all)"
	}
	return "drops"
}

// Ask implements [Page].
func (p *Drops) Ask() (store.Query, func(*store.Snapshot) any) {
	q := p.query(store.Query{Drops: true, Benign: p.benign})
	q.Trouble = false // every drop listed here is trouble; harmless ones have their own key
	offset := q.Offset
	return q, func(s *store.Snapshot) any {
		return newBatch(s.Drops, offset, s.DropTotal, func(r *store.DropRow) dropID {
			e := &r.Event
			return dropID{r.Culprit + "\x00" + e.Node, e.Reason, e.Location, peerName(e.Source), peerName(e.Destination), port(e)}
		})
	}
}

// dropsLack are the fields of flows that no drop has: nothing would match them.
var dropsLack = []string{"agreement", "host", "observed", "path", "process", "type"}

// SetFilter implements [Filterer].
func (p *Drops) SetFilter(s string) error {
	terms, err := store.FilterTerms(s)
	if err != nil {
		return err
	}
	for _, t := range terms {
		if slices.Contains(dropsLack, t.Field) {
			return fmt.Errorf("filter %q: drops have no %s; their fields are %s. The page of flows knows it (key 2)", t, t.Field, strings.Join(p.Fields(), ", "))
		}
	}
	return p.list.SetFilter(s)
}

// Fields implements [Fielder].
func (p *Drops) Fields() []string {
	return slices.DeleteFunc(store.FilterFields(), func(f string) bool { return slices.Contains(dropsLack, f) })
}

// Values implements [Fielder]: the cluster's names are known elsewhere.
func (p *Drops) Values(field string) []string {
	var out []string
	for _, r := range p.known {
		switch field {
		case "reason":
			out = append(out, part.Clean(r.Event.Reason))
		case "culprit":
			out = append(out, strings.ReplaceAll(part.Clean(r.Culprit), " ", "-"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Set implements [Page].
func (p *Drops) Set(digest any) {
	p.list.Set(digest)
	if p.filter == "" {
		p.known = p.rows
	}
}

// Sifts implements [Sifter]: every drop listed here is trouble.
func (p *Drops) Sifts() bool { return false }

// Key implements [Page].
func (p *Drops) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Enter):
		if r, ok := p.Row(); ok {
			return Effect{Push: NewWhyDrop(p.env, r)}, true
		}
		return Effect{}, true
	case key.Matches(msg, k.Benign):
		p.benign = !p.benign
		p.changed()
		return Effect{}, true
	}
	return p.list.Key(msg)
}

// Sections implements [Page].
func (p *Drops) Sections() []keys.Section {
	return append([]keys.Section{{Title: "Drops", Bindings: []key.Binding{p.env.Keys.Enter, p.env.Keys.Benign}}}, p.list.Sections()...)
}

// Footer implements [Page].
func (p *Drops) Footer() []key.Binding {
	k := p.env.Keys
	enter, benign := k.Enter, k.Benign
	enter.SetHelp("enter", "why")
	if p.benign {
		benign.SetHelp("a", "faults only")
	}
	return []key.Binding{enter, k.Filter, benign, k.Freeze}
}

func (p *Drops) cell(r *store.DropRow, column string) part.Cell {
	th, e := p.env.Theme, &r.Event
	shade := th.Text
	if r.Benign {
		shade = th.Dim
	}
	switch column {
	case "count":
		n := part.Count(r.Count)
		if r.Sampled {
			n = ">" + n
		}
		return part.Cell{Text: n, Paint: shade}
	case "culprit":
		if r.Benign {
			return part.Cell{Text: part.Clean(r.Culprit), Paint: shade}
		}
		return part.Cell{Text: part.Clean(r.Culprit), Paint: th.Denied}
	case "source":
		return part.Cell{Text: p.env.peer(e.Source), Paint: shade}
	case "destination":
		return part.Cell{Text: p.env.peer(e.Destination), Paint: shade}
	case "port":
		return part.Cell{Text: port(e), Paint: shade}
	case "reason":
		return part.Cell{Text: part.Clean(e.Reason), Paint: th.Dim}
	case "last":
		return part.Cell{Text: p.env.age(r.Last), Paint: th.Dim}
	case "node":
		return part.Cell{Text: part.Clean(e.Node), Paint: th.Dim}
	case "location":
		return part.Cell{Text: part.Clean(e.Location), Paint: th.Dim}
	case "device":
		return part.Cell{Text: part.Clean(e.Device), Paint: th.Dim}
	case "nft":
		if e.NftRule != nil {
			return part.Cell{Text: nftRule(e.NftRule)[0], Paint: th.Dim}
		}
	}
	return part.Cell{}
}

func (p *Drops) why(r *store.DropRow, width int) []string {
	s := part.Clean(r.Sentence)
	if s == "" {
		s = "The kernel freed these packets for " + part.Clean(r.Event.Reason) + "."
	}
	if r.Benign {
		s = "Harmless: " + s
	}
	say := []string{s}
	if rule := r.Event.NftRule; rule != nil {
		say = append(say, "The rule: "+strings.Join(nftRule(rule), "  "))
	}
	if at := part.Clean(r.Event.Location); at != "" && p.table.WidthOf("location") == 0 {
		say = append(say, "Freed by the kernel at "+at+".") // what tells this row from another one like it
	}
	return p.notes(width, say...)
}

func (p *Drops) nothing() []string {
	if p.benign {
		return p.env.nothing(p.filter, "No packet was dropped so far", "Drops by anyone appear here: policies, netfilter, routing, full queues, missing sockets.")
	}
	return p.env.nothing(p.filter, "No packet was lost to a fault so far",
		"Drops by anyone appear here: policies, netfilter, routing, full queues, missing sockets. a also shows the harmless ones of ordinary life.")
}

// Export gives the loaded drops as JSON Lines.
func (p *Drops) Export() (lines []string, ext string) {
	for _, r := range p.rows {
		if b, ok := part.JSON(&r.Event); ok {
			lines = append(lines, b)
		}
	}
	return lines, "jsonl"
}
