// SPDX-License-Identifier: Apache-2.0

package page

import (
	"go.yaml.in/yaml/v3"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// maxYAMLBytes bounds what is parsed; the API server takes 1.5 MiB at most.
const maxYAMLBytes = 2 << 20

// ruleLines finds the line (from 1) on which each rule of a policy begins,
// and for the default deny of a direction the best line there is: its entry
// in policyTypes, else the direction's own list, else the spec. Text that
// can't be parsed has no rules.
func ruleLines(text string) map[int]store.RuleAt {
	marks := map[int]store.RuleAt{}
	if len(text) > maxYAMLBytes {
		return marks
	}
	var doc yaml.Node
	if yaml.Unmarshal([]byte(text), &doc) != nil || len(doc.Content) == 0 {
		return marks
	}
	_, spec := field(doc.Content[0], "spec")
	if spec == nil {
		return marks
	}
	types := map[string]int{}
	if _, list := field(spec, "policyTypes"); list != nil {
		for _, n := range list.Content {
			types[n.Value] = n.Line
		}
	}
	for _, d := range []struct {
		direction  flow.Direction
		key, title string
	}{{flow.Ingress, "ingress", "Ingress"}, {flow.Egress, "egress", "Egress"}} {
		keyNode, list := field(spec, d.key)
		if list != nil && list.Kind == yaml.SequenceNode {
			for i, n := range list.Content {
				put(marks, n.Line, store.RuleAt{Direction: d.direction, Index: i})
			}
		}
		switch {
		case types[d.title] > 0:
			put(marks, types[d.title], store.RuleAt{Direction: d.direction, Index: -1})
		case keyNode != nil:
			put(marks, keyNode.Line, store.RuleAt{Direction: d.direction, Index: -1})
		case d.direction == flow.Ingress:
			if k, _ := field(doc.Content[0], "spec"); k != nil {
				put(marks, k.Line, store.RuleAt{Direction: d.direction, Index: -1})
			}
		}
	}
	return marks
}

// put keeps the first mark of a line: in flow style several rules share one.
func put(marks map[int]store.RuleAt, line int, at store.RuleAt) {
	if _, taken := marks[line]; !taken {
		marks[line] = at
	}
}

// field finds a mapping's key and value.
func field(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}
