// SPDX-License-Identifier: Apache-2.0

package part

import (
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Column says how one column is laid out, in cells. Numbers never change a
// width, so that nothing jumps when they grow; where a name would be cut,
// columns give up what they don't need (layout.go).
type Column struct {
	Key    string // names the column to whoever sorts and draws
	Title  string
	Letter string // upper-case letter that sorts by it; "": it can't be sorted by
	Min    int    // narrowest
	Soft   int    // narrower than this only once the columns of rank 5 and more are gone; 0: Min
	Max    int    // widest; 0: Min
	Right  bool   // numbers stand right
	Rising bool   // sorted from a to z, or the least first, unless turned round
	Rank   int    // columns of the highest rank go first when it gets narrow; rank 0 stays
	Wide   bool   // shown in wide mode only
}

// Cell is one cell's text, not painted, and its paint. Short stands in where
// there is no room for all of Text; "": Text is cut.
type Cell struct {
	Text  string
	Short string
	Paint style.Paint
}

// Table is a window onto rows that are too many to hold: it knows the ids of
// those loaded, keeps the cursor on its row wherever that moves, and asks
// draw for the visible ones only. The zero value of K must not be a row's id.
type Table[K comparable] struct {
	Columns []Column
	Sorted  string // key of the column sorted by
	Reverse bool
	Wide    bool
	Waits   bool // a cursor that was never moved stays at the top, whatever row comes there

	width, height int // height without the title line
	total         int // rows there are
	offset        int // position of ids[0]
	ids           []K
	cursor, top   int // positions
	at            K   // id under the cursor
	moved         bool
	stays         bool // at the top while it isn't moved, whatever row comes there
	layout        []placed
	laidOut       layoutKey
	needs         []need // by column: what was drawn so far
}

// Window is the part of the rows that should be loaded now: a screen's more on
// each side, so that scrolling rarely waits for a snapshot. More would cost
// more at each tick than all that is drawn.
func (t *Table[K]) Window() (offset, limit int) {
	screen := max(1, t.height)
	offset = max(0, t.top-screen) / 20 * 20
	return offset, t.top - offset + 2*screen
}

// Bottom is the position behind the last line of the screen.
func (t *Table[K]) Bottom() int { return t.top + t.height }

// SetRows takes the newly loaded rows. The cursor stays on its row and the row
// on its line of the screen; only if the row has gone does the cursor stay at
// the position. While the cursor was never moved, the first row is always seen:
// the cursor goes down with its row as far as the screen reaches, so that what
// was being read is what opens.
func (t *Table[K]) SetRows(offset int, ids []K, total int) {
	t.offset, t.ids, t.total = offset, ids, max(total, offset+len(ids))
	if !t.moved {
		t.cursor, t.top = 0, 0
		if at := slices.Index(ids, t.at); !t.stays && !t.Waits && at >= 0 && offset+at < t.height {
			t.cursor = offset + at
		}
		t.remember()
		return
	}
	for i, id := range ids {
		if id == t.at {
			by := offset + i - t.cursor
			t.cursor += by
			t.top += by
			t.clamp()
			return
		}
	}
	t.clamp()
	t.remember()
}

func (t *Table[K]) remember() {
	var none K
	t.at = none
	if i := t.cursor - t.offset; i >= 0 && i < len(t.ids) {
		t.at = t.ids[i]
	}
}

// Resize sets the size in cells, the title line included.
func (t *Table[K]) Resize(width, height int) {
	t.width, t.height = width, max(0, height-1)
	t.clamp()
}

func (t *Table[K]) clamp() {
	t.cursor = min(max(t.cursor, 0), max(t.total-1, 0))
	t.top = min(t.top, t.cursor)
	t.top = max(t.top, t.cursor-max(t.height, 1)+1)
	t.top = max(min(t.top, t.total-t.height), 0)
}

// Move moves the cursor by rows.
func (t *Table[K]) Move(by int) { t.Go(t.cursor + by) }

// Go puts the cursor on a position.
func (t *Table[K]) Go(to int) {
	t.moved, t.stays = true, false
	t.cursor = to
	t.clamp()
	t.remember()
}

// Start puts the cursor on the first row of those that come next.
func (t *Table[K]) Start() {
	var none K
	t.moved, t.at = false, none
	t.cursor, t.top = 0, 0
	t.needs, t.layout = nil, nil // other rows: what the ones before needed is over
}

// Stay puts the cursor on the first row and lets it stay at the top whatever
// row comes there, until it is moved.
func (t *Table[K]) Stay() {
	t.moved, t.stays = false, true
	t.cursor, t.top = 0, 0
	t.remember()
}

// Follow puts the cursor on a row as soon as rows are set among which it is.
func (t *Table[K]) Follow(id K) { t.moved, t.at = true, id }

// Page moves by whole screens.
func (t *Table[K]) Page(screens int) { t.Move(screens * max(1, t.height-1)) }

// End puts the cursor on the last row.
func (t *Table[K]) End() { t.Go(t.total - 1) }

// Cursor is the index of the row under the cursor among the loaded ones.
func (t *Table[K]) Cursor() (index int, ok bool) {
	i := t.cursor - t.offset
	return i, i >= 0 && i < len(t.ids)
}

// At is the id of the row under the cursor.
func (t *Table[K]) At() (id K, ok bool) {
	var none K
	return t.at, t.at != none
}

// Chosen is At, of a cursor that somebody put there.
func (t *Table[K]) Chosen() (id K, ok bool) {
	id, ok = t.At()
	return id, ok && t.moved
}

// Position is the cursor's place among all rows, from 0, and their number.
func (t *Table[K]) Position() (cursor, total int) { return t.cursor, t.total }

// Line puts the cursor on the row drawn on a line of the table, 0 being the
// title; it reports whether a row is there.
func (t *Table[K]) Line(line int) bool {
	at := t.top + line - 1
	if line < 1 || line > t.height || at >= t.total {
		return false
	}
	t.Go(at)
	return true
}

// WidthOf is how wide a column is drawn; 0 if it isn't.
func (t *Table[K]) WidthOf(key string) int {
	for _, p := range t.place() {
		if t.Columns[p.index].Key == key {
			return p.width
		}
	}
	return 0
}

// ColumnAt is the key of the column drawn at cell x.
func (t *Table[K]) ColumnAt(x int) string {
	left := 2
	for _, p := range t.place() {
		if x < left+p.width+gap {
			return t.Columns[p.index].Key
		}
		left += p.width + gap
	}
	return ""
}

// View draws the title line and the visible rows; draw is called once for
// each visible cell, twice where names need a new layout. Exactly the height
// set by Resize comes back.
func (t *Table[K]) View(th *style.Theme, draw func(index int, key string) Cell) []string {
	if t.width <= 0 || t.height+1 <= 0 {
		return nil
	}
	lines := t.draw(th, draw)
	if t.rearranged() {
		lines = t.draw(th, draw)
	}
	return Frame(lines, t.height+1)
}

func (t *Table[K]) draw(th *style.Theme, draw func(index int, key string) Cell) []string {
	cols := t.place()
	lines := make([]string, 0, t.height+1)
	lines = append(lines, t.head(th, cols))
	var b strings.Builder
	for line := range t.height {
		at := t.top + line
		i := at - t.offset
		if at >= t.total {
			break
		}
		if i < 0 || i >= len(t.ids) {
			lines = append(lines, Cut("  "+th.Dim.S(th.Ellipsis), t.width, ""))
			continue
		}
		b.Reset()
		on := at == t.cursor
		b.WriteString(mark(th, on))
		for n, p := range cols {
			c := t.Columns[p.index]
			cell := draw(i, c.Key)
			if n > 0 {
				b.WriteString(blanks[:gap])
			}
			text := t.fit(p, cell, th.Ellipsis)
			if on {
				b.WriteString(text)
			} else {
				b.WriteString(cell.Paint.S(text))
			}
		}
		s := b.String()
		if t.width < 2 {
			s = Cut(s, t.width, "")
		} else if on {
			s = th.Cursor.S(s + Spaces(t.width-Width(s)))
		}
		lines = append(lines, s)
	}
	return lines
}

func mark(th *style.Theme, on bool) string {
	if on {
		return th.Glyphs.Cursor + " "
	}
	return "  "
}

// Arrow points down where the most, the gravest or the newest comes first, and
// up where names go from a to z.
func (t *Table[K]) Arrow(th *style.Theme) string {
	rising := t.Reverse
	for _, c := range t.Columns {
		if c.Key == t.Sorted && c.Rising {
			rising = !rising
		}
	}
	if rising {
		return th.Up
	}
	return th.Down
}

func (t *Table[K]) head(th *style.Theme, cols []placed) string {
	var b strings.Builder
	b.WriteString("  ")
	for n, p := range cols {
		c := t.Columns[p.index]
		sorted, before := c.Key == t.Sorted && c.Key != "", gap
		if n == 0 {
			before = 0
		}
		room := p.width
		if sorted && c.Right && n > 0 && Width(c.Title) == room { // the arrow stands in the gap
			before, room = before-1, room+1
		}
		b.WriteString(blanks[:before])
		if !sorted {
			b.WriteString(th.Head.S(Fit(c.Title, p.width, c.Right, th.Ellipsis)))
			continue
		}
		title := Cut(c.Title, max(0, room-1), th.Ellipsis) + t.Arrow(th)
		pad := Spaces(room - Width(title))
		if c.Right {
			b.WriteString(pad + th.HeadSorted.S(title))
		} else {
			b.WriteString(th.HeadSorted.S(title) + pad)
		}
	}
	return Cut(b.String(), t.width, "")
}
