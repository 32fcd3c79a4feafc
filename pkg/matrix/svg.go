// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"fmt"
	"html"
	"io"
	"strings"
	"unicode/utf8"
)

// fill of a cell, by sign; the sign itself stands in it as well, so that
// nothing hangs on colour.
var fill = map[string]string{
	"✓": "#d2f4dc", "✗": "#ffd7d5", "~": "#ff8182", "+": "#4ac26b", "?": "#fff1c2", "±": "#ffe0b0", "·": "#f6f8fa",
}

const (
	cellSide = 24
	letter   = 7 // width of a letter at 12 pixels, about
)

// WriteSVG writes the table as a picture. Each cell says in its title what it
// is about.
func WriteSVG(w io.Writer, m *Matrix) error {
	rows, columns := 0, 0
	for _, r := range m.Rows {
		rows = max(rows, utf8.RuneCountInString(r.String()))
	}
	for _, c := range m.Columns {
		columns = max(columns, utf8.RuneCountInString(c.String()))
	}
	left, top := rows*letter+16, columns*letter+16
	legend := legendOne
	if m.Two {
		legend = legendTwo
	}
	width := max(left+len(m.Columns)*cellSide+16, utf8.RuneCountInString(legend)*letter+16)
	height := top + len(m.Rows)*cellSide + 40
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n", width, height, width, height)
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n")
	for j, c := range m.Columns {
		x := left + j*cellSide + cellSide/2 + 4
		fmt.Fprintf(&b, "<text transform=\"translate(%d %d) rotate(-90)\">%s</text>\n", x, top-6, escape(c.String()))
	}
	for i, r := range m.Rows {
		y := top + i*cellSide
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left-6, y+cellSide/2+4, escape(r.String()))
		for j, c := range m.Columns {
			x, cell := left+j*cellSide, m.Cells[i][j]
			symbol := cell.Symbol()
			fmt.Fprintf(&b, "<g><title>%s</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\" stroke=\"#ffffff\"/>", escape(r.String()+" to "+c.String()+": "+cell.words()), x, y, cellSide, cellSide, fill[symbol])
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text></g>\n", x+cellSide/2, y+cellSide/2+4, symbol)
		}
	}
	fmt.Fprintf(&b, "<text x=\"8\" y=\"%d\">%s</text>\n</svg>\n", height-14, escape(legend))
	_, err := io.WriteString(w, b.String())
	return err
}

// words says what both sets say.
func (c Cell) words() string {
	switch {
	case c.Current == None:
		return "nobody to ask"
	case c.Changes():
		return fmt.Sprintf("%s now, %s by the candidate", c.Current, c.Candidate)
	}
	return c.Current.String()
}

func escape(s string) string { return html.EscapeString(s) }
