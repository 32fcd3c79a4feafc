// SPDX-License-Identifier: Apache-2.0

package part

import "slices"

const gap = 2 // cells between columns

// placed is a column that is shown, and its width.
type placed struct{ index, width int }

type layoutKey struct {
	width int
	wide  bool
}

// need is the widest that was drawn of a column: of whole texts, and of what
// may stand in for them. It only grows, so that columns come to rest.
type need struct {
	full, short int
	cut         bool // since the layout was made, something found no room
}

// place chooses and sizes the columns for the width. Which columns there are
// doesn't depend on what they hold; how wide they are does, once something had
// to be cut.
func (t *Table[K]) place() []placed {
	k := layoutKey{t.width, t.Wide}
	if t.layout != nil && t.laidOut == k {
		return t.layout
	}
	if len(t.needs) != len(t.Columns) {
		t.needs = make([]need, len(t.Columns))
	}
	cols := t.choose()
	room := t.width - 2
	for i := range cols {
		c := t.Columns[cols[i].index]
		if n := t.needs[cols[i].index]; !c.Right && n.full > 0 {
			cols[i].width = min(c.Min, max(Width(c.Title)+1, n.full))
		}
	}
	for i := len(cols) - 1; i >= 0 && taken(cols) > room; i-- {
		cols[i].width = max(0, cols[i].width-(taken(cols)-room))
		if cols[i].width == 0 {
			cols = append(cols[:i], cols[i+1:]...)
		}
	}
	spare := room - taken(cols)
	widest := func(i int) int { return max(t.Columns[i].Min, t.Columns[i].Soft, t.Columns[i].Max) }
	short := func(i int) int { return min(widest(i), t.needs[i].short) }
	full := func(i int) int { return min(widest(i), t.needs[i].full) }
	spare = satisfy(cols, spare, short)
	spare = grow(cols, spare, short)
	spare = satisfy(cols, spare, full)
	for _, limit := range []func(i int) int{
		full,
		func(i int) int { return t.Columns[i].Min },
		func(i int) int { return t.Columns[i].Soft },
		func(i int) int { return t.Columns[i].Max },
	} {
		spare = grow(cols, spare, limit)
	}
	for i := range t.needs {
		t.needs[i].cut = false
	}
	t.layout, t.laidOut = cols, k
	return cols
}

// choose leaves out columns, by rank, until the rest fits.
func (t *Table[K]) choose() []placed {
	var cols []placed
	for i, c := range t.Columns {
		if !c.Wide || t.Wide {
			cols = append(cols, placed{i, c.Min})
		}
	}
	// What is shown in wide mode only was asked for: it goes before others.
	rank := func(p placed) int {
		c := t.Columns[p.index]
		if c.Wide {
			return max(1, c.Rank-6)
		}
		return c.Rank
	}
	for len(cols) > 1 {
		worst := 0
		for i, p := range cols {
			if rank(p) >= rank(cols[worst]) {
				worst = i
			}
		}
		short := 0
		if rank(cols[worst]) >= 5 {
			for _, p := range cols {
				short += max(0, t.Columns[p.index].Soft-p.width)
			}
		}
		if taken(cols)+short <= t.width-2 || rank(cols[worst]) == 0 {
			break
		}
		cols = slices.Delete(cols, worst, worst+1)
	}
	return cols
}

func taken(cols []placed) int {
	n := -gap
	for _, p := range cols {
		n += p.width + gap
	}
	return n
}

// grow shares spare cells out among the columns, one each in turn, up to a
// limit for each column.
func grow(cols []placed, spare int, limit func(index int) int) int {
	for grew := true; grew && spare > 0; {
		grew = false
		for i := range cols {
			if spare > 0 && cols[i].width < limit(cols[i].index) {
				cols[i].width++
				spare--
				grew = true
			}
		}
	}
	return spare
}

// satisfy gives columns all that they lack, those that lack least first: half
// of what a name needs helps nobody while another stands in for it.
func satisfy(cols []placed, spare int, limit func(index int) int) int {
	for {
		least, at := spare+1, -1
		for i, c := range cols {
			if lack := limit(c.index) - c.width; lack > 0 && lack < least {
				least, at = lack, i
			}
		}
		if at < 0 {
			return spare
		}
		cols[at].width += least
		spare -= least
	}
}

// fit is a cell's text in its column's width, and remembers what it would
// have needed.
func (t *Table[K]) fit(p placed, cell Cell, tail string) string {
	n := &t.needs[p.index]
	full := Width(cell.Text)
	short, text := full, cell.Text
	if cell.Short != "" {
		short = Width(cell.Short)
		if full > p.width {
			text = cell.Short
		}
	}
	if full > n.full || short > n.short {
		n.full, n.short = max(n.full, full), max(n.short, short)
		n.cut = n.cut || full > p.width
	}
	right := t.Columns[p.index].Right
	switch {
	case full > p.width:
		return Fit(text, p.width, right, tail)
	case right:
		return Spaces(p.width-full) + text
	}
	return text + Spaces(p.width-full)
}

// rearranged makes a new layout if something was cut that needed more than
// anything before it, and reports whether that is another one.
func (t *Table[K]) rearranged() bool {
	if !slices.ContainsFunc(t.needs, func(n need) bool { return n.cut }) {
		return false
	}
	before := t.layout
	t.layout = nil
	return !slices.Equal(before, t.place())
}
