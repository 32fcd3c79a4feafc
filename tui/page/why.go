// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Why tells one flow's story, or one drop's: the reason in words first, then
// the facts that it rests on.
type Why struct {
	env           *Env
	id            *store.FlowID // of a flow; nil: only the event is known
	row           *store.FlowRow
	drop          *store.DropRow
	event         flow.Event
	history       []flow.Event
	isolation     []flow.Isolation // at its node
	explained     verdictKey       // what more is about
	more          Explanation
	gone          bool
	top, length   int
	width, height int
}

var _ Page = (*Why)(nil)

// NewWhy opens the story of a flow and follows it.
func NewWhy(env *Env, row *store.FlowRow) *Why {
	id := row.ID
	return &Why{env: env, id: &id, row: row, event: row.Event}
}

// NewWhyDrop opens the story of a drop.
func NewWhyDrop(env *Env, drop *store.DropRow) *Why {
	return &Why{env: env, drop: drop, event: drop.Event}
}

// NewWhyEvent opens the story of an event of the timeline.
func NewWhyEvent(env *Env, e flow.Event) *Why { return &Why{env: env, event: e} }

// Name implements [Page].
func (p *Why) Name() string { return "why" }

// Crumb implements [Page].
func (p *Why) Crumb() string { return "why" }

// Rev implements [Page].
func (p *Why) Rev() int { return 0 }

// told is the digest: the flow as it is now, and what happened to it.
type told struct {
	row       *store.FlowRow
	history   []flow.Event
	isolation []flow.Isolation
	explained verdictKey
	more      Explanation
}

// verdictKey is what an explanation depends on.
type verdictKey struct {
	verdict, candidate flow.Verdict
	altered            int
	known              bool
}

// Ask implements [Page].
func (p *Why) Ask() (store.Query, func(*store.Snapshot) any) {
	if p.id == nil {
		return store.Query{Nodes: true}, func(*store.Snapshot) any { return nil }
	}
	explainer, _ := p.env.Actions.(Explainer)
	before := told{explained: p.explained, more: p.more}
	return store.Query{Nodes: true, Selected: p.id}, func(s *store.Snapshot) any {
		t := before
		t.row, t.history = s.Selected, s.FlowEvents
		for i := range s.Isolation {
			if t.row != nil && s.Isolation[i].Node == t.row.ID.Node {
				t.isolation = append(t.isolation, s.Isolation[i])
			}
		}
		if t.row == nil || explainer == nil {
			return t
		}
		// This runs outside the screen's loop; it is done once for each verdict.
		if now := (verdictKey{t.row.Event.Verdict, t.row.Event.Candidate, t.row.Altered, true}); now != t.explained {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			t.explained = now
			t.more, _ = explainer.Explain(ctx, t.row) // what isn't known isn't shown
		}
		return t
	}
}

// Set implements [Page].
func (p *Why) Set(digest any) {
	t, ok := digest.(told)
	if !ok {
		return
	}
	p.gone = t.row == nil
	if t.row != nil {
		p.row, p.event, p.history, p.isolation = t.row, t.row.Event, t.history, t.isolation
		p.explained, p.more = t.explained, t.more
	}
}

// Resize implements [Page].
func (p *Why) Resize(w, h int) { p.width, p.height = w, h }

// Key implements [Page].
func (p *Why) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Up):
		p.top--
	case key.Matches(msg, k.Down):
		p.top++
	case key.Matches(msg, k.PageUp):
		p.top -= max(1, p.height-2)
	case key.Matches(msg, k.PageDown):
		p.top += max(1, p.height-2)
	case key.Matches(msg, k.Home):
		p.top = 0
	case key.Matches(msg, k.End):
		p.top = p.length
	default:
		return Effect{}, false
	}
	return Effect{}, true
}

// Wheel scrolls.
func (p *Why) Wheel(n int) { p.top += n }

