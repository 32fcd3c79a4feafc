// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"

	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/page"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// footer is how many lines the keys take. Where there is room, the page's own
// keys have a line, and below it stand those that work on every page.
func (m *Model) footer() int {
	if m.height >= 20 {
		return 2
	}
	return 1
}

// maxToast is how many lines a message may take from the page.
const maxToast = 3

// foot is the last lines: the prompt below what is wrong with it, the keys that
// work now, or a message instead of the page's own keys. What is long covers the
// page's last lines.
func (m *Model) foot() []string {
	th := m.env.Theme
	var last []string
	var rest []key.Binding // what found no room in the last line
	switch {
	case m.footer() == 1:
	case m.prompt != nil:
		last = []string{""}
		last[0], _ = m.keyLine(m.prompting(), 0)
	default:
		last = []string{""}
		last[0], rest = m.keyLine(m.standing(), 2)
	}
	switch {
	case m.prompt != nil:
		var lines []string // why it isn't taken, in full, above it
		if m.prompt.Error != "" {
			for _, l := range part.Wrap(part.Clean(m.prompt.Error), m.width-2, maxToast, th.Ellipsis) {
				lines = append(lines, th.Bad.S(" "+part.Fit(l, m.width-1, false, "")))
			}
		}
		return append(append(lines, m.prompt.View(m.width, th)), last...)
	case m.toast != "":
		paint := th.Good
		if m.bad {
			paint = th.Bad
		}
		lines := part.Wrap(m.toast, m.width-2, maxToast, th.Ellipsis)
		for i, l := range lines {
			lines[i] = paint.S(" " + part.Fit(l, m.width-1, false, ""))
		}
		return append(lines, last...)
	case m.footer() > 1:
		line, left := m.keyLine(m.own(), 0)
		if len(left) == 0 { // else what came before it wants the room more
			if more, _ := m.keyWords(rest, 0, m.width-part.Width(line)-1, keys.Brief); more != "" {
				line += " " + more
			}
		}
		return append([]string{line}, last...)
	}
	// What works everywhere fills what the page's own keys leave; how to move
	// is worth more than the page's later keys.
	own, standing := m.own(), m.standing()
	if at := min(len(own), 2); len(standing) > 0 && standing[0].Help().Key == m.env.Keys.Move.Help().Key {
		own = slices.Insert(slices.Clone(own), at, standing[0])
		standing = standing[1:]
	}
	line, _ := m.keyLine(append(slices.Clone(own), standing...), 2)
	return []string{line}
}

// narrowKeys is below how many cells help alone is sure of its place.
const narrowKeys = 60

// keyLine writes as many keys as there is room for, the best first; the last
// few always find room, where it isn't narrow. Words get shorter before a key
// is left out; left is those that are.
func (m *Model) keyLine(bindings []key.Binding, last int) (line string, left []key.Binding) {
	bindings = slices.DeleteFunc(slices.Clone(bindings), func(b key.Binding) bool { return !b.Enabled() })
	last = min(last, len(bindings))
	if line, left := m.keyWords(bindings, last, m.width, func(s string) string { return s }); len(left) == 0 {
		return line, nil
	}
	return m.keyWords(bindings, last, m.width, keys.Brief)
}

// keyWords is keyLine in so many cells, with the words that say gives.
func (m *Model) keyWords(bindings []key.Binding, last, room int, say func(string) string) (line string, left []key.Binding) {
	th := m.env.Theme
	width := func(b key.Binding) int {
		return part.Width(th.KeyName(b.Help().Key)) + part.Width(say(b.Help().Desc)) + 3
	}
	kept := bindings[len(bindings)-last:]
	if m.width < narrowKeys && last > 0 {
		kept = kept[:1]
	}
	reserved := 0
	for _, b := range kept {
		reserved += width(b)
	}
	var out strings.Builder
	used := 0
	for i, b := range bindings {
		w := width(b)
		for _, k := range kept {
			if i >= len(bindings)-last && k.Help() == b.Help() {
				reserved -= w
			}
		}
		if used+w+reserved-1 > room {
			left = append(left, b)
			continue
		}
		if used > 0 {
			out.WriteByte(' ')
		}
		used += w
		out.WriteString(" " + th.Key.S(th.KeyName(b.Help().Key)) + " " + th.KeyText.S(say(b.Help().Desc)))
	}
	return out.String(), left
}

