// SPDX-License-Identifier: Apache-2.0

package page

import (
	"math"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// list is what all table pages have in common: cursor keys, sorting, filter,
// the window of loaded rows, a note below the table for the row under the
// cursor. R is a row, K its lasting id.
type list[R any, K comparable] struct {
	env   *Env
	table part.Table[K]
	rows  []R
	draw  func(row R, column string) part.Cell
	note  func(row R, width int) []string // below the table: what the columns can't say; unpainted or painted lines
	empty func() []string

	filter string
	match  func(*flow.Event) bool
	same   *filterMark // stands for match to the store
	rev    int
	asked  int // offset last asked for
	until  int // end of what was last asked for
	frozen bool
	whole  bool // Ask is about all rows, for a file
	chosen bool // somebody chose what to sort by
	seek   bool // the row under the cursor may have come anywhere: all rows are asked for, once

	tall                      int // lines that the note may take where there is room; 0: a few
	width, height, noteHeight int
}

// batch is a digest: the window of rows with their ids.
type batch[R any, K comparable] struct {
	offset, total int
	rows          []R
	ids           []K
}

func (b batch[R, K]) lent() batch[R, K] { return b }

func newBatch[R any, K comparable](rows []R, offset, total int, id func(R) K) batch[R, K] {
	b := batch[R, K]{offset: offset, total: total, rows: rows, ids: make([]K, len(rows))}
	for i, r := range rows {
		b.ids[i] = id(r)
	}
	return b
}

func (l *list[R, K]) changed() { l.rev++ }

// Rev implements [Page].
func (l *list[R, K]) Rev() int { return l.rev }

// query fills in what every table page asks for.
func (l *list[R, K]) query(q store.Query) store.Query {
	if l.whole || l.seek {
		q.Offset, q.Limit = 0, maxWhole
	} else {
		q.Offset, q.Limit = l.table.Window()
		if l.frozen {
			q.Offset, q.Limit = max(0, q.Offset-2000), 5000
		}
		l.asked, l.until = q.Offset, q.Offset+q.Limit
	}
	q.Order = store.Order{By: l.table.Sorted, Reverse: l.table.Reverse}
	q.Match = l.match
	if l.same != nil {
		q.Same, q.Labels = l.same, l.same.labels
	}
	q.Trouble = l.env.Trouble
	return q
}

// Set implements [Page].
func (l *list[R, K]) Set(digest any) {
	b, ok := digest.(batch[R, K])
	if !ok {
		return
	}
	l.rows = b.rows
	l.table.Waits = !l.env.Touched
	l.table.SetRows(b.offset, b.ids, b.total)
	if l.seek { // the row is found, and from now on a window will do
		l.seek = false
		l.changed()
	}
	l.moved()
}

// allAsked is for pages that get all rows there are, whatever is visible.
func (l *list[R, K]) allAsked() {
	l.asked, _ = l.table.Window()
	l.until = math.MaxInt
}

// moved asks for another window once the screen has left the middle of the
// loaded one.
func (l *list[R, K]) moved() {
	offset, limit := l.table.Window()
	if !l.frozen && (offset != l.asked || l.table.Bottom() > l.until) {
		l.asked, l.until = offset, offset+limit
		l.changed()
	}
}

// filterMark is a filter as long as it stands: what it said of a row it says
// again, unless it looks at labels.
type filterMark struct{ labels bool }

func markOf(filter string) *filterMark {
	return &filterMark{labels: strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(filter, "/")), "-l")}
}

// Freeze implements [Freezer].
func (l *list[R, K]) Freeze(on bool) {
	l.frozen = on
	l.changed()
}

func (l *list[R, K]) Row() (row R, ok bool) {
	if i, in := l.table.Cursor(); in && i < len(l.rows) {
		return l.rows[i], true
	}
	return row, false
}

// Position implements [Counter].
func (l *list[R, K]) Position() (cursor, total int) { return l.table.Position() }

// Key handles what all tables have in common.
func (l *list[R, K]) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := l.env.Keys
	switch {
	case key.Matches(msg, k.Up):
		l.table.Move(-1)
	case key.Matches(msg, k.Down):
		l.table.Move(1)
	case key.Matches(msg, k.PageUp):
		l.table.Page(-1)
	case key.Matches(msg, k.PageDown):
		l.table.Page(1)
	case key.Matches(msg, k.Home):
		l.table.Stay()
	case key.Matches(msg, k.End):
		l.table.End()
	case key.Matches(msg, k.SortNext):
		l.sortBy(1)
	case key.Matches(msg, k.SortPrevious):
		l.sortBy(-1)
	case key.Matches(msg, k.SortReverse):
		l.Sort(l.table.Sorted)
	default:
		s := msg.String()
		for _, c := range l.table.Columns {
			if c.Letter != "" && c.Letter == s {
				l.Sort(c.Key)
				return Effect{}, true
			}
		}
		return Effect{}, false
	}
	l.moved()
	return Effect{}, true
}