// Click does nothing: there is nothing to hit.
func (p *Why) Click(int, int) Effect { return Effect{} }

// Copy gives the event as the JSON object that -o json prints.
func (p *Why) Copy() string {
	line, _ := part.JSON(&p.event)
	return line
}

// Export gives the event and its history as JSON Lines.
func (p *Why) Export() (lines []string, ext string) {
	lines = append(lines, p.Copy())
	for i := range p.history {
		if b, ok := part.JSON(&p.history[i]); ok {
			lines = append(lines, b)
		}
	}
	return lines, "jsonl"
}

// Changing implements [Changer].
func (p *Why) Changing() (PolicyID, bool) { return changing(&p.event) }

// Sections implements [Page].
func (p *Why) Sections() []keys.Section { return nil }

// Footer implements [Page].
func (p *Why) Footer() []key.Binding {
	k := p.env.Keys
	out := []key.Binding{k.Back}
	if p.event.WouldChange() {
		out = append(out, p.env.toPolicies())
	}
	return append(out, k.Copy, k.Export, k.Freeze)
}

// Scrolls implements [Scroller].
func (p *Why) Scrolls() bool { return p.length > p.height }

// View implements [Page].
func (p *Why) View() []string {
	lines := p.compose()
	p.length = len(lines)
	p.top = max(0, min(p.top, len(lines)-p.height))
	for i := range lines {
		lines[i] = part.Cut(lines[i], p.width, p.env.Theme.Ellipsis)
	}
	return part.Frame(lines[p.top:], p.height)
}

// compose writes the whole story, as long as it gets.
func (p *Why) compose() []string {
	th, e := p.env.Theme, &p.event
	var out []string
	add := func(lines ...string) { out = append(out, lines...) }
	w := th.Of(e.Verdict, e.Candidate, e.Enforced)
	if e.Type == flow.DropEvent && p.drop != nil {
		w = style.Word{Symbol: th.No, Text: "dropped by " + part.Clean(p.drop.Culprit), Paint: th.Denied}
	}
	about := e.Source != nil || p.target() != nil // else something that happened on a node
	if about {
		add(part.Bar(th, p.width, []part.Segment{{Text: " " + w.String(), Paint: w.Paint}, {
			Text:  peerName(e.Source) + " " + th.Right + " " + peerName(p.target()) + "  " + port(e),
			Paint: th.Strong,
		}}, nil), "")
	} else {
		add(th.Strong.S(" "+part.Clean(string(e.Type))), "")
	}
	for _, s := range p.sentences() {
		for _, l := range part.Wrap(s, min(p.width-2, 100), 8, th.Ellipsis) {
			add(" " + l)
		}
	}
	if p.gone {
		add(" " + th.Dim.S("It has ended and was let go to stay within memory; this is how it was."))
	}
	if e.Verdict != flow.NotJudged || e.Candidate != flow.NotJudged {
		add("")
		p.side(add, "NOW", e.Verdict, e.Rule, e.IsolatedBy)
		if e.Candidate != flow.NotJudged {
			p.side(add, "CANDIDATE", e.Candidate, e.CandidateRule, e.CandidateIsolatedBy)
		}
	}
	p.nearly(add)
	p.blame(add)
	p.asked(add)
	add("")
	if about {
		p.ends(add)
	} else {
		p.happened(add)
	}
	p.fate(add)
	p.traffic(add)
	p.where(add)
	p.past(add)
	return out
}

// wrapped adds a field of several lines.
func (p *Why) wrapped(add func(...string), name string, text string, paint style.Paint) {
	for _, l := range part.Wrap(text, max(10, min(p.width-labelWidth-2, 110)), 6, p.env.Theme.Ellipsis) {
		add(p.field(name, paint.S(l)))
		name = ""
	}
}

const labelWidth = 11

func (p *Why) field(name, value string) string {
	return " " + p.env.Theme.Head.S(part.Fit(name, labelWidth, false, "")) + " " + value
}
