// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// splitter cuts a YAML stream into documents as it is read, so that a file of
// any length takes no more memory than its largest object. A long List is cut
// into its items.
type splitter struct {
	in   *bufio.Reader
	file string
	line int // the number of the last line read

	text  []byte // of the document, or of the item
	first int    // its first line
	lead  []byte // comments of which it is not known yet what they are about
	list  *longList
	tried bool // whether text is a List that can be cut was asked
}

// longList is a List that is being cut into its items.
type longList struct {
	indent int  // of the dashes of its items
	head   head // what its first lines say of it
	ended  bool // its items are over: what follows are a few words about the list itself
}

const (
	maxDocument = 4 << 20   // etcd holds no object of more than 1.5 MiB
	splitFrom   = 256 << 10 // a List that is longer is cut into its items
)

func newSplitter(r *bufio.Reader, file string) *splitter {
	return &splitter{in: r, file: file, first: 1}
}

// piece is the text of a document, or of an item of a long List.
type piece struct {
	text []byte
	line int
	list head // valid iff it is an item: the list's
	yaml bool // though the stream began as JSON
}

// next is the next document; [io.EOF] after the last.
func (s *splitter) next() (piece, error) {
	for {
		line, err := s.readLine()
		if err != nil && !errors.Is(err, io.EOF) {
			return piece{}, err
		}
		if len(line) == 0 && err != nil {
			if p, ok := s.take(); ok {
				return p, nil
			}
			return piece{}, io.EOF
		}
		s.line++
		if bytes.IndexByte(line, 0) >= 0 {
			return piece{}, fmt.Errorf("%s:%d: a NUL byte: this is no text", s.file, s.line)
		}
		p, ok, err := s.add(line)
		if ok || err != nil {
			return p, err
		}
	}
}

// add takes a line; ok: a document has ended with it.
func (s *splitter) add(line []byte) (p piece, ok bool, err error) {
	if rest, is := separator(line); is {
		p, ok = s.take()
		s.list, s.tried, s.text, s.first, s.lead = nil, false, rest, s.line, nil
		return p, ok, nil
	}
	if s.list != nil {
		return s.addToList(line)
	}
	if len(s.text) == 0 {
		if blank(line) {
			s.comment(line)
			return piece{}, false, nil
		}
		// A document begins with its first word, and with what was said above it.
		s.first = s.line - bytes.Count(s.lead, newline)
		s.text, s.lead = append(s.text, s.lead...), nil
	}
	s.text = append(s.text, line...)
	if len(s.text) > splitFrom && !s.tried {
		s.tried = true
		if s.list = listOf(s.text); s.list != nil {
			return s.cut()
		}
	}
	return piece{}, false, s.bounded()
}

// comment takes a line before the first word of a document.
func (s *splitter) comment(line []byte) {
	switch {
	case len(s.lead) == 0 && len(bytes.TrimSpace(line)) == 0:
	case len(s.lead)+len(line) > maxExcerpt || line[len(line)-1] != '\n':
		s.lead = nil // more than anybody would be shown
	default:
		s.lead = append(s.lead, line...)
	}
}

func (s *splitter) bounded() error {
	if len(s.text) > maxDocument {
		return fmt.Errorf("%s:%d: an object of more than %d MiB, which no cluster holds", s.file, s.first, maxDocument>>20)
	}
	return nil
}

// addToList takes a line of a long List.
func (s *splitter) addToList(line []byte) (p piece, ok bool, err error) {
	l := s.list
	indent := len(line) - len(bytes.TrimLeft(line, " "))
	rest := line[indent:]
	switch {
	case l.ended:
	case blank(rest): // may be part of a text that goes over several lines
		if len(s.text) > 0 {
			s.text = append(s.text, line...)
		}
	case indent == l.indent && dash(rest):
		p, ok = s.take()
		line = bytes.Clone(line)
		line[indent] = ' ' // what was an entry of a list is an object of its own
		s.text, s.first = line, s.line
	case indent <= l.indent:
		p, ok = s.take()
		s.text, l.ended = nil, true
	default:
		s.text = append(s.text, line...)
	}
	return p, ok, s.bounded()
}

// cut puts what was read of a List back, to be read again by items.
func (s *splitter) cut() (piece, bool, error) {
	text := s.text
	at := bytes.Index(append([]byte("\n"), text...), []byte("\nitems:"))
	end := at + bytes.IndexByte(text[at:], '\n') + 1
	s.line = s.first - 1 + bytes.Count(text[:end], newline)
	s.text = nil
	s.in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(text[end:]), s.in), 64<<10)
	return piece{}, false, nil
}

// take is what was gathered; false: nothing but comments and directives.
func (s *splitter) take() (piece, bool) {
	p := piece{text: s.text, line: s.first}
	if s.list != nil {
		p.list = s.list.head
	}
	s.text = nil
	for line := range bytes.Lines(p.text) {
		if t := bytes.TrimSpace(line); len(t) > 0 && t[0] != '#' && line[0] != '%' {
			return p, true
		}
	}
	return piece{}, false
}

// readLine reads up to and with the end of a line. What is longer than a
// document may be is refused before it is in memory.
func (s *splitter) readLine() ([]byte, error) {
	line, err := s.in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = s.in.ReadSlice('\n')
		if long = append(long, line...); len(long) > maxDocument {
			return nil, fmt.Errorf("%s:%d: a line of more than %d MiB: no cluster holds such an object", s.file, s.line+1, maxDocument>>20)
		}
	}
	return long, err
}

// separator says whether a line parts documents. What follows on it belongs to
// the next one.
func separator(line []byte) (rest []byte, ok bool) {
	for _, mark := range []string{"---", "..."} {
		rest, is := bytes.CutPrefix(line, []byte(mark))
		switch {
		case !is || len(rest) > 0 && !bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0])):
		case blank(bytes.TrimSpace(rest)):
			return nil, true
		default:
			return append([]byte("   "), rest...), true
		}
	}
	return nil, false
}

func blank(text []byte) bool {
	text = bytes.TrimSpace(text)
	return len(text) == 0 || text[0] == '#'
}

func dash(text []byte) bool {
	return text[0] == '-' && (len(text) == 1 || text[1] == ' ' || text[1] == '\n' || text[1] == '\r')
}

// listOf says whether the text begins a List whose items can be told apart
// line by line: in block style, as kubectl writes them. Nil: it doesn't.
func listOf(text []byte) *longList {
	l := &longList{}
	items := false
	for line := range bytes.Lines(text) {
		indent := len(line) - len(bytes.TrimLeft(line, " "))
		switch {
		case blank(line):
		case items:
			l.indent = indent
			if !dash(line[indent:]) {
				return nil
			}
			return l
		case indent == 0:
			key, value, _ := strings.Cut(string(bytes.TrimSpace(line)), ":")
			value = strings.Trim(strings.TrimSpace(value), `"'`)
			switch key {
			case "apiVersion":
				l.head.APIVersion = value
			case "kind":
				l.head.Kind = value
			case "items":
				if items = value == "" || value[0] == '#'; !items {
					return nil
				}
			}
		}
	}
	return nil
}
