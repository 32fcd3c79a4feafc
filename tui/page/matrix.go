// SPDX-License-Identifier: Apache-2.0

package page

import (
	"slices"
	"strconv"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Matrix shows who talks to whom, workload by workload: the current verdict
// and what the candidate makes of it.
type Matrix struct {
	env           *Env
	grid          *grid
	names         []string // the grid's
	x, y          int      // cursor
	left, top     int
	clicked       bool // the cursor was put there by the mouse
	filter        string
	match         func(*flow.Event) bool
	same          *filterMark // stands for match
	rev           int
	width, height int
}

// mostMeets is of how many meets a matrix is made at most.
const mostMeets = 20_000

var _ Page = (*Matrix)(nil)

// NewMatrix makes the page.
func NewMatrix(env *Env) *Matrix { return &Matrix{env: env} }

// Name implements [Page].
func (p *Matrix) Name() string { return "matrix" }

// Crumb implements [Page].
func (p *Matrix) Crumb() string { return "matrix" }

// Rev implements [Page].
func (p *Matrix) Rev() int { return p.rev }

// Ask implements [Page].
func (p *Matrix) Ask() (store.Query, func(*store.Snapshot) any) {
	q := store.Query{Meets: true, Limit: mostMeets, Match: p.match, Trouble: p.env.Trouble}
	if p.same != nil {
		q.Same, q.Labels = p.same, p.same.labels
	}
	return q, func(s *store.Snapshot) any { return newGrid(s) }
}

// Set implements [Page].
func (p *Matrix) Set(digest any) {
	g, ok := digest.(*grid)
	if !ok {
		return
	}
	// the cursor stays on its pair, whoever else came
	var row, column string
	if p.y < len(p.names) && p.x < len(p.names) {
		row, column = p.names[p.y], p.names[p.x]
	}
	p.grid, p.names = g, g.names
	if row == "" {
		p.x, p.y = g.worst()
	}
	if i, ok := slices.BinarySearch(p.names, row); ok {
		p.y = i
	}
	if i, ok := slices.BinarySearch(p.names, column); ok {
		p.x = i
	}
	p.clamp()
}

func (p *Matrix) clamp() {
	n := len(p.names)
	p.x, p.y = max(0, min(p.x, n-1)), max(0, min(p.y, n-1))
	rows, cols := max(1, p.rowRoom()), max(1, p.columnRoom())
	p.top = max(0, min(max(min(p.top, p.y), p.y-rows+1), n-rows))
	p.left = max(0, min(max(min(p.left, p.x), p.x-cols+1), n-cols))
}

const cellWidth = 4

func (p *Matrix) nameWidth() int  { return max(8, min(40, p.width/3)) }
func (p *Matrix) columnRoom() int { return (p.width - p.nameWidth() - 6) / cellWidth }
func (p *Matrix) rowRoom() int    { return p.height - 1 - p.noteHeight() }
func (p *Matrix) noteHeight() int { return map[bool]int{true: 4}[p.height >= 12] }

// Resize implements [Page].
func (p *Matrix) Resize(w, h int) { p.width, p.height = w, h; p.clamp() }

// Sifts implements [Sifter].
func (p *Matrix) Sifts() bool { return true }

// Filter implements [Filterer].
func (p *Matrix) Filter() string { return p.filter }

// Wheel implements [Mouser].
func (p *Matrix) Wheel(n int)      { p.y += n; p.clamp() }
func (p *Matrix) number(i int) int { return i + 1 }

// SetFilter narrows the flows that are summed up.
func (p *Matrix) SetFilter(s string) error {
	s = strings.TrimSpace(s)
	var match func(*flow.Event) bool
	if s != "" {
		m, err := p.env.Parse(s)
		if err != nil {
			return err
		}
		match = m
	}
	p.filter, p.match, p.same = s, match, markOf(s)
	p.rev++
	return nil
}

// Key implements [Page].
func (p *Matrix) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Enter):
		if p.y < len(p.names) && p.x < len(p.names) {
			from, to := p.names[p.y], p.names[p.x]
			return Effect{Push: NewFlows(p.env, from+" "+p.env.Theme.Right+" "+to, func(e *flow.Event) bool {
				return peerGroup(e.Source) == from && (peerGroup(e.Destination) == to || e.Backend != nil && peerGroup(e.Backend) == to)
			})}, true
		}
	case key.Matches(msg, k.Up):
		p.y--
	case key.Matches(msg, k.Down):
		p.y++
	case key.Matches(msg, k.Left):
		p.x--
	case key.Matches(msg, k.Right):
		p.x++
	case key.Matches(msg, k.PageUp):
		p.y -= max(1, p.rowRoom())
	case key.Matches(msg, k.PageDown):
		p.y += max(1, p.rowRoom())
	case key.Matches(msg, k.Home):
		p.x, p.y = 0, 0
	case key.Matches(msg, k.End):
		p.x, p.y = len(p.names)-1, len(p.names)-1
	default:
		return Effect{}, false
	}
	p.clamp()
	return Effect{}, true
}

// Click puts the cursor on a cell.
func (p *Matrix) Click(x, y int) Effect {
	row, column := p.top+y-1, p.x
	if at := x - p.nameWidth() - 6; at >= 0 {
		column = p.left + at/cellWidth
	}
	if y < 1 || y > p.rowRoom() || row >= len(p.names) || column >= len(p.names) {
		return Effect{}
	}
	same := row == p.y && column == p.x && p.clicked
	p.x, p.y, p.clicked = column, row, true
	p.clamp()
	return Effect{Again: same}
}

