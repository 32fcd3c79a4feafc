// SPDX-License-Identifier: Apache-2.0

package page

import "github.com/ebpol/kubectl-ebpol/pkg/store"

// nodeLanguage is what nodes are filtered by.
var nodeLanguage = fielded[*store.NodeRow]{
	of: "nodes",
	fields: []facet[*store.NodeRow]{
		{"node", func(r *store.NodeRow) []string { return []string{r.Node} }},
		{"probe", func(r *store.NodeRow) []string { return []string{r.Phase} }},
		{"hook", func(r *store.NodeRow) []string { return []string{r.Hook} }},
		{"kernel", func(r *store.NodeRow) []string { return []string{r.Kernel} }},
	},
	text: func(r *store.NodeRow) string { return r.Node + " " + r.Phase + " " + r.Kernel },
}

// SetFilter implements [Filterer].
func (p *Nodes) SetFilter(s string) error {
	keep, err := nodeLanguage.compile(s)
	if err != nil {
		return err
	}
	p.keep = keep
	p.narrowed(s)
	return nil
}

// Fields implements [Fielder].
func (p *Nodes) Fields() []string { return nodeLanguage.names() }

// Values implements [Fielder].
func (p *Nodes) Values(field string) []string {
	return nodeLanguage.values(field, p.all)
}
