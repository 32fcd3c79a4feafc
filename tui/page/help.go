// SPDX-License-Identifier: Apache-2.0

package page

import (
	"slices"
	"strings"

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
	p := &Help{
		env: env, of: of.Name(), commands: commands,
		sections: append(asInFooter(of), env.everywhere(of)...),
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
	if f, ok := of.(Fielder); ok {
		list := f.Fields()
		p.language = append(p.language[:2:2], [2]string{"/" + list[0] + "=...", "by a field: " + strings.Join(list, " ")}, [2]string{"/" + list[0] + "!=...", "the opposite; several must all hold"})
	}
	return p
}

// asInFooter are the page's own keys, each in the words that its footer has for
// what the key does now.
func asInFooter(of Page) []keys.Section {
	sections, footer := of.Sections(), of.Footer()
	for i := range sections {
		sections[i].Bindings = slices.Clone(sections[i].Bindings)
		for j, b := range sections[i].Bindings {
			at := slices.IndexFunc(footer, func(f key.Binding) bool { return f.Help().Key == b.Help().Key })
			if at >= 0 {
				sections[i].Bindings[j] = footer[at]
			}
		}
	}
	return sections
}

// everywhere lists the keys of all pages that do something on this one.
func (e *Env) everywhere(of Page) []keys.Section {
	k := e.Keys
	off := []key.Binding{k.Enter} // a page that opens something lists it itself
	unless := func(can bool, b ...key.Binding) {
		if !can {
			off = append(off, b...)
		}
	}
	_, can := of.(Filterer)
	unless(can, k.Filter)
	s, can := of.(Sifter)
	unless(can && s.Sifts(), k.Trouble)
	w, can := of.(Widener)
	unless(can && w.Widens(), k.Wide)
	_, can = of.(interface{ Columns() []string })
	unless(can, k.SortNext, k.SortPrevious, k.SortReverse)
	_, can = of.(Copier)
	unless(can, k.Copy)
	_, can = of.(Exporter)
	unless(can, k.Export)
	unless(e.records() || e.recording(), k.Record)
	unless(e.Health.Enforcing, k.Release)
	unless(!e.Past.IsZero(), k.Present)
	sections := k.Everywhere()
	for i := range sections {
		sections[i].Bindings = slices.DeleteFunc(sections[i].Bindings, func(b key.Binding) bool {
			return slices.ContainsFunc(off, func(o key.Binding) bool { return o.Help() == b.Help() })
		})
	}
	return sections
}

// Name implements [Page].
func (p *Help) Name() string { return "help" }

// Shown are the keys that are explained.
func (p *Help) Shown() []keys.Section { return p.sections }

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
func (p *Help) Footer() []key.Binding { return []key.Binding{p.env.Keys.Back} }

// Scrolls implements [Scroller].
func (p *Help) Scrolls() bool { return p.length > p.height }

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
	columns := p.columns()
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

// columns is in how many columns the blocks stand.
func (p *Help) columns() int { return max(1, min(3, p.width/52)) }

func (p *Help) blocks() [][]string {
	th := p.env.Theme
	var out [][]string
	each := p.width/p.columns() - 1
	entry := func(b []string, names int, k, desc string) []string {
		names = min(names, each/2)
		for i, l := range part.Wrap(desc, max(8, each-names-2), 3, th.Ellipsis) {
			if i > 0 {
				k = ""
			}
			b = append(b, " "+th.Key.S(part.Fit(k, names, false, th.Ellipsis))+" "+l)
		}
		return b
	}
	for _, s := range p.sections {
		b := []string{" " + th.Head.S(s.Title)}
		for _, k := range s.Bindings {
			if k.Enabled() {
				b = entry(b, 14, th.KeyName(k.Help().Key), k.Help().Desc)
			}
		}
		if len(b) > 1 {
			out = append(out, b)
		}
	}
	table := func(title string, rows [][2]string) {
		b := []string{" " + th.Head.S(title)}
		names := 14
		for _, r := range rows {
			names = max(names, part.Width(r[0]))
		}
		for _, r := range rows {
			b = entry(b, names, r[0], r[1])
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
