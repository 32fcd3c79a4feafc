// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	yamlv3 "go.yaml.in/yaml/v3"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Bounds of what is read. Real clusters stay far below; files that were made
// to hurt don't get further.
const (
	maxInput    = 256 << 20
	maxDocument = 16 << 20
	maxDepth    = 64
	maxExcerpt  = 64 << 10 // of Source.YAML
)

// document is one object of a file.
type document struct {
	file string
	line int    // of its first line
	text string // as written
	json []byte
	node *yamlv3.Node // for lines; nil if not known
}

// IsJSON tells a stream of JSON objects from YAML, whose flow style begins with
// a brace as well, but seldom with a quoted key.
func IsJSON(data []byte) bool {
	rest, brace := bytes.CutPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return brace && (len(rest) == 0 || rest[0] == '"' || rest[0] == '}')
}

// eachDocument calls f for every document of a YAML stream, or every object of
// a JSON stream. What is wrong with one document doesn't hide the others.
func eachDocument(data []byte, file string, f func(document)) error {
	if len(data) > maxInput {
		return fmt.Errorf("%s: larger than %d MiB: split it", file, maxInput>>20)
	}
	if IsJSON(data) {
		return eachJSON(data, file, f)
	}
	var errs []error
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	line := 1
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("%s:%d: %w", file, line, err))...)
		}
		// The reader drops separator lines, so each document is found again.
		start := line
		if i := bytes.Index(data, text); i >= 0 {
			start += bytes.Count(data[:i], newline)
			line = start + bytes.Count(text, newline)
			data = data[i+len(text):]
		}
		d, err := newDocument(text, file, start)
		if err != nil {
			errs = append(errs, err)
		} else if len(d.json) > 0 {
			f(d)
		}
	}
}

var newline = []byte("\n")

func newDocument(text []byte, file string, line int) (document, error) {
	d := document{file: file, line: line, text: string(text)}
	if len(text) > maxDocument {
		return d, fmt.Errorf("%s:%d: the document is larger than %d MiB", file, line, maxDocument>>20)
	}
	var root yamlv3.Node
	if err := yamlv3.Unmarshal(text, &root); err != nil {
		return d, shifted(file, line, err)
	}
	if len(root.Content) == 0 {
		return d, nil // nothing but comments
	}
	d.node = root.Content[0]
	if err := boundedNode(d.node, 0, new(int)); err != nil {
		return d, fmt.Errorf("%s:%d: %w", file, line, err)
	}
	var err error
	// Values as kubectl reads them; the nodes above are for lines alone.
	if d.json, err = yaml.YAMLToJSONStrict(text); err != nil {
		return d, shifted(file, line, err)
	}
	if bytes.Equal(d.json, []byte("null")) {
		d.json = nil
	}
	return d, nil
}

// boundedNode refuses what would grow without bound once aliases are followed.
func boundedNode(n *yamlv3.Node, depth int, count *int) error {
	const most = 1_000_000
	if *count++; *count > most {
		return fmt.Errorf("the document holds more than %d values once its aliases are followed", most)
	}
	if depth > maxDepth {
		return fmt.Errorf("the document is nested deeper than %d", maxDepth)
	}
	if n.Kind == yamlv3.AliasNode {
		return boundedNode(n.Alias, depth+1, count)
	}
	for _, c := range n.Content {
		if err := boundedNode(c, depth+1, count); err != nil {
			return err
		}
	}
	return nil
}

// shifted turns "yaml: line 3: …" of a document into the line of its file.
func shifted(file string, first int, err error) error {
	text := err.Error()
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

func eachJSON(data []byte, file string, f func(document)) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return nil
		}
		end := min(int(dec.InputOffset()), len(data))
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, 1+bytes.Count(data[:end], newline), err)
		}
		start := end - len(raw)
		d := document{file: file, line: 1 + bytes.Count(data[:start], newline), text: string(raw), json: raw}
		var root yamlv3.Node
		if len(raw) <= maxDocument && yamlv3.Unmarshal(raw, &root) == nil && len(root.Content) > 0 && boundedNode(root.Content[0], 0, new(int)) == nil {
			d.node = root.Content[0]
		}
		f(d)
	}
}

// source makes the Source of an object; node is the object's own.
func (d document) source(node *yamlv3.Node) Source {
	s := Source{File: d.file, Line: d.line}
	if node != nil {
		s.Line = d.line + node.Line - 1
		s.Lines = map[string]int{}
		addLines(s.Lines, node, "", d.line-1)
	}
	if node == d.node {
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
