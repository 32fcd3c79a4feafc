// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/page"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// The smallest window in which anything can be read.
const (
	minWidth  = 20
	minHeight = 5
)

// View is the content, made again only if something has changed since.
func (m *Model) View() tea.View {
	if m.dirty {
		m.dirty = false
		m.renders++
		m.content = m.compose()
	}
	v := tea.NewView(m.content)
	v.AltScreen = true
	v.WindowTitle = "ebpol " + m.page().Name()
	if !m.opt.NoMouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	return v
}

// How the lines are shared out: header, tabs and footer go when it gets low.
func (m *Model) header() int { return 1 }

func (m *Model) tabLines() int {
	switch {
	case m.height >= 20:
		return 2
	case m.height >= 9:
		return 1
	}
	return 0
}

func (m *Model) room() int {
	return max(0, m.height-m.header()-m.tabLines()-m.footer())
}

func (m *Model) compose() string {
	if m.width < minWidth || m.height < minHeight {
		return m.tooSmall()
	}
	m.env.Next = time.Time{}
	lines := make([]string, 0, m.height)
	lines = append(lines, m.head())
	if m.tabLines() > 0 {
		lines = append(lines, m.tabLine())
	}
	if m.tabLines() > 1 {
		lines = append(lines, m.env.Theme.Rule.S(strings.Repeat(m.env.Theme.Line, m.width)))
	}
	m.body = len(lines)
	lines = append(lines, part.Frame(m.page().View(), m.room())...)
	if m.frozen {
		m.env.Next = time.Time{} // ages stand still
	}
	foot := m.foot()
	lines = append(lines[:len(lines)-min(len(foot)-m.footer(), m.room())], foot...)
	s := strings.Join(lines, "\n")
	if m.opt.ASCII {
		s = onlyASCII(s)
	}
	return s
}

func (m *Model) tooSmall() string {
	if m.width <= 0 || m.height <= 0 {
		return ""
	}
	lines := []string{
		"too small:",
		fmt.Sprintf("%dx%d of", m.width, m.height),
		fmt.Sprintf("%dx%d;", minWidth, minHeight),
		"still runs",
	}
	for i := range lines {
		lines[i] = part.Cut(lines[i], m.width, "")
	}
	return strings.Join(lines[:min(len(lines), m.height)], "\n")
}

// head is the first line: what we look at, how much of it, what is at stake.
func (m *Model) head() string {
	th, h := m.env.Theme, &m.env.Health
	title := m.opt.Title
	if title == "" {
		title = h.Source
	}
	left := []part.Segment{{Text: " ebpol", Paint: th.Brand}, {Text: part.Clean(title), Paint: th.Strong, Rank: 3}}
	switch n := len(h.Scope); {
	case n == 0:
	case n <= 3:
		left = append(left, part.Segment{Text: "ns " + part.Clean(strings.Join(h.Scope, ", ")), Rank: 5})
	default:
		left = append(left, part.Segment{Text: strconv.Itoa(n) + " namespaces", Rank: 5})
	}
	var right []part.Segment
	if h.Replay {
		right = append(right, part.Segment{Text: "recording", Paint: th.Warn, Rank: 1})
	} else {
		nodes := part.Segment{Text: fmt.Sprintf("%d/%d nodes", h.NodesLive, h.NodesTotal), Paint: th.Good, Rank: 4}
		if h.NodesLive < h.NodesTotal || h.NodesTotal == 0 {
			nodes.Paint, nodes.Rank = th.Warn, 1
		}
		right = append(right, nodes)
	}
	if r, ok := m.opt.Actions.(Recorder); ok && r.Recording() != "" {
		right = append(right, part.Segment{Text: th.On + " rec", Paint: th.Bad, Rank: 1})
	}
	right = append(right, m.loss()...)
	if h.NotEvaluated > 0 {
		right = append(right, part.Segment{Text: part.Of(uint64(max(0, h.NotEvaluated)), "policy") + " not judged", Paint: th.Warn, Rank: 6})
	}
	switch {
	case h.Enforcing:
		right = append(right, part.Segment{Text: " " + th.No + " ENFORCING " + part.Left(h.EnforceLeft) + " left, lease " + part.Fit(part.Left(h.LeaseLeft), 3, true, "") + " ", Paint: th.Banner, Rank: 1})
		if m.width < 80 {
			right[len(right)-1] = part.Segment{Text: " " + th.No + " ENF " + part.Left(h.EnforceLeft) + " ", Paint: th.Banner}
		}
	case h.HasCandidate:
		right = append(right, part.Segment{Text: th.Would + " candidate on ", Paint: th.WouldDeny, Rank: 2})
	default:
		right = append(right, part.Segment{Text: "no candidate ", Paint: th.Dim, Rank: 7})
	}
	return part.Bar(th, m.width, left, right)
}

