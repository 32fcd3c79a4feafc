// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// Confirm lists what enforcing would cut and waits for the word to be typed.
type Confirm struct {
	env           *Env
	policy        *store.PolicyRow
	cuts          []cut
	live          int // connections
	typed         string
	wrong         string
	top, room     int // of the list
	width, height int
}

// confirmWord is what must be typed; a duration may follow.
const confirmWord = "enforce"

var (
	_ Page  = (*Confirm)(nil)
	_ Typer = (*Confirm)(nil)
)

// NewConfirm asks before policy is enforced.
func NewConfirm(env *Env, policy *store.PolicyRow, flows []*store.FlowRow) *Confirm {
	cuts, live := cutsOf(flows)
	return &Confirm{env: env, policy: policy, cuts: cuts, live: live}
}

// Name implements [Page].
func (p *Confirm) Name() string { return "enforce" }

// Crumb implements [Page].
func (p *Confirm) Crumb() string {
	return "enforce " + part.Clean(slash(p.policy.Namespace, p.policy.Name))
}

// Rev implements [Page].
func (p *Confirm) Rev() int { return 0 }

// Set implements [Page].
func (p *Confirm) Set(any) {}

// Typing implements [Typer].
func (p *Confirm) Typing() bool { return true }

// Ask implements [Page].
func (p *Confirm) Ask() (store.Query, func(*store.Snapshot) any) {
	return store.Query{Nodes: true}, func(*store.Snapshot) any { return nil }
}

// Resize implements [Page].
func (p *Confirm) Resize(w, h int) { p.width, p.height = w, h }

// Sections implements [Page].
func (p *Confirm) Sections() []keys.Section {
	k := p.env.Keys
	return []keys.Section{{Title: "Confirm", Bindings: []key.Binding{k.Accept, k.Cancel}}}
}

// Footer implements [Page].
func (p *Confirm) Footer() []key.Binding {
	k := p.env.Keys
	accept := k.Accept
	accept.SetHelp("enter", "enforce, once the word is typed")
	out := []key.Binding{k.Cancel, accept}
	if p.room < len(p.cuts) {
		scroll := k.Move
		scroll.SetHelp(scroll.Help().Key, "scroll")
		out = append(out, scroll)
	}
	return out
}

// Key takes every key: letters type, arrows scroll.
func (p *Confirm) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Cancel):
		return Effect{Pop: true, Toast: "Nothing was enforced."}, true
	case key.Matches(msg, k.Accept):
		return p.accept(), true
	case msg.String() == "up":
		p.Wheel(-1)
	case msg.String() == "down":
		p.Wheel(1)
	case msg.String() == "pgup":
		p.Wheel(-max(1, p.room-1))
	case msg.String() == "pgdown":
		p.Wheel(max(1, p.room-1))
	case msg.String() == "backspace":
		if r := []rune(p.typed); len(r) > 0 {
			p.typed = string(r[:len(r)-1])
		}
	default:
		if text := part.Clean(msg.Text); text != "" && len(p.typed)+len(text) <= 40 {
			p.typed += text
			p.wrong = ""
		}
	}
	return Effect{}, true
}

// Wheel scrolls the list.
func (p *Confirm) Wheel(n int) { p.top = max(0, min(p.top+n, len(p.cuts)-1)) }

// Click does nothing: what cuts traffic is typed.
func (p *Confirm) Click(int, int) Effect { return Effect{} }

func (p *Confirm) accept() Effect {
	total := p.env.EnforceFor
	words := strings.Fields(p.typed)
	switch {
	case len(words) == 2 && words[0] == confirmWord:
		d, err := time.ParseDuration(words[1])
		if err != nil || d < time.Second || d > 24*time.Hour {
			p.wrong = fmt.Sprintf("%q is no duration from 1s to 24h, such as 10m", words[1])
			return Effect{}
		}
		total = d
	case len(words) != 1 || words[0] != confirmWord:
		p.wrong = "type the word " + confirmWord + " to go on, esc to leave everything as it is"
		return Effect{}
	}
	r, a := p.policy, p.env.Actions
	good := part.Clean(slash(r.Namespace, r.Name)) + " is enforced for " + part.Length(total) + ". 2 shows what it cuts; r releases it at once."
	return Effect{Pop: true, Cmd: act(good, func(ctx context.Context) error {
		if err := a.SetMode(ctx, r.Kind, r.Namespace, r.Name, "enforced"); err != nil {
			return err
		}
		return a.Enforce(ctx, total)
	})}
}