// typing is whether the page takes all keys.
func (m *Model) typing() bool {
	t, ok := m.page().(page.Typer)
	return ok && t.Typing()
}

// bindings are the keys that the footer may show now, the best first.
func (m *Model) bindings() []key.Binding { return append(m.own(), m.standing()...) }

// own are the keys that mean something on this page, or just now.
func (m *Model) own() []key.Binding {
	k := m.env.Keys
	bindings := m.page().Footer()
	if c, ok := m.page().(page.Counter); ok {
		if _, total := c.Position(); total == 0 {
			bindings = without(bindings, k.Enter)
		}
	}
	if m.typing() {
		return bindings
	}
	for _, b := range m.standing() {
		bindings = without(bindings, b)
	}
	if m.frozen {
		thaw := k.Freeze
		thaw.SetHelp("space", "resume")
		bindings = append([]key.Binding{thaw}, without(bindings, k.Freeze)...)
	}
	if m.env.Health.Enforcing {
		bindings = append([]key.Binding{k.Release}, bindings...)
	}
	if len(m.stack) > 1 {
		bindings = append([]key.Binding{k.Back}, without(bindings, k.Back)...)
	}
	return bindings
}

// standing are the keys that do the same on every page that can do it, the
// best first but for help and quit, which are last.
func (m *Model) standing() []key.Binding {
	if m.typing() {
		return nil
	}
	k, p := m.env.Keys, m.page()
	var out []key.Binding
	can := func(ok bool, b ...key.Binding) {
		if ok {
			out = append(out, b...)
		}
	}
	rows := true
	if c, ok := p.(page.Counter); ok {
		_, total := c.Position()
		rows = total > 0
		can(total > 1, k.Move)
	} else if s, ok := p.(page.Scroller); ok {
		scroll := k.Move
		scroll.SetHelp(scroll.Help().Key, "scroll")
		can(s.Scrolls(), scroll)
	}
	_, matrix := p.(*page.Matrix)
	can(matrix, k.Around)
	_, filters := p.(page.Filterer)
	sifter, sifts := p.(page.Sifter)
	widener, widens := p.(page.Widener)
	_, sorts := p.(sorter)
	_, copies := p.(page.Copier)
	_, exports := p.(page.Exporter)
	out = append(out, k.Pages)
	can(filters, k.Filter)
	out = append(out, k.Command)
	can(!m.frozen, k.Freeze)
	can(sorts && rows, k.Sort)
	trouble := k.Trouble
	if m.env.Trouble {
		trouble.SetHelp(trouble.Help().Key, "all rows")
	}
	can(sifts && sifter.Sifts(), trouble)
	can(widens && widener.Widens(), k.Wide)
	copied := k.Copy
	if _, ok := p.(page.Counter); !ok {
		copied.SetHelp(copied.Help().Key, "copy")
	}
	can(copies && rows, copied)
	can(exports && rows, k.Export)
	if r, ok := m.opt.Actions.(Recorder); ok {
		record := k.Record
		if r.Recording() != "" {
			record.SetHelp(record.Help().Key, "end recording")
		}
		can(r.Recording() != "" || m.opt.Actions.Can("record") == "", record)
	}
	return append(out, k.Help, k.Quit)
}

// prompting are the keys of an open prompt.
func (m *Model) prompting() []key.Binding {
	k := m.env.Keys
	earlier := key.NewBinding(key.WithKeys("up"), key.WithHelp("↑", "what was typed before"))
	complete := k.Complete
	if n := m.prompt.Choices(); n > 1 {
		complete.SetHelp(complete.Help().Key, "complete, one of "+part.Count(uint64(n)))
	}
	out := []key.Binding{complete, earlier, k.Accept, k.Cancel}
	if len(m.said[m.prompt.Sign]) == 0 {
		out = without(out, earlier)
	}
	return out
}

func without(bindings []key.Binding, one key.Binding) []key.Binding {
	var out []key.Binding
	for _, b := range bindings {
		if b.Help().Key != one.Help().Key {
			out = append(out, b)
		}
	}
	return out
}
