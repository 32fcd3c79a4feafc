// SPDX-License-Identifier: Apache-2.0

package tui

import (
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// crumbLine is the way back from what was opened. Where there is no room for all
// of it, an ellipsis stands for the pages between the first and this one, then
// for the first too.
func (m *Model) crumbLine(right []part.Segment) string {
	th, last := m.env.Theme, len(m.stack)-1
	whole := make([]int, 0, len(m.stack)) // pages of the stack; -1: those that are left out
	for i := range m.stack {
		whole = append(whole, i)
	}
	ways := [][]int{whole}
	if last > 1 {
		ways = append(ways, []int{0, -1, last})
	}
	ways = append(ways, []int{-1, last})
	var crumbs []part.Segment
	var way []int
	for _, way = range ways {
		crumbs = crumbs[:0]
		for n, i := range way {
			s := part.Segment{Text: th.Ellipsis, Paint: th.Tab}
			if i >= 0 {
				s.Text = m.stack[i].Crumb()
			}
			if i == last {
				s.Paint = th.Strong
			}
			if n > 0 {
				s.Text = th.Crumb + " " + s.Text
			} else {
				s.Text = " " + s.Text
			}
			crumbs = append(crumbs, s)
		}
		if part.Fits(m.width, crumbs, right) {
			break
		}
	}
	line, at := part.BarAt(th, m.width, crumbs, right)
	for _, a := range at {
		to := way[a.Index]
		if to < 0 {
			to = last - 1 // where esc leads
		}
		m.tabs = append(m.tabs, span{a.From, a.To, func() tea.Cmd { return m.climb(to + 1) }})
	}
	return line
}