// View implements [Page].
func (p *Confirm) View() []string {
	th := p.env.Theme
	wide := max(1, p.width-2)
	var head, tail, ask []string
	say := func(to *[]string, s string, limit int) {
		for _, l := range part.Wrap(s, wide, limit, th.Ellipsis) {
			*to = append(*to, " "+l)
		}
	}
	title := "Enforce %s for %s?"
	if p.policy.Enforced {
		title = "Enforce %s for %s from now on?"
	}
	title = fmt.Sprintf(title, part.Clean(slash(p.policy.Namespace, p.policy.Name)), part.Length(p.env.EnforceFor))
	head = append(head, th.Banner.S(part.Cut(" "+title+" ", p.width, th.Ellipsis)))
	switch n := p.live; n {
	case 0:
		s := "No live connection would be cut. New ones that it denies will be"
		if n := p.policy.WouldDeny; n > 0 && !p.policy.Enforced {
			s += ": of those seen so far, " + part.Count(n)
		}
		say(&head, s+".", 2)
	case 1:
		say(&head, "This live connection would be cut:", 2)
	default:
		say(&head, fmt.Sprintf("These %d live connections would be cut:", n), 2)
	}
	say(&tail, "Packets that it denies are dropped until the time is over, r is pressed, or this program ends by whatever cause.", 2)
	prompt := fmt.Sprintf(" Type %s (or %s 5m) and press enter: ", confirmWord, confirmWord)
	if part.Width(prompt)+10 > p.width {
		prompt = " " + confirmWord + "? "
	}
	ask = append(ask, part.Cut(th.Strong.S(prompt)+th.Match.S(part.Clean(p.typed))+th.Cursor.S(" "), p.width, ""))
	if p.wrong != "" {
		ask = append(ask, th.Bad.S(part.Cut(" "+p.wrong, p.width, th.Ellipsis)))
	}
	if p.room = p.height - len(head) - len(ask); p.room < 0 {
		p.room = 0
		return part.Frame(append([]string{head[0]}, ask...), p.height)
	}
	// What would be cut is worth more than what that means, and than space.
	some := min(len(p.cuts), 3)
	if p.room < some+len(tail) {
		tail = nil
	}
	p.room -= len(tail)
	var space []string
	if p.room >= some+2 {
		space = []string{""}
		p.room -= 2
	}
	lines := slices.Concat(head, space, p.list(p.room), space, tail, ask)
	return part.Frame(lines, p.height)
}

// fewCells is what a process or request needs at least to be recognised.
const fewCells = 16

// list is as many of the flows as there is room for.
func (p *Confirm) list(room int) []string {
	th := p.env.Theme
	var out []string
	p.top = min(p.top, max(0, len(p.cuts)-room))
	for i := p.top; i < len(p.cuts) && len(out) < room; i++ {
		if rest := len(p.cuts) - i; len(out) == room-1 && rest > 1 {
			out = append(out, th.Dim.S(part.Cut(fmt.Sprintf("   and %d more (arrow keys scroll)", rest), p.width, th.Ellipsis)))
			break
		}
		c := p.cuts[i]
		s := fmt.Sprintf("   %s %s %s %s  %s", th.No, c.source, th.Right, c.destination, c.port)
		if c.connections > 1 {
			s += fmt.Sprintf("  %d connections", c.connections)
		}
		s += "  " + part.Rate(c.rate)
		if c.asks != "" && part.Width(s)+fewCells < p.width { // of less of it nobody knows what it is
			s += "  " + c.asks
		}
		out = append(out, th.Denied.S(part.Cut(s, p.width, th.Ellipsis)))
	}
	return out
}
