// SPDX-License-Identifier: Apache-2.0

// Package sniff reads the heads of payloads: a DNS message, the head of a
// connection's first request. It keeps what names the thing asked for and
// nothing else: no query of a URL, no header but Host, no body.
//
// Input comes from the wire and may be anything; what isn't understood is not
// an error but nothing. No function keeps what it is given.
package sniff

import (
	"strings"
	"unicode/utf8"
)

// Bounds of what is kept of one text, in bytes.
const (
	maxHost = 253
	maxPath = 256
)

// text is a name or path as it may be shown: printable, valid, bounded; empty
// if it is none.
func text(b string, limit int) string {
	if len(b) > limit {
		b = b[:limit]
		for len(b) > 0 && !utf8.ValidString(b[max(0, len(b)-utf8.UTFMax):]) && b[len(b)-1] >= 0x80 {
			b = b[:len(b)-1]
		}
	}
	if !utf8.ValidString(b) || strings.ContainsFunc(b, func(r rune) bool { return r < 0x21 || r >= 0x7f && r < 0xa0 }) {
		return ""
	}
	return b
}

// bare cuts the query and the fragment off a path.
func bare(path string) string {
	if i := strings.IndexAny(path, "?#;"); i >= 0 {
		path = path[:i]
	}
	return path
}
