// SPDX-License-Identifier: Apache-2.0

// Package part holds what pages are made of: text that fits its cell, numbers
// that don't jitter, the virtual table, bars, prompts. Nothing in it knows a
// page, a snapshot or a command.
package part

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Width is how many cells s takes; s may be painted.
func Width(s string) int {
	if plainASCII(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// Fit makes s exactly width cells wide: padded, or cut with the tail as its
// last cell. s must not be painted. The tail is one cell.
func Fit(s string, width int, right bool, tail string) string {
	if width <= 0 {
		return ""
	}
	w := Width(s)
	if w > width {
		s = Cut(s, width, tail)
		w = Width(s)
	}
	if w == width {
		return s
	}
	if right {
		return Spaces(width-w) + s
	}
	return s + Spaces(width-w)
}

// Cut shortens s, painted or not, to at most width cells.
func Cut(s string, width int, tail string) string {
	if width <= 0 {
		return ""
	}
	if plainASCII(s) {
		if len(s) <= width {
			return s
		}
		return s[:width-1] + tail
	}
	return ansi.Truncate(s, width, tail)
}

const blanks = "                                                                                                                                "

// Spaces is n blanks.
func Spaces(n int) string {
	if n <= 0 {
		return ""
	}
	if n <= len(blanks) {
		return blanks[:n]
	}
	return strings.Repeat(" ", n)
}

// Wrap breaks unpainted text at words into lines of at most width cells; what
// is longer than a line is broken anywhere. At most limit lines come back, the
// last of them ending with the tail if there was more.
func Wrap(s string, width, limit int, tail string) []string {
	if width <= 0 || limit <= 0 || s == "" {
		return nil
	}
	var lines []string
	for l := range strings.SplitSeq(ansi.Wrap(s, width, ""), "\n") {
		if Width(l) > width { // ansi.Wrap lets a hyphen stand beyond the limit
			lines = append(lines, strings.Split(ansi.Hardwrap(l, width, true), "\n")...)
			continue
		}
		lines = append(lines, strings.TrimRight(l, " "))
	}
	if len(lines) > limit {
		lines = lines[:limit]
		last := lines[limit-1]
		lines[limit-1] = Cut(last+" "+tail, width, tail)
	}
	return lines
}

// Frame makes exactly height lines of lines, cutting or adding blank ones.
func Frame(lines []string, height int) []string {
	if height < 0 {
		height = 0
	}
	if len(lines) > height {
		return lines[:height]
	}
	for len(lines) < height {
		lines = append(lines, "")
	}
	return lines
}
