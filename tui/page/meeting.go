// SPDX-License-Identifier: Apache-2.0

package page

import (
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// grid is who talks to whom: rows and columns have the same names.
type grid struct {
	names []string // sorted
	meets []store.MeetRow
	total int    // meets there are, whether they are here or not
	cells []cell // row by row
	rows  []int  // where a row's cells begin; one more than there are names
}

// cell says what is to be added to a pair of a row.
type cell struct{ to, meet int32 }

func newGrid(s *store.Snapshot) *grid {
	g := &grid{meets: s.Meets, total: s.MeetTotal}
	n := len(s.MeetNames)
	// A service whose backend isn't known is not the workload of that name:
	// such ends have the second half of the places.
	used := make([]bool, 2*n)
	for i := range s.Meets {
		r := &s.Meets[i]
		used[r.From] = true
		used[g.column(r, n)] = true
	}
	type end struct {
		name  string
		place int
	}
	ends := make([]end, 0, n)
	for place, in := range used {
		switch {
		case !in:
		case place < n:
			ends = append(ends, end{part.Clean(s.MeetNames[place]), place})
		default:
			ends = append(ends, end{serviceWord + part.Clean(s.MeetNames[place-n]), place})
		}
	}
	slices.SortFunc(ends, func(a, b end) int { return strings.Compare(a.name, b.name) })
	at := make([]int32, 2*n)
	for _, e := range ends {
		if last := len(g.names) - 1; last < 0 || g.names[last] != e.name {
			g.names = append(g.names, e.name)
		}
		at[e.place] = int32(len(g.names) - 1) //nolint:gosec // bounded by what the store knows
	}
	g.rows = make([]int, len(g.names)+1)
	for i := range s.Meets {
		g.rows[at[s.Meets[i].From]]++
	}
	sum := 0
	for y, count := range g.rows {
		sum += count
		g.rows[y] = sum // its end; filling it backwards makes it the beginning
	}
	g.cells = make([]cell, len(s.Meets))
	for i := range s.Meets {
		r := &s.Meets[i]
		y := at[r.From]
		g.rows[y]--
		g.cells[g.rows[y]] = cell{at[g.column(r, n)], int32(i)} //nolint:gosec // a limited number
	}
	return g
}

// column is the place of a meet's destination among n names and n services.
func (g *grid) column(r *store.MeetRow, n int) int {
	if r.ToService {
		return n + int(r.To)
	}
	return int(r.To)
}

// row sums up the pairs of a row that stand in the columns from left on.
func (g *grid) row(y, left int, into []meeting) {
	clear(into)
	for _, c := range g.cells[g.rows[y]:g.rows[y+1]] {
		if x := int(c.to) - left; x >= 0 && x < len(into) {
			into[x].add(&g.meets[c.meet])
		}
	}
}

// at sums up one pair, and names its ports.
func (g *grid) at(x, y int) (m meeting, ports string) {
	var list []store.Port
	for _, c := range g.cells[g.rows[y]:g.rows[y+1]] {
		if int(c.to) == x {
			m.add(&g.meets[c.meet])
			list = append(list, g.meets[c.meet].Ports...)
		}
	}
	return m, portList(list)
}

// worst is the pair that deserves the first look.
func (g *grid) worst() (x, y int) {
	most := -1
	row := make([]meeting, len(g.names))
	for from := range g.names {
		g.row(from, 0, row)
		for to := range row {
			if gravity := row[to].gravity(); gravity > most {
				x, y, most = to, from, gravity
			}
		}
	}
	return x, y
}

// meeting sums up the flows of a pair.
type meeting struct {
	allowed, would, denied, contested, opened, other int
}

func (m *meeting) add(r *store.MeetRow) {
	n := r.Flows
	switch {
	case r.Enforced:
		m.denied += n
	case r.Verdict == flow.Deny && r.Candidate == flow.Allow:
		m.opened += n
	case r.Verdict == flow.Deny:
		m.denied += n
	case r.Verdict == flow.Allow && r.Candidate == flow.Deny:
		m.would += n
	case r.Verdict == flow.Contested || r.Candidate == flow.Contested:
		m.contested += n
	case r.Verdict == flow.Allow:
		m.allowed += n
	default:
		m.other += n
	}
}

// any says whether they have met.
func (m *meeting) any() bool { return *m != meeting{} }

// portList names some of the ports, the lowest first.
func portList(list []store.Port) string {
	slices.SortFunc(list, store.ComparePorts)
	list = slices.Compact(list)
	words := make([]string, 0, 8)
	for _, p := range list[:min(len(list), cap(words))] {
		words = append(words, portWord(p.Protocol, p.Port))
	}
	return strings.Join(words, " ")
}

// gravity orders pairs by how much they ask to be looked at; -1: they haven't met.
func (m *meeting) gravity() int {
	switch {
	case m.denied+m.opened > 0:
		return 3
	case m.would > 0:
		return 2
	case m.contested > 0:
		return 1
	}
	if m.any() {
		return 0
	}
	return -1
}

// word is the worst that happens between the two.
func (m *meeting) word(th *style.Theme) style.Word {
	switch {
	case m.denied+m.opened > 0:
		return th.One(flow.Deny)
	case m.would > 0:
		return th.Of(flow.Allow, flow.Deny, false)
	case m.contested > 0:
		return th.One(flow.Contested)
	case m.allowed > 0:
		return th.One(flow.Allow)
	}
	return th.One(flow.NotJudged)
}
