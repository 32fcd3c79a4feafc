// SPDX-License-Identifier: Apache-2.0

// Package plain makes text from a cluster, a file or the wire harmless where it
// may be shown on a terminal: nothing in it moves a cursor, hides, or turns the
// direction of writing round. What is for programs keeps its meaning.
package plain

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// harmful are controls (of eight bits, too), marks of direction and of no
// width, and the ends of lines and paragraphs of Unicode.
func harmful(r rune) bool {
	return r < 0x20 || r >= 0x7f && (r < 0xa0 || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}

// Line is s as part of one line: without what is harmful, ends of lines and
// tabs included. What is no UTF-8 becomes U+FFFD.
func Line(s string) string { return without(s, "") }

// Text is the same for text of several lines, with its tabs.
func Text(s string) string { return without(s, "\n\t") }

func without(s, keep string) string {
	bad := func(r rune) bool { return harmful(r) && !strings.ContainsRune(keep, r) }
	if utf8.ValidString(s) && !strings.ContainsFunc(s, bad) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if bad(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// JSON is the same JSON with what is harmful in its strings escaped:
// encoding/json leaves DEL, C1 controls and marks of direction as they are.
func JSON(b []byte) []byte {
	escape := func(r rune) bool { return r >= 0x7f && harmful(r) }
	if !bytes.ContainsFunc(b, escape) {
		return b
	}
	out := make([]byte, 0, len(b)+64)
	for _, r := range string(b) {
		switch {
		case !escape(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff: // in two halves
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// ForJSON passes to w what an encoder of encoding/json writes, as [JSON] makes it.
func ForJSON(w io.Writer) io.Writer { return jsonWriter{w} }

// jsonWriter is written to by an encoder, a whole value at a time.
type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(b []byte) (int, error) {
	if _, err := j.w.Write(JSON(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Output passes text on to w without what is harmful in it. It is the last fence
// of a program's output: whatever stands in front of it may be forgotten once.
// Characters may be written in pieces. It may be used by several goroutines.
type Output struct {
	W io.Writer

	mu   sync.Mutex
	rest []byte // the beginning of a character
}

// Write implements [io.Writer].
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := append(o.rest, b...)
	end := len(text)
	for i := max(0, end-utf8.UTFMax+1); i < end; i++ {
		if utf8.RuneStart(text[i]) && !utf8.FullRune(text[i:]) {
			end = i
		}
	}
	o.rest = append([]byte(nil), text[end:]...)
	if _, err := io.WriteString(o.W, Text(string(text[:end]))); err != nil {
		return 0, err
	}
	return len(b), nil
}
