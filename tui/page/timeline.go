// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Timeline lists what happened, the newest first: verdict changes, drops,
// losses and gaps.
type Timeline struct {
	list[*store.Moment, uint64]
	all   bool      // also what is ordinary
	since time.Time // of the oldest event that is kept; zero: none is
}

var _ Page = (*Timeline)(nil)

// NewTimeline makes the page.
func NewTimeline(env *Env) *Timeline {
	p := &Timeline{}
	p.list = list[*store.Moment, uint64]{env: env, draw: p.cell, empty: p.nothing}
	p.table.Sorted = "time"
	p.table.Stay() // the newest is what one waits for
	p.table.Columns = []part.Column{
		{Key: "time", Title: "TIME (UTC)", Letter: "T", Min: 12},
		{Key: "event", Title: "WHAT HAPPENED", Min: 20, Soft: 64, Max: 200},
		{Key: "node", Title: "NODE", Min: 8, Max: 20, Rank: 5},
	}
	return p
}

// Name implements [Page].
func (p *Timeline) Name() string { return "timeline" }

// Crumb implements [Page].
func (p *Timeline) Crumb() string {
	if p.all {
		return "timeline (all)"
	}
	return "timeline"
}

// Ask implements [Page].
func (p *Timeline) Ask() (store.Query, func(*store.Snapshot) any) {
	q := p.query(store.Query{Timeline: true, Telling: !p.all})
	offset := q.Offset
	return q, func(s *store.Snapshot) any {
		rows := make([]*store.Moment, len(s.Timeline))
		for i := range s.Timeline {
			rows[i] = &s.Timeline[i]
		}
		b := newBatch(rows, offset, s.TimelineTotal, func(m *store.Moment) uint64 { return m.Number })
		return kept{b, s.TimelineFrom}
	}
}

// kept is the digest: the events, and since when any are kept.
type kept struct {
	batch[*store.Moment, uint64]
	since time.Time
}

// Set implements [Page].
func (p *Timeline) Set(digest any) {
	if k, ok := digest.(kept); ok {
		p.since = k.since
		p.list.Set(k.batch)
	}
}

// Key implements [Page].
func (p *Timeline) Key(msg tea.KeyPressMsg) (Effect, bool) {
	if key.Matches(msg, p.env.Keys.Benign) {
		p.all = !p.all
		p.changed()
		return Effect{}, true
	}
	if eff, handled := p.scrub(msg); handled {
		return eff, true
	}
	if key.Matches(msg, p.env.Keys.Enter) {
		e, ok := p.Row()
		switch {
		case !ok:
			return Effect{}, true
		case e.Type == flow.PolicyEvent && e.Rule != nil:
			id := PolicyID{e.Rule.Kind, e.Rule.Namespace, e.Rule.Name}
			return Effect{Push: NewFlows(p.env, ruleShort(*e.Rule), id.decides())}, true
		case e.Type == flow.PodEvent && e.Source != nil:
			ns, name := e.Source.Namespace, e.Source.Pod
			of := func(q *flow.Peer) bool { return q != nil && q.Namespace == ns && q.Pod == name }
			return Effect{Push: NewFlows(p.env, peerName(e.Source), func(e *flow.Event) bool { return of(e.Source) || of(e.Destination) })}, true
		}
		return Effect{Push: NewWhyEvent(p.env, e.Event)}, true
	}
	return p.list.Key(msg)
}

// Sections implements [Page].
func (p *Timeline) Sections() []keys.Section {
	k := p.env.Keys
	own := []key.Binding{k.Enter, k.Benign, k.Earlier, k.Later}
	if _, _, _, ok := p.env.span(); ok {
		own = append(own, k.Moment)
	}
	return append([]keys.Section{{Title: "Timeline", Bindings: own}}, p.list.Sections()...)
}

// Footer implements [Page].
func (p *Timeline) Footer() []key.Binding {
	k := p.env.Keys
	enter := k.Enter
	enter.SetHelp("enter", "why")
	if e, ok := p.Row(); ok && (e.Type == flow.PolicyEvent || e.Type == flow.PodEvent) {
		enter.SetHelp("enter", "its connections")
	}
	all := k.Benign
	if p.all {
		all.SetHelp("a", "what matters only")
	}
	out := []key.Binding{enter, k.Filter, all}
	if _, _, _, ok := p.env.span(); ok {
		earlier := k.Earlier
		earlier.SetHelp("←/→", "scrub")
		out = append(out, earlier, k.Moment)
	} else if p.env.records() {
		begin := k.Record
		begin.SetHelp("s", "record, to go back later")
		out = append(out, begin)
	}
	if !p.env.Past.IsZero() {
		out = append([]key.Binding{k.Present}, out...)
	}
	return append(out, k.Freeze)
}

