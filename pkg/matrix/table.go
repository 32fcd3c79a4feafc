// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Symbol is one sign for what both sets say. A word stands for each in the
// table's legend.
func (c Cell) Symbol() string {
	if c.Changes() {
		switch c.Candidate {
		case Allow:
			return "+"
		case Deny:
			return "~"
		}
	}
	switch c.last() {
	case Allow:
		return "✓"
	case Deny:
		return "✗"
	case Contested:
		return "?"
	case Mixed:
		return "±"
	}
	return "·"
}

// last is the candidate's answer if there is a candidate.
func (c Cell) last() Answer {
	if c.Candidate != None {
		return c.Candidate
	}
	return c.Current
}

const (
	legendOne = "✓ allowed  ✗ denied  ? contested  ± depends on the pod or the IP family  · nobody to ask"
	legendTwo = "✓ allowed  ✗ denied  ~ would be denied  + would be allowed  ? contested  ± depends on the pod or the IP family  · nobody to ask"
)

// wide is how many columns fit beside the names of rows on most screens.
const wide = 24

// WriteTable writes a row for each source and a numbered column for each
// destination's port. Text must have been cleaned of control characters by w.
func WriteTable(w io.Writer, m *Matrix) error {
	name := len("FROM \\ TO")
	for _, r := range m.Rows {
		name = max(name, utf8.RuneCountInString(r.String()))
	}
	var b strings.Builder
	for start := 0; start < len(m.Columns); start += wide {
		end := min(start+wide, len(m.Columns))
		fmt.Fprintf(&b, "%-*s", name, "FROM \\ TO")
		for j := start; j < end; j++ {
			fmt.Fprintf(&b, " %3d", j+1)
		}
		b.WriteByte('\n')
		for i, r := range m.Rows {
			fmt.Fprintf(&b, "%-*s", name, r)
			for j := start; j < end; j++ {
				fmt.Fprintf(&b, "   %s", m.Cells[i][j].Symbol())
			}
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	for j, c := range m.Columns {
		label := ""
		if c.Port.Name != "" {
			label = " (" + c.Port.Name + ")"
		}
		fmt.Fprintf(&b, "%3d  %s%s\n", j+1, c, label)
	}
	legend := legendOne
	if m.Two {
		legend = legendTwo
	}
	fmt.Fprintf(&b, "\n%s\n", legend)
	_, err := io.WriteString(w, b.String())
	return err
}
