// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"fmt"
	"io"
	"strings"
)

// edge is all ports of one pair that have the same sign.
type edge struct {
	from, to End
	symbol   string
	ports    []string
}

// style of an edge, by sign; signs without one are left out.
var style = map[string]string{
	"✓": `color="#1a7f37"`,
	"+": `color="#1a7f37", style=bold, arrowhead=vee`,
	"~": `color="#cf222e", style=dashed`,
	"?": `color="#9a6700", style=dotted`,
	"±": `color="#9a6700"`,
}

// WriteDOT writes a graph for Graphviz: an edge for what is allowed, would be
// denied or would be allowed, and for what is contested; nothing for what is
// denied.
func WriteDOT(w io.Writer, m *Matrix) error {
	var b strings.Builder
	b.WriteString("digraph policies {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n")
	for i, ns := range byNamespace(m) {
		if ns.name == "" {
			for _, e := range ns.ends {
				fmt.Fprintf(&b, "  %s [label=%s, shape=ellipse];\n", quote(e.String()), quote(e.String()))
			}
			continue
		}
		fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=%s;\n", i, quote(ns.name))
		for _, e := range ns.ends {
			fmt.Fprintf(&b, "    %s [label=%s];\n", quote(e.String()), quote(e.Workload))
		}
		b.WriteString("  }\n")
	}
	for _, e := range edges(m) {
		fmt.Fprintf(&b, "  %s -> %s [label=%s, %s];\n", quote(e.from.String()), quote(e.to.String()), quote(e.symbol+" "+strings.Join(e.ports, " ")), style[e.symbol])
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

type namespaceEnds struct {
	name string
	ends []End
}

// byNamespace groups rows and columns, in their order.
func byNamespace(m *Matrix) []namespaceEnds {
	var out []namespaceEnds
	seen, at := map[string]bool{}, map[string]int{}
	add := func(e End) {
		if seen[e.String()] {
			return
		}
		seen[e.String()] = true
		i, ok := at[e.Namespace]
		if !ok {
			i = len(out)
			at[e.Namespace] = i
			out = append(out, namespaceEnds{name: e.Namespace})
		}
		out[i].ends = append(out[i].ends, e)
	}
	for _, r := range m.Rows {
		add(r)
	}
	for _, c := range m.Columns {
		add(c.To)
	}
	return out
}

func edges(m *Matrix) []*edge {
	var out []*edge
	for i, from := range m.Rows {
		at := map[string]*edge{}
		for j, c := range m.Columns {
			symbol := m.Cells[i][j].Symbol()
			if style[symbol] == "" {
				continue
			}
			key := c.To.String() + symbol
			if at[key] == nil {
				at[key] = &edge{from: from, to: c.To, symbol: symbol}
				out = append(out, at[key])
			}
			at[key].ports = append(at[key].ports, c.Port.String())
		}
	}
	return out
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