// Sort sorts by a column, or turns the order round if it is sorted by already.
func (l *list[R, K]) Sort(column string) {
	if column == "" {
		return
	}
	l.chosen = true
	if l.table.Sorted == column {
		l.table.Reverse = !l.table.Reverse
	} else {
		l.table.Sorted, l.table.Reverse = column, false
	}
	if _, l.seek = l.table.Chosen(); !l.seek {
		l.table.Start()
	}
	l.changed()
}

func (l *list[R, K]) sortBy(step int) {
	var sortable []string
	at := 0
	for _, c := range l.table.Columns {
		if c.Letter == "" || l.table.WidthOf(c.Key) == 0 && c.Key != l.table.Sorted {
			continue // what isn't shown has its letter alone
		}
		if c.Key == l.table.Sorted {
			at = len(sortable)
		}
		sortable = append(sortable, c.Key)
	}
	if n := len(sortable); n > 0 {
		l.Sort(sortable[(at+step+n)%n])
	}
}

// SortedOut implements [Sorted].
func (l *list[R, K]) SortedOut() string {
	if !l.chosen || len(l.rows) == 0 || l.table.WidthOf(l.table.Sorted) > 0 {
		return ""
	}
	for _, c := range l.table.Columns {
		if c.Key == l.table.Sorted {
			return strings.ToLower(c.Title) + l.table.Arrow(l.env.Theme)
		}
	}
	return ""
}

// Columns are the keys that can be sorted by, for completion.
func (l *list[R, K]) Columns() []string {
	var out []string
	for _, c := range l.table.Columns {
		if c.Letter != "" {
			out = append(out, c.Key)
		}
	}
	return out
}

// Sifts implements [Sifter].
func (l *list[R, K]) Sifts() bool { return true }

// Widens implements [Widener].
func (l *list[R, K]) Widens() bool {
	return slices.ContainsFunc(l.table.Columns, func(c part.Column) bool { return c.Wide })
}

// Filter implements [Filterer].
func (l *list[R, K]) Filter() string { return l.filter }

// SetFilter implements [Filterer].
func (l *list[R, K]) SetFilter(s string) error {
	s = strings.TrimSpace(s)
	if s == "" {
		l.filter, l.match, l.same = "", nil, nil
		l.changed()
		return nil
	}
	m, err := l.env.Parse(s)
	if err != nil {
		return err
	}
	l.match, l.same = m, markOf(s)
	l.narrowed(s)
	return nil
}

// narrowed is after the filter has changed.
func (l *list[R, K]) narrowed(filter string) {
	if l.filter = strings.TrimSpace(filter); l.filter != "" {
		l.table.Start()
	}
	l.changed()
}

// Sections implements [Page].
func (l *list[R, K]) Sections() []keys.Section {
	var sorts []key.Binding
	for _, c := range l.table.Columns {
		if c.Letter != "" {
			sorts = append(sorts, keys.Sort(c.Letter, strings.ToLower(strings.TrimLeft(c.Title, "✓~✗? "))))
		}
	}
	return []keys.Section{{Title: "Sort", Bindings: sorts}}
}

// Resize implements [Page].
func (l *list[R, K]) Resize(width, height int) {
	l.width, l.height = width, height
	l.noteHeight = 0
	if l.note != nil && height >= 14 {
		l.noteHeight = 4
		switch {
		case height >= 30:
			l.noteHeight = max(6, l.tall)
		case height >= 18:
			l.noteHeight = 5
		}
	}
	l.table.Resize(width, height-l.noteHeight)
	l.moved()
}

// View implements [Page].
func (l *list[R, K]) View() []string {
	th := l.env.Theme
	l.table.Wide = l.env.Wide
	if len(l.rows) == 0 {
		return part.Frame(centred(l.width, l.height, l.empty(), th), l.height)
	}
	lines := l.table.View(th, func(i int, column string) part.Cell { return l.draw(l.rows[i], column) })
	if l.noteHeight > 0 {
		lines = append(lines, th.Rule.S(strings.Repeat(th.Line, l.width)))
		if row, ok := l.Row(); ok {
			lines = append(lines, l.note(row, l.width)...)
		}
	}
	return part.Frame(lines, l.height)
}

// Wheel implements [Mouser].
func (l *list[R, K]) Wheel(n int) {
	l.table.Move(n)
	l.moved()
}

// Click implements [Mouser].
func (l *list[R, K]) Click(x, y int) Effect {
	if y == 0 {
		column := l.table.ColumnAt(x)
		for _, c := range l.table.Columns {
			if c.Key == column && c.Letter != "" {
				l.Sort(column)
			}
		}
		return Effect{}
	}
	before, chosen := l.table.Chosen()
	hit := l.table.Line(y)
	l.moved()
	after, _ := l.table.At()
	return Effect{Again: hit && chosen && before == after}
}

// notes wraps sentences for the room below a table.
func (l *list[R, K]) notes(width int, sentences ...string) []string {
	var out []string
	for _, s := range sentences {
		room := l.noteHeight - 1 - len(out)
		for _, line := range part.Wrap(s, width-2, room, l.env.Theme.Ellipsis) {
			out = append(out, "  "+line)
		}
	}
	return out
}