func (p *Timeline) cell(m *store.Moment, column string) part.Cell {
	th, e := p.env.Theme, &m.Event
	switch column {
	case "time":
		return part.Cell{Text: clock(e.Time), Paint: th.Dim}
	case "event":
		return part.Cell{Text: eventLine(th, e, true), Paint: eventPaint(th, e)}
	case "node":
		return part.Cell{Text: part.Clean(e.Node), Paint: th.Dim}
	}
	return part.Cell{}
}

func (p *Timeline) nothing() []string {
	return p.env.nothing(p.filter, "Nothing has happened yet",
		"Verdict changes, denials, drops, policy changes, losses and gaps are written down here as they happen. a also shows the connections of ordinary life.")
}

// Export gives the events as JSON Lines.
func (p *Timeline) Export() (lines []string, ext string) {
	for _, e := range p.rows {
		if b, ok := part.JSON(&e.Event); ok {
			lines = append(lines, b)
		}
	}
	return lines, "jsonl"
}

func eventPaint(th *style.Theme, e *flow.Event) style.Paint {
	switch e.Type {
	case flow.DropEvent:
		return th.Denied
	case flow.LossEvent, flow.GapEvent:
		return th.Warn
	case flow.OutcomeEvent:
		if e.Agreement == flow.DeniedButDelivered || e.Agreement == flow.AllowedButDropped {
			return th.Bad
		}
		return th.Text
	case flow.CloseEvent:
		return th.Dim
	case flow.PolicyEvent, flow.LeaseEvent:
		return th.Strong
	case flow.FlowEvent, flow.VerdictEvent:
		return th.Of(e.Verdict, e.Candidate, e.Enforced).Paint
	}
	return th.Text
}

// eventLine is one event in one unpainted line; ends says who is concerned,
// which a flow's own history leaves out.
func eventLine(th *style.Theme, e *flow.Event, ends bool) string {
	who := ""
	if ends && (e.Source != nil || e.Destination != nil) {
		who = peerName(e.Source) + " " + th.Right + " " + peerName(e.Destination) + " " + port(e) + "  "
	}
	w := th.Of(e.Verdict, e.Candidate, e.Enforced)
	why := decider(e)
	if why != "" {
		why = "  " + why
	}
	switch e.Type {
	case flow.FlowEvent:
		return w.String() + "  " + who + "first packet" + why
	case flow.VerdictEvent:
		return w.String() + "  " + who + "verdict changed" + why
	case flow.CloseEvent:
		return th.None + " closed  " + who + packets(e.Packets) + ", " + part.Size(e.Bytes)
	case flow.DropEvent:
		s := th.No + " dropped  " + who + part.Clean(e.Reason)
		if e.Location != "" {
			s += " at " + part.Clean(e.Location)
		}
		return s
	case flow.OutcomeEvent:
		became, took := outcome(e), timings(e)
		switch {
		case strings.HasPrefix(took, became+" "): // "answered after 13µs" says it already
			became = took
		case took != "":
			became += ", " + took
		}
		s := th.Bullet + " " + who + became
		if e.Agreement != "" && e.Agreement != flow.Agrees {
			s += "  ! " + part.Clean(string(e.Agreement))
		}
		return s
	case flow.DNSEvent:
		if e.Answer != nil {
			return th.Bullet + " dns  " + who + answer(e.Answer)
		}
	case flow.HopEvent:
		if e.NftRule != nil {
			return th.Bullet + " met  " + who + strings.Join(nftRule(e.NftRule), "  ")
		}
	case flow.PodEvent:
		if e.Source != nil {
			return th.Bullet + " pod  " + peerName(e.Source) + " " + part.Clean(e.Note)
		}
	case flow.PolicyEvent, flow.LeaseEvent:
		return th.Bullet + " " + string(e.Type) + "  " + part.Clean(e.Note)
	case flow.LossEvent:
		return th.Gap + " " + part.Of(e.Lost, "sample") + " lost: " + part.Clean(e.Reason) + " (counters stay exact)"
	case flow.GapEvent:
		s := th.Gap + " stream was cut: " + part.Clean(e.Reason)
		if e.Lost > 0 {
			s += ", " + part.Of(e.Lost, "sample") + " not seen"
		}
		return s
	}
	s := part.Clean(e.Note)
	if s == "" {
		s = part.Clean(string(e.Type))
	}
	return th.Bullet + " " + who + s
}
