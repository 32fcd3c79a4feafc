// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// Policy shows one policy's YAML with live counts beside its rules.
type Policy struct {
	env           *Env
	id            PolicyID
	row           *store.PolicyRow // the newest; never nil
	gone          bool
	text          string // the YAML that lines and marks are of
	lines         []string
	painted       []string
	marks         map[int]store.RuleAt
	told          policyTold
	top, room     int // of the text: the first line that is shown, how many fit
	width, height int
}

var _ Page = (*Policy)(nil)

// maxYAML is how many lines of a policy are shown.
const maxYAML = 2000

// NewPolicy opens a policy's page.
func NewPolicy(env *Env, row *store.PolicyRow) *Policy {
	p := &Policy{env: env, id: IDOf(row), row: row}
	p.read()
	return p
}

// Name implements [Page].
func (p *Policy) Name() string { return "policy" }

// Crumb implements [Page].
func (p *Policy) Crumb() string { return part.Clean(slash(p.id.Namespace, p.id.Name)) }

// Rev implements [Page].
func (p *Policy) Rev() int { return 0 }

// read prepares the text, once per version of the policy.
func (p *Policy) read() {
	if p.lines != nil && p.text == p.row.YAML {
		return
	}
	p.text = p.row.YAML
	p.lines = part.CleanLines(p.text, maxYAML)
	p.marks = ruleLines(p.text)
	p.painted = make([]string, len(p.lines))
	for i, l := range p.lines {
		p.painted[i] = part.YAML(l, p.env.Theme)
	}
}

// Resize implements [Page].
func (p *Policy) Resize(w, h int) { p.width, p.height = w, h }

// Key implements [Page].
func (p *Policy) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Up):
		p.top--
	case key.Matches(msg, k.Down):
		p.top++
	case key.Matches(msg, k.PageUp):
		p.top -= max(1, p.height-6)
	case key.Matches(msg, k.PageDown):
		p.top += max(1, p.height-6)
	case key.Matches(msg, k.Home):
		p.top = 0
	case key.Matches(msg, k.End):
		p.top = len(p.lines)
	case key.Matches(msg, k.Enter):
		return Effect{Push: NewFlows(p.env, slash(p.id.Namespace, p.id.Name), p.id.decides())}, true
	case key.Matches(msg, k.Edit):
		return p.edit(), true
	default:
		return p.env.modeKey(msg, p.row)
	}
	return Effect{}, true
}

// decides matches the flows that the policy decides, now or as a candidate.
func (id PolicyID) decides() func(*flow.Event) bool {
	is := func(r *flow.Rule) bool {
		return r != nil && r.Kind == id.Kind && r.Namespace == id.Namespace && r.Name == id.Name
	}
	return func(e *flow.Event) bool {
		if is(e.Rule) || is(e.CandidateRule) {
			return true
		}
		for i := range e.IsolatedBy {
			if is(&e.IsolatedBy[i]) {
				return true
			}
		}
		for i := range e.CandidateIsolatedBy {
			if is(&e.CandidateIsolatedBy[i]) {
				return true
			}
		}
		return false
	}
}

// Take waits for the preview that precedes enforcing, and for the editor.
func (p *Policy) Take(msg tea.Msg) Effect {
	switch m := msg.(type) {
	case editMsg:
		return m.open(p.env.Terminal)
	case editedMsg:
		return p.edited(m)
	}
	return p.env.previewed(msg)
}

// Wheel scrolls.
func (p *Policy) Wheel(n int) { p.top += n }

// Click does nothing: there is nothing to hit.
func (p *Policy) Click(int, int) Effect { return Effect{} }

// Copy gives the YAML.
func (p *Policy) Copy() string { return strings.Join(p.lines, "\n") + "\n" }

// Export gives the YAML.
func (p *Policy) Export() (lines []string, ext string) { return p.lines, "yaml" }

// Sections implements [Page].
func (p *Policy) Sections() []keys.Section {
	k := p.env.Keys
	enter := k.Enter
	enter.SetHelp("enter", "the flows that it decides")
	return []keys.Section{{Title: "Policy", Bindings: []key.Binding{enter, k.Toggle, k.Off, k.DryRun, k.Enforce, k.Edit}}}
}

// Footer implements [Page].
func (p *Policy) Footer() []key.Binding {
	k := p.env.Keys
	enter := k.Enter
	enter.SetHelp("enter", "its flows")
	out := append([]key.Binding{k.Back, enter}, p.env.modeFooter(p.row)...)
	if p.env.Health.Enforcing {
		out = append(out, p.env.toFlows())
	}
	if d, ok := p.env.Actions.(Drafter); ok && d != nil && p.env.Actions.Can("mode") == "" {
		out = append(out, k.Edit)
	}
	return append(out, k.Copy, k.Freeze)
}

