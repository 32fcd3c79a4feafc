// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// plain says whether a character takes one column wherever it stands, and
// isn't joined with others: letters of ASCII, and what frames, bars and marks
// are drawn with.
func plain(r rune) bool {
	switch {
	case r < 0x20:
		return false
	case r < 0x7f:
		return true
	}
	switch {
	case r >= 0x2500 && r < 0x25a0, r >= 0x2800 && r < 0x2900, r >= 0x2190 && r < 0x2194: // boxes and blocks, dots, arrows
		return true
	}
	switch r {
	case '·', '–', '…', '×', '✓', '✗', '▲', '▼', '▸', '▾', '●', '○':
		return true
	}
	return false
}

// sgr is how long the sequence is that sets colours and attributes at the
// beginning of s; 0: there is none.
func sgr(s string) int {
	if len(s) < 3 || s[0] != 0x1b || s[1] != '[' {
		return 0
	}
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == ';', c == ':':
		case c == 'm':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

// Width is how many columns a line takes: [ansi.StringWidth], several times as
// fast where nothing is wide or joined.
func Width(line string) int {
	width := 0
	for i := 0; i < len(line); {
		if c := line[i]; c >= 0x20 && c < 0x7f {
			width++
			i++
			continue
		}
		if n := sgr(line[i:]); n > 0 {
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(line[i:])
		if !plain(r) {
			return ansi.StringWidth(line)
		}
		width++
		i += n
	}
	return width
}

// shared finds how much of a line needs not be written again: up to the byte
// from, which stands in column. The sequences in pen bring back the colours
// that hold there. It stops before whatever may be joined or wide.
func shared(old, line string) (from, column int, pen string) {
	same := 0
	for same < min(len(old), len(line)) && old[same] == line[same] {
		same++
	}
	penFrom, penTo, at := 0, 0, 0
	for i := 0; i < same; {
		if c := line[i]; c >= 0x20 && c < 0x7f {
			if c == ' ' { // what follows may join with what stands before it, but not with a space
				from, column, pen = i, at, line[penFrom:penTo]
			}
			at++
			i++
			continue
		}
		if n := sgr(line[i:]); n > 0 {
			switch seq := line[i : i+n]; {
			case seq == "\x1b[m", seq == "\x1b[0m":
				penFrom = i + n
			case penFrom == penTo:
				penFrom = i
			case penTo != i: // text stands between two that both hold: rare, and not worth remembering
				return from, column, pen
			}
			i += n
			penTo = i
			continue
		}
		r, n := utf8.DecodeRuneInString(line[i:])
		if !plain(r) {
			break
		}
		at++
		i += n
	}
	return from, column, pen
}
