// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"sync"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// texts lends memory to searchable.
var texts = sync.Pool{New: func() any { return new([]byte) }}

// matcher compiles a regular expression, in any case. Most are plain words,
// which need no expression: a hundred thousand rows are asked.
func matcher(pattern string) (func([]byte) bool, error) {
	if regexp.QuoteMeta(pattern) == pattern && isASCII(pattern) {
		word := []byte(strings.ToLower(pattern))
		return func(b []byte) bool {
			for i, c := range b {
				if 'A' <= c && c <= 'Z' {
					b[i] = c | 0x20
				}
			}
			return bytes.Contains(b, word)
		}, nil
	}
	re, err := regexp.Compile("(?i)" + pattern)
	if err != nil {
		return nil, err
	}
	word := mustHave("(?i)" + pattern)
	if word == nil {
		return re.Match, nil
	}
	return func(b []byte) bool {
		for i, c := range b {
			if c >= 0x80 {
				return re.Match(b) // some of these are small forms of ASCII letters
			}
			if 'A' <= c && c <= 'Z' {
				b[i] = c | 0x20
			}
		}
		return bytes.Contains(b, word) && re.Match(b)
	}, nil
}

// mustHave is the longest text, in small letters, that is in all that a regular
// expression without regard to case matches; nil: none was found. Looking for
// that takes a tenth of the time, and few rows have it.
func mustHave(pattern string) []byte {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	var longest string
	var visit func(*syntax.Regexp)
	visit = func(t *syntax.Regexp) {
		switch t.Op {
		case syntax.OpLiteral:
			if s := strings.ToLower(string(t.Rune)); len(s) > len(longest) && isASCII(s) {
				longest = s
			}
		case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus: // all of it is matched, once at least
			for _, sub := range t.Sub {
				visit(sub)
			}
		}
	}
	visit(tree)
	if longest == "" {
		return nil
	}
	return []byte(longest)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// searched says whether the text of an event matches.
func searched(match func([]byte) bool, e *flow.Event) bool {
	b := texts.Get().(*[]byte) //nolint:forcetypeassert // nothing else is in there
	defer texts.Put(b)
	*b = searchable((*b)[:0], e)
	return match(*b)
}

// searchable is the text that a regular expression is matched with.
func searchable(b []byte, e *flow.Event) []byte {
	word := func(s string) bool {
		if s != "" {
			b = append(append(b, s...), ' ')
		}
		return false
	}
	for _, p := range [3]*flow.Peer{e.Source, e.Destination, e.Backend} {
		if p == nil {
			continue
		}
		if p.Namespace != "" {
			b = append(append(b, p.Namespace...), '/')
		}
		word(p.Pod)
		word(p.Workload)
		word(p.Service)
		word(p.Name)
		if p.IP.IsValid() {
			b = append(p.IP.AppendTo(b), ':')
			b = append(strconv.AppendUint(b, uint64(p.Port), 10), ' ')
		}
	}
	word(e.Protocol.String())
	verdictWords(e, word)
	ruleWords(e, word)
	word(e.Reason)
	word(string(e.Observed))
	word(string(e.Agreement))
	word(e.Culprit)
	if e.Owner != nil {
		word(e.Owner.Command)
	}
	if e.Request != nil {
		word(e.Request.Host)
		word(e.Request.Path)
	}
	if e.Answer != nil {
		word(e.Answer.Question)
	}
	word(e.Location)
	word(e.Node)
	word(e.Direction.String())
	word(e.Note)
	if news(e) {
		word(string(e.Type))
	}
	return b
}
