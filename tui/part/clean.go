// SPDX-License-Identifier: Apache-2.0

package part

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// MaxText is how many bytes of one foreign text are looked at. Names in a
// cluster have at most 253; sentences some hundreds.
const MaxText = 4096

// Clean makes text from a cluster, a file or the wire safe to draw in one
// line: no escape sequence, no control character, nothing that changes the
// direction of writing or hides characters, no invalid UTF-8, and no cluster
// of characters on whose width terminals disagree (it becomes U+FFFD). Line
// ends and tabs become spaces. Every text that isn't ours goes through here.
func Clean(s string) string {
	if plainASCII(s) {
		if len(s) > MaxText {
			return s[:MaxText]
		}
		return s
	}
	if len(s) > MaxText {
		s = s[:MaxText]
	}
	s = ansi.Strip(strings.ToValidUTF8(s, "\uFFFD"))
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029' || r == '\u0085':
			b.WriteByte(' ')
		case unicode.Is(unicode.Variation_Selector, r), unicode.Is(unicode.M, r) && b.Len() == 0:
			// would change the width of what stands before it, be it ours
		case r == utf8.RuneError, unicode.IsPrint(r), unicode.Is(unicode.M, r):
			b.WriteRune(r)
		case unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		}
	}
	s = b.String()
	if agreed(s) {
		return s
	}
	if s = settle(s); agreed(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r > 0x7e {
			return utf8.RuneError
		}
		return r
	}, s)
}

// agreed reports whether graphemes and code points measure s alike, and s
// joins with nothing that stands beside it.
func agreed(s string) bool {
	w := ansi.StringWidth(s)
	beside := "x" + s + "x"
	return w == ansi.StringWidthWc(s) && ansi.StringWidth(beside) == w+2 && ansi.StringWidthWc(beside) == w+2
}

// settle replaces what graphemes and code points measure differently.
func settle(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		cluster, w := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
		if cluster == "" {
			break
		}
		s = s[len(cluster):]
		if w != ansi.StringWidthWc(cluster) {
			cluster = "\uFFFD"
		}
		b.WriteString(cluster)
	}
	return b.String()
}

// CleanLines does the same for text of several lines, keeping their ends and
// turning tabs into spaces. At most limit lines come back.
func CleanLines(s string, limit int) []string {
	var out []string
	for line := range strings.Lines(s) {
		if len(out) == limit {
			break
		}
		line = strings.TrimRight(line, "\r\n")
		out = append(out, Clean(strings.ReplaceAll(line, "\t", "    ")))
	}
	return out
}

func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