// loss says how far the rows can be trusted. Counters are exact whatever
// happens; only samples get lost.
func (m *Model) loss() []part.Segment {
	th, h := m.env.Theme, &m.env.Health
	l := h.Loss
	lost := l.Ring + l.Thinned + l.Resent
	out := []part.Segment{{Text: "exact " + th.Dot + " 0 lost", Paint: th.Dim, Rank: 5}}
	if lost > 0 {
		out[0] = part.Segment{Text: "sampled " + th.Dot + " " + part.Count(lost) + " lost", Paint: th.Warn, Rank: 2}
	}
	if l.Table > 0 {
		out = append(out, part.Segment{Text: part.Count(l.Table) + " not listed", Paint: th.Warn, Rank: 3})
	}
	if h.Gaps > 0 {
		out = append(out, part.Segment{Text: plural(h.Gaps, "gap"), Paint: th.Warn, Rank: 3})
	}
	if h.LetGo > 0 {
		out = append(out, part.Segment{Text: part.Count(h.LetGo) + " let go", Paint: th.Dim, Rank: 6})
	}
	return out
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// tabLine is the tabs, or the crumbs once something was opened, and what
// narrows the page.
func (m *Model) tabLine() string {
	th := m.env.Theme
	var right []part.Segment
	if past := m.env.Past; !past.IsZero() {
		right = append(right, part.Segment{Text: " as of " + past.UTC().Format("15:04:05") + " " + th.Dot + " n: now ", Paint: th.Banner, Rank: 1})
	}
	if m.frozen {
		text := " frozen at " + m.env.Now.UTC().Format("15:04:05") + " " + th.Dot + " counters go on " + th.Dot + " space resumes "
		if m.width < 100 {
			text = " frozen " + th.Dot + " space resumes "
		}
		right = append(right, part.Segment{Text: text, Paint: th.Banner, Rank: 1})
	}
	if m.narrow.text != "" {
		right = append(right, part.Segment{Text: part.Clean(m.narrow.text), Paint: th.Warn, Rank: 3})
	}
	if m.env.Trouble {
		right = append(right, part.Segment{Text: " trouble only ", Paint: th.Banner, Rank: 1})
	}
	if f, ok := m.page().(page.Filterer); ok && f.Filter() != "" && m.prompt == nil {
		right = append(right, part.Segment{Text: "/" + part.Clean(f.Filter()), Paint: th.Match, Rank: 2})
	}
	if s, ok := m.page().(page.Sorted); ok && s.SortedOut() != "" {
		right = append(right, part.Segment{Text: "by " + s.SortedOut(), Paint: th.HeadSorted, Rank: 2})
	}
	if c, ok := m.page().(page.Counter); ok {
		if at, total := c.Position(); total > 0 {
			right = append(right, part.Segment{Text: part.Count(uint64(at+1)) + "/" + part.Count(uint64(total)) + " ", Paint: th.Dim, Rank: 3})
		}
	}
	m.tabs = m.tabs[:0]
	if len(m.stack) > 1 {
		return m.crumbLine(right)
	}
	var tabs []part.Segment
	for i, p := range m.roots {
		s := part.Segment{Text: " " + strconv.Itoa(i+1) + " " + p.Name() + " ", Paint: th.Tab, Rank: 4}
		if p == m.stack[0] {
			s.Paint, s.Rank = th.TabOn, 0
			s.Text = " " + strconv.Itoa(i+1) + " " + p.Crumb() + " "
		}
		tabs = append(tabs, s)
	}
	line, at := part.BarAt(th, m.width, tabs, right)
	for _, a := range at {
		m.tabs = append(m.tabs, span{a.From, a.To, func() tea.Cmd { return m.open(m.roots[a.Index]) }})
	}
	return line
}
