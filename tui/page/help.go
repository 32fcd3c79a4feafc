// SPDX-License-Identifier: Apache-2.0

package page

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// Help shows the keys that work on the page it was opened from, generated
// from the key map, and what the symbols mean.
type Help struct {
	env                *Env
	of                 string
	sections           []keys.Section
	top, length        int
	width, height      int
	commands, language [][2]string
}

var _ Page = (*Help)(nil)

// NewHelp explains a page; commands are the `:` commands with their words.
func NewHelp(env *Env, of Page, commands [][2]string) *Help {
	return &Help{
		env: env, of: of.Name(), commands: commands,
		sections: append(of.Sections(), env.Keys.Everywhere()...),
		language: [][2]string{
			{"/re", "rows that match a regular expression"},
			{"/!re", "rows that don't"},
			{"/-l app=web", "either end's labels"},
			{"/to=db", "by a field: from to pod workload ns service"},
			{"/port=5432", "ip port proto verdict candidate rule reason node"},
			{"/agreement=disagrees", "observed agreement culprit process host path"},
			{"/from=web to!=db", "several must all hold; != is the opposite"},
		},
	}
}

// Name implements [Page].
func (p *Help) Name() string { return "help" }

// Crumb implements [Page].
func (p *Help) Crumb() string { return "help" }

// Rev implements [Page].
func (p *Help) Rev() int { return 0 }

// Set implements [Page].
func (p *Help) Set(any) {}

// Sections implements [Page].
func (p *Help) Sections() []keys.Section { return nil }

// Resize implements [Page].
func (p *Help) Resize(w, h int) { p.width, p.height = w, h }

// Footer implements [Page].
func (p *Help) Footer() []key.Binding { return []key.Binding{p.env.Keys.Back, p.env.Keys.Down} }

// Ask implements [Page].
func (p *Help) Ask() (store.Query, func(*store.Snapshot) any) {
	return store.Query{Nodes: true}, func(*store.Snapshot) any { return nil }
}

// Key implements [Page].
func (p *Help) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Help):
		return Effect{Pop: true}, true
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
func (p *Help) Wheel(n int) { p.top += n }

// Click does nothing: there is nothing to hit.
func (p *Help) Click(int, int) Effect { return Effect{} }

// View implements [Page].
func (p *Help) View() []string {
	blocks := p.blocks()
	columns := max(1, min(3, p.width/52))
	each := p.width / columns
	heights := make([]int, columns)
	cols := make([][]string, columns)
	for _, b := range blocks { // each block goes where it is shortest
		at := 0
		for i := range heights {
			if heights[i] < heights[at] {
				at = i
			}
		}
		cols[at] = append(append(cols[at], b...), "")
		heights[at] += len(b) + 1
	}
	var lines []string
	for i := 0; ; i++ {
		line, more := "", false
		for _, c := range cols {
			s := ""
			if i < len(c) {
				s, more = part.Cut(c[i], each-1, p.env.Theme.Ellipsis), true
			}
			line += s + part.Spaces(each-part.Width(s))
		}
		if !more {
			break
		}
		lines = append(lines, line)
	}
	p.length = len(lines)
	p.top = max(0, min(p.top, len(lines)-p.height))
	return part.Frame(lines[p.top:], p.height)
}

func (p *Help) blocks() [][]string {
	th := p.env.Theme
	var out [][]string
	entry := func(k, desc string) string {
		return " " + th.Key.S(part.Fit(k, 14, false, th.Ellipsis)) + " " + desc
	}
	for _, s := range p.sections {
		b := []string{" " + th.Head.S(s.Title)}
		for _, k := range s.Bindings {
			if k.Enabled() {
				b = append(b, entry(th.KeyName(k.Help().Key), k.Help().Desc))
			}
		}
		if len(b) > 1 {
			out = append(out, b)
		}
	}
	table := func(title string, rows [][2]string) {
		b := []string{" " + th.Head.S(title)}
		for _, r := range rows {
			b = append(b, entry(r[0], r[1]))
		}
		out = append(out, b)
	}
	table("Words", [][2]string{
		{th.Yes + " allowed", "by the policies of the cluster"},
		{th.Would + " would deny", "allowed now, the candidate denies it"},
		{th.No + " denied", "by a policy, or cut by the lease"},
		{th.Unsure + " contested", "implementations differ"},
	})
	table("Filter", p.language)
	table("Commands", p.commands)
	return out
}