// Sections implements [Page].
func (p *Matrix) Sections() []keys.Section {
	k := p.env.Keys
	return []keys.Section{{Title: "Matrix", Bindings: []key.Binding{k.Left, k.Right, k.Enter}}}
}

// Footer implements [Page].
func (p *Matrix) Footer() []key.Binding {
	k := p.env.Keys
	enter := k.Enter
	enter.SetHelp("enter", "their flows")
	return []key.Binding{enter, k.Filter, k.Trouble, k.Freeze}
}

// Copy gives the pair under the cursor in words.
func (p *Matrix) Copy() string { return strings.Join(p.sentences(), " ") }

// Export gives the whole matrix as tab-separated text.
func (p *Matrix) Export() (lines []string, ext string) {
	lines = append(lines, "from\\to\t"+strings.Join(p.names, "\t"))
	row := make([]meeting, len(p.names))
	for y, from := range p.names {
		cells := []string{from}
		p.grid.row(y, 0, row)
		for x := range row {
			s := ""
			if m := &row[x]; m.any() {
				s = m.word(p.env.Theme).Text
			}
			cells = append(cells, s)
		}
		lines = append(lines, strings.Join(cells, "\t"))
	}
	return lines, "tsv"
}

// View implements [Page].
func (p *Matrix) View() []string {
	th := p.env.Theme
	if len(p.names) == 0 {
		return part.Frame(centred(p.width, p.height, p.env.nothing(p.filter, "Nobody has talked yet",
			"Workloads appear with their first connection, rows as its source, columns as its destination."), th), p.height)
	}
	name := p.nameWidth()
	var b strings.Builder
	b.WriteString("  " + th.Head.S(part.Fit("FROM "+th.Right+" TO", name+4, false, th.Ellipsis)))
	for x := p.left; x < min(len(p.names), p.left+p.columnRoom()); x++ {
		paint := th.Head
		if x == p.x {
			paint = th.HeadSorted
		}
		n := strconv.Itoa(p.number(x))
		b.WriteString(part.Spaces(cellWidth-len(n)) + paint.S(n))
	}
	lines := []string{part.Cut(b.String(), p.width, "")}
	row := make([]meeting, max(0, min(len(p.names)-p.left, p.columnRoom())))
	for y := p.top; y < min(len(p.names), p.top+p.rowRoom()); y++ {
		p.grid.row(y, p.left, row)
		lines = append(lines, part.Cut(p.line(y, name, row), p.width, ""))
	}
	if n := p.noteHeight(); n > 0 {
		lines = part.Frame(lines, p.height-n)
		lines = append(lines, th.Rule.S(strings.Repeat(th.Line, p.width)))
		for _, s := range p.sentences() {
			for _, l := range part.Wrap(s, p.width-4, 2, th.Ellipsis) {
				lines = append(lines, "  "+l)
			}
		}
	}
	return part.Frame(lines, p.height)
}

func (p *Matrix) line(y, name int, row []meeting) string {
	th := p.env.Theme
	mark, paint := "  ", style.Paint{}
	if y == p.y {
		mark, paint = th.Glyphs.Cursor+" ", th.Strong
	}
	var b strings.Builder
	b.WriteString(mark + th.Dim.S(part.Fit(strconv.Itoa(p.number(y)), 3, true, "")) + " " + paint.S(part.Fit(shorter(p.names[y], name), name, false, th.Ellipsis)))
	none := th.Rule.S(th.None)
	for i := range row {
		on := y == p.y && i == p.x-p.left
		m := &row[i]
		if !m.any() && !on {
			b.WriteString("   ")
			b.WriteString(none)
			continue
		}
		text, paint := th.None, th.Rule
		if m.any() {
			w := m.word(th)
			text, paint = w.Symbol, w.Paint
		}
		if on {
			b.WriteString("  " + th.Cursor.S(" "+text))
		} else {
			b.WriteString("   ")
			b.WriteString(paint.S(text))
		}
	}
	return b.String()
}

// sentences describe the pair under the cursor.
func (p *Matrix) sentences() []string {
	if p.y >= len(p.names) || p.x >= len(p.names) {
		return nil
	}
	th := p.env.Theme
	from, to := p.names[p.y], p.names[p.x]
	s := from + " " + th.Right + " " + to + ": "
	m, ports := p.grid.at(p.x, p.y)
	if !m.any() {
		return []string{s + "no connection seen."}
	}
	var facts []string
	add := func(n int, what string) {
		if n > 0 {
			facts = append(facts, part.Count(uint64(n))+" "+what)
		}
	}
	add(m.allowed, "allowed")
	add(m.would, "the candidate would deny")
	add(m.denied, "denied")
	add(m.opened, "denied that the candidate would allow")
	add(m.contested, "contested")
	add(m.other, "not judged")
	out := []string{s + strings.Join(facts, ", ") + "  (" + ports + ")"}
	if meets, total := len(p.grid.meets), p.grid.total; total > meets {
		out = append(out, "Made of "+part.Count(uint64(meets))+" of "+part.Of(uint64(total), "pair")+", those with trouble first.")
	}
	return out
}
