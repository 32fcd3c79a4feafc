// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// jsonStream reads JSON objects one after another. The items of a List are
// read one by one, so that it may be of any length. Behind a "---" or a comment
// it is a YAML stream, as kubectl reads it.
type jsonStream struct {
	yaml *splitter // nil: it is JSON so far
	in   *keptText
	dec  *json.Decoder
	file string
	list *head // whose items are being read; nil: of none
}

func newJSONStream(r *bufio.Reader, file string) *jsonStream {
	in := &keptText{in: r, line: 1}
	return &jsonStream{in: in, dec: json.NewDecoder(in), file: file}
}

// next is the next object; [io.EOF] after the last.
func (s *jsonStream) next() (piece, error) {
	if s.yaml == nil {
		s.becomesYAML()
	}
	if s.yaml != nil {
		p, err := s.yaml.next()
		p.yaml = true
		return p, err
	}
	p, err := s.read()
	if err == nil || errors.Is(err, io.EOF) {
		return p, err
	}
	var syntax *json.SyntaxError
	at := s.dec.InputOffset()
	if errors.As(err, &syntax) {
		at = syntax.Offset
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		at = s.in.base + int64(len(s.in.text))
		err = errors.New("the JSON ends too early")
	}
	return piece{}, fmt.Errorf("%s:%d: %w", s.file, s.in.lineOf(at), err)
}

// becomesYAML looks at what follows an object.
func (s *jsonStream) becomesYAML() {
	if s.list != nil || !s.dec.More() {
		return
	}
	at := s.dec.InputOffset()
	rest := s.in.text[at-s.in.base:]
	if mark := bytes.TrimLeft(rest, " \t\r\n"); len(mark) == 0 || mark[0] != '-' && mark[0] != '#' {
		return
	}
	s.yaml = newSplitter(bufio.NewReaderSize(io.MultiReader(bytes.NewReader(rest), s.in.in), 64<<10), s.file)
	s.yaml.line = s.in.lineOf(at) - 1
	s.yaml.first = s.yaml.line + 1
}

func (s *jsonStream) read() (piece, error) {
	if s.list != nil {
		if s.dec.More() {
			return s.value(*s.list)
		}
		if err := s.endOfList(); err != nil {
			return piece{}, err
		}
	}
	if !s.dec.More() {
		if _, err := s.dec.Token(); err != nil {
			return piece{}, err // the end, or what is no value
		}
	}
	token, err := s.dec.Token()
	if err != nil {
		return piece{}, err
	}
	if token != json.Delim('{') {
		return piece{}, errors.New("this is no Kubernetes object")
	}
	return s.object(s.dec.InputOffset() - 1)
}

// object reads up to the end of an object, or up to the first of its items.
func (s *jsonStream) object(begin int64) (piece, error) {
	line := s.in.lineOf(begin)
	var h head
	for s.dec.More() {
		token, err := s.dec.Token()
		if err != nil {
			return piece{}, early(err)
		}
		key, _ := token.(string)
		if key == "items" && (h.Kind == "" || strings.HasSuffix(h.Kind, "List")) {
			first, err := s.dec.Token()
			switch {
			case err != nil:
				return piece{}, early(err)
			case first == json.Delim('['):
				s.list = &h
				return s.read()
			case first == json.Delim('{'):
				return piece{}, errors.New("items is no list")
			}
			continue
		}
		var value json.RawMessage
		if err := s.dec.Decode(&value); err != nil {
			return piece{}, early(err)
		}
		switch key {
		case "apiVersion":
			_ = json.Unmarshal(value, &h.APIVersion)
		case "kind":
			_ = json.Unmarshal(value, &h.Kind)
		}
	}
	if _, err := s.dec.Token(); err != nil {
		return piece{}, early(err)
	}
	end := s.dec.InputOffset()
	text := bytes.Clone(s.in.text[begin-s.in.base : end-s.in.base])
	s.in.passed(end)
	return piece{text: text, line: line}, nil
}

// value is an item of a List.
func (s *jsonStream) value(list head) (piece, error) {
	s.in.passed(s.dec.InputOffset())
	var raw json.RawMessage
	if err := s.dec.Decode(&raw); err != nil {
		return piece{}, early(err)
	}
	return piece{text: raw, line: s.in.lineOf(s.dec.InputOffset() - int64(len(raw))), list: list}, nil
}

// endOfList reads what stands behind the items.
func (s *jsonStream) endOfList() error {
	s.list = nil
	if _, err := s.dec.Token(); err != nil { // the bracket
		return early(err)
	}
	for s.dec.More() {
		if _, err := s.dec.Token(); err != nil {
			return early(err)
		}
		var value json.RawMessage
		if err := s.dec.Decode(&value); err != nil {
			return early(err)
		}
	}
	_, err := s.dec.Token()
	s.in.passed(s.dec.InputOffset())
	return early(err)
}

func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

var errTooLarge = fmt.Errorf("an object of more than %d MiB, which no cluster holds", maxDocument>>20)

// keptText knows the text and the lines of what was read last, and refuses to
// read on if one value takes too much.
type keptText struct {
	in   io.Reader
	text []byte // from base on
	base int64
	mark int64 // up to here all has been taken
	line int   // of mark
}

func (k *keptText) Read(p []byte) (int, error) {
	if k.base+int64(len(k.text))-k.mark > maxDocument+int64(len(p)) {
		return 0, errTooLarge
	}
	n, err := k.in.Read(p)
	k.text = append(k.text, p[:n]...)
	return n, err
}

// lineOf is the line of an offset behind the mark.
func (k *keptText) lineOf(offset int64) int {
	return k.line + bytes.Count(k.text[k.mark-k.base:max(k.mark, min(offset, k.base+int64(len(k.text))))-k.base], newline)
}

// passed moves the mark.
func (k *keptText) passed(offset int64) {
	k.line, k.mark = k.lineOf(offset), offset
	if behind := offset - k.base; behind > splitFrom {
		k.text = append(k.text[:0], k.text[behind:]...)
		k.base = offset
	}
}