// Scrolls implements [Scroller].
func (p *Policy) Scrolls() bool { return p.room < len(p.lines) }

// View implements [Page].
func (p *Policy) View() []string {
	th, r := p.env.Theme, p.row
	if denials(r) != p.told.denied {
		p.env.Until(p.told.at.Add(nearEvery))
	}
	w := p.env.mode(r)
	lines := []string{part.Bar(th, p.width,
		[]part.Segment{{Text: " " + w.String(), Paint: w.Paint}, {Text: part.Clean(string(r.Kind)), Paint: th.Dim, Rank: 2}, {Text: p.Crumb(), Paint: th.Strong}, {Text: "from " + part.Clean(r.Origin), Paint: th.Dim, Rank: 3}},
		[]part.Segment{{Text: pods(r.Selected), Rank: 1}, {Text: part.Count(r.Hits) + " decided", Rank: 1}, {Text: part.Count(r.WouldDeny) + " would deny ", Paint: th.WouldDeny, Rank: 1}})}
	if p.height >= 8 {
		for _, s := range part.Wrap(p.env.policySentence(r), p.width-2, 2, th.Ellipsis) {
			lines = append(lines, " "+th.Dim.S(s))
		}
		lines = append(lines, p.gutterHead())
	}
	if p.gone {
		lines = append(lines, th.Bad.S(part.Cut(" This policy has been deleted; below is how it was.", p.width, th.Ellipsis)))
	}
	if len(p.lines) == 0 {
		lines = append(lines, th.Dim.S(part.Cut(" Its text is not known here.", p.width, th.Ellipsis)))
	}
	var below []string
	if p.height >= 16 {
		below = p.below(max(7, (p.height-len(lines))/3))
	}
	room := p.height - len(lines) - len(below)
	p.room = room
	p.top = max(0, min(p.top, len(p.lines)-room))
	for i := p.top; i < len(p.lines) && i < p.top+room; i++ {
		line := p.count(i+1) + p.painted[i]
		if at, ok := p.marks[i+1]; ok && at.Index < 0 {
			line += th.Dim.S("   " + th.Left + " " + at.Direction.String() + " that no rule allows: denied")
		}
		lines = append(lines, part.Cut(line, p.width, th.Ellipsis))
	}
	if len(below) > 0 {
		lines = part.Frame(lines, p.height-len(below))
		for _, l := range below {
			lines = append(lines, part.Cut(l, p.width, th.Ellipsis))
		}
	}
	return part.Frame(lines, p.height)
}

// narrow is below how many cells the gutter has no room for misses.
const narrow = 70

func (p *Policy) gutter() int {
	if p.width < narrow {
		return part.CountWidth + 1
	}
	return 2*part.CountWidth + 2
}

// gutterHead is the line above the text, with what the gutter's numbers are.
func (p *Policy) gutterHead() string {
	th := p.env.Theme
	title := part.Fit("hits", part.CountWidth, true, "") + " "
	if p.width >= narrow {
		title += part.Fit("missed", part.CountWidth, true, "") + " "
	}
	return th.Head.S(part.Cut(title, p.width, "")) + th.Rule.S(part.Cut(th.Tee+strings.Repeat(th.Line, max(0, p.width-p.gutter()-1)), max(0, p.width-p.gutter()), ""))
}

// count is what stands in the gutter of a line (from 1): of the flows that the
// policy decided in a direction, how many the rule that begins there decided,
// and how many it didn't match.
func (p *Policy) count(line int) string {
	th := p.env.Theme
	at, ok := p.marks[line]
	if !ok {
		return part.Spaces(p.gutter()) + th.Rule.S(th.Bar) + " "
	}
	n := p.row.RuleHits[at]
	paint := th.Strong
	switch {
	case n == 0:
		paint = th.Dim
	case at.Index < 0 && p.row.Current:
		paint = th.Denied
	case at.Index < 0:
		paint = th.WouldDeny
	}
	s := paint.S(part.Fit(part.Count(n), part.CountWidth, true, th.Ellipsis)) + " "
	if p.width >= narrow {
		missed := ""
		if at.Index >= 0 {
			missed = part.Count(p.decidedIn(at.Direction) - n)
		}
		s += th.Dim.S(part.Fit(missed, part.CountWidth, true, th.Ellipsis)) + " "
	}
	return s + th.Rule.S(th.Bar) + " "
}

// decidedIn is how many flows of a direction the policy decided.
func (p *Policy) decidedIn(d flow.Direction) (n uint64) {
	for at, hits := range p.row.RuleHits {
		if at.Direction == d {
			n += hits
		}
	}
	return n
}
