// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
)

// schema makes one table for the event and one for each object in it, from
// the types' tags and comments.
func schema(string) (string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), "pkg/flow/event.go", nil, parser.ParseComments)
	if err != nil {
		return "", err
	}
	observed, err := parser.ParseFile(token.NewFileSet(), "pkg/flow/observed.go", nil, parser.ParseComments)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("One object a line. `type` is one of:\n\n| `type` | when |\n| --- | --- |\n")
	types, err := constants(f, "EventType")
	if err != nil {
		return "", err
	}
	b.WriteString(types)
	for _, object := range []struct {
		in          *ast.File
		name, title string
	}{
		{f, "Event", ""},
		{f, "Peer", "`source` and `destination`"},
		{f, "Rule", "`rule`, `candidateRule` and the entries of `isolatedBy`"},
		{observed, "Owner", "`owner`"},
		{observed, "Request", "`request`"},
		{observed, "Answer", "`answer`"},
		{observed, "NftRule", "`nftRule`"},
		{observed, "Isolation", "An object of type `isolation` has these instead"},
	} {
		t, err := fields(object.in, object.name)
		if err != nil {
			return "", err
		}
		if object.title != "" {
			fmt.Fprintf(&b, "\n%s:\n", object.title)
		}
		b.WriteString("\n| field | type | meaning |\n| --- | --- | --- |\n" + t)
	}
	for _, list := range []struct{ name, title string }{{"Outcome", "observed"}, {"Agreement", "agreement"}} {
		t, err := constants(observed, list.name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n| `%s` | when |\n| --- | --- |\n%s", list.title, t)
	}
	return b.String(), nil
}

// constants reads the constants of a type, with their comments.
func constants(f *ast.File, name string) (string, error) {
	var b strings.Builder
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if t, ok := v.Type.(*ast.Ident); !ok || t.Name != name || len(v.Values) != 1 {
			return true
		}
		word, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err == nil {
			fmt.Fprintf(&b, "| `%s` | %s |\n", word, oneLine(v.Comment.Text()))
		}
		return true
	})
	if b.Len() == 0 {
		return "", fmt.Errorf("no constants of %q found", name)
	}
	return b.String(), nil
}

func fields(f *ast.File, name string) (string, error) {
	var b strings.Builder
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != name {
			return true
		}
		s, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range s.Fields.List {
			if field.Tag == nil {
				continue
			}
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				continue
			}
			json, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if json == "" || json == "-" {
				continue
			}
			comment := field.Comment.Text()
			if comment == "" {
				comment = field.Doc.Text()
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", json, jsonType(field.Type), oneLine(comment))
		}
		return false
	})
	if b.Len() == 0 {
		return "", fmt.Errorf("no fields of %q found", name)
	}
	return b.String(), nil
}

// words of the types that marshal themselves.
var words = map[string]string{
	"Direction":  "`ingress` or `egress`",
	"Verdict":    "`allow`, `deny` or `contested`",
	"Protocol":   "`TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6` or a number",
	"RuleKind":   "string",
	"EventType":  "string, see above",
	"netip.Addr": "address",
	"time.Time":  "RFC 3339",
	"string":     "string",
	"bool":       "boolean",
	"int":        "number",
	"uint16":     "number",
	"uint64":     "number",
	"Outcome":    "string, see below",
	"Agreement":  "string, see below",
	"Owner":      "object, see below",
	"Request":    "object, see below",
	"Answer":     "object, see below",
	"NftRule":    "object, see below",
	"float64":    "number",
	"uint32":     "number",
	"Peer":       "object, see below",
	"Rule":       "object, see below",
}

func jsonType(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.StarExpr:
		return jsonType(t.X)
	case *ast.ArrayType:
		return "list of " + strings.TrimSuffix(jsonType(t.Elt), ", see below") + "s"
	case *ast.SelectorExpr:
		return word(t.X.(*ast.Ident).Name + "." + t.Sel.Name)
	case *ast.Ident:
		return word(t.Name)
	}
	return "value"
}

func word(name string) string {
	if w, ok := words[name]; ok {
		return w
	}
	return "`" + name + "`"
}

// oneLine makes a comment fit a table's cell.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
}
