// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// Bounds of what is read. Real clusters stay far below; files that were made
// to hurt don't get further.
const (
	maxDepth   = 128
	maxExcerpt = 64 << 10 // of Source.YAML
)

// document is one object of a file.
type document struct {
	file string
	line int    // of its first line
	text string // as written
	json []byte
	list head // of the long List that it is an item of
}

// IsJSON tells a stream of JSON objects from YAML, whose flow style begins with
// a brace as well, but seldom with a quoted key.
func IsJSON(data []byte) bool {
	rest, brace := bytes.CutPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return brace && (len(rest) == 0 || rest[0] == '"' || rest[0] == '}')
}

var newline = []byte("\n")

// documents reads a YAML or JSON stream and calls f for each of its objects, in
// order. What is wrong with one document doesn't hide the others; a fault of
// the stream itself ends it. Text is made into JSON on all processors.
func documents(r io.Reader, file string, f func(document)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	start, err := in.Peek(4)
	switch {
	case bytes.HasPrefix(start, []byte("\xef\xbb\xbf")):
		_, err = in.Discard(3)
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		return fmt.Errorf("%s: this is UTF-16: save it as UTF-8", file)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", file, err)
	}
	var next func() (piece, error)
	read := newDocument
	if start, _ = in.Peek(4 << 10); IsJSON(start) {
		next, read = newJSONStream(in, file).next, newJSON
	} else {
		next = newSplitter(in, file).next
	}
	err = nil
	var errs []error
	for {
		var batch []piece
		for size := 0; size < splitFrom && err == nil; {
			var p piece
			if p, err = next(); err == nil {
				batch = append(batch, p)
				size += len(p.text)
			}
		}
		docs, faults := make([]document, len(batch)), make([]error, len(batch))
		each(len(batch), func(i int) { docs[i], faults[i] = read(batch[i], file) })
		for i := range docs {
			if faults[i] != nil {
				errs = append(errs, faults[i])
			} else if len(docs[i].json) > 0 {
				f(docs[i])
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return errors.Join(errs...)
		case err != nil:
			return errors.Join(append(errs, err)...)
		}
	}
}

// each calls f for 0 to n-1, on all processors.
func each(n int, f func(int)) {
	var wait sync.WaitGroup
	var at atomic.Int64
	for range min(n, runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			for i := int(at.Add(1)) - 1; i < n; i = int(at.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wait.Wait()
}

func newDocument(p piece, file string) (document, error) {
	d := document{file: file, line: p.line, text: string(p.text), list: p.list}
	var err error
	// Values as kubectl reads them; nodes are for lines alone, of policies alone.
	if d.json, err = yaml.YAMLToJSONStrict(p.text); err != nil {
		var root yamlv3.Node
		return d, shifted(file, p.line, cmp.Or(yamlv3.Unmarshal(p.text, &root), err)) // whose lines are right
	}
	if bytes.Equal(d.json, []byte("null")) {
		d.json = nil
	}
	return d, tooDeep(d)
}

func newJSON(p piece, file string) (document, error) {
	if p.yaml {
		return newDocument(p, file)
	}
	d := document{file: file, line: p.line, text: string(p.text), list: p.list, json: p.text}
	return d, tooDeep(d)
}

func tooDeep(d document) error {
	depth, text := 0, false
	for i := 0; i < len(d.json); i++ {
		switch c := d.json[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("%s:%d: the document is nested deeper than %d", d.file, d.line, maxDepth)
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return nil
}

// nodes are for lines; nil if they can't be known.
func (d document) nodes() *yamlv3.Node {
	var root yamlv3.Node
	if yamlv3.Unmarshal([]byte(d.text), &root) != nil || len(root.Content) == 0 {
		return nil
	}
	return root.Content[0]
}

// shifted turns "yaml: line 3: …" of a document into the line of its file.
func shifted(file string, first int, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if i := bytes.Index([]byte(text), []byte("line ")); i >= 0 {
		rest := text[i+len("line "):]
		end := 0
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		if n, parse := strconv.Atoi(rest[:end]); parse == nil {
			line = n
			if end+2 <= len(rest) && rest[end:end+2] == ": " {
				text = rest[end+2:]
			}
		}
	}
	if line == 0 {
		return fmt.Errorf("%s:%d: %s", file, first, text)
	}
	return fmt.Errorf("%s:%d: %s", file, first+line-1, text)
}

// source makes the Source of an object; node is the object's own, whole says
// whether the document holds nothing else.
func (d document) source(node *yamlv3.Node, whole bool) Source {
	s := Source{File: d.file, Line: d.line}
	if node != nil {
		s.Line = d.line + node.Line - 1
		s.Lines = map[string]int{}
		addLines(s.Lines, node, "", d.line-1)
	}
	if whole {
		s.YAML = d.text[:min(len(d.text), maxExcerpt)]
	}
	return s
}

func addLines(lines map[string]int, n *yamlv3.Node, path string, offset int) {
	switch n.Kind {
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p := n.Content[i].Value
			if path != "" {
				p = path + "." + p
			}
			lines[p] = n.Content[i].Line + offset
			addLines(lines, n.Content[i+1], p, offset)
		}
	case yamlv3.SequenceNode:
		for i, c := range n.Content {
			p := at(path, i)
			lines[p] = c.Line + offset
			addLines(lines, c, p, offset)
		}
	}
}

// child is the value of a key of a mapping node; nil if there is none.
func child(n *yamlv3.Node, key string) *yamlv3.Node {
	if n == nil || n.Kind != yamlv3.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
