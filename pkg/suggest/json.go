// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ebpol/kubectl-ebpol/pkg/plain"
)

// list is a v1 List: kubectl apply takes it, and leaves the rest of it alone.
type list struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
	Because    []because         `json:"because"`
	Summary    summary           `json:"summary"`
}

// because is the flows behind a peer of a rule.
type because struct {
	Policy    string   `json:"policy"` // namespace/name
	Direction string   `json:"direction"`
	Rule      int      `json:"rule"` // from 0
	Peer      int      `json:"peer"` // from 0
	Who       []string `json:"who,omitempty"`
	Service   []string `json:"service,omitempty"` // that stands for it
	Evidence
	Note string `json:"note,omitempty"`
}

type summary struct {
	Source  string    `json:"source"`
	Began   time.Time `json:"began,omitzero"`
	Seconds float64   `json:"seconds"`
	*Proposal
}

// WriteJSON writes a List that can be applied, and what each rule is there for.
func (p *Proposal) WriteJSON(w io.Writer) error {
	c := p.input.Coverage
	out := list{APIVersion: "v1", Kind: "List", Because: []because{}, Summary: summary{p.input.Source, c.Began.UTC(), c.Window().Seconds(), p}}
	for doc := range strings.SplitSeq(p.text, "\n---\n") {
		item, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			return fmt.Errorf("write the proposal as JSON: %w", err)
		}
		out.Items = append(out.Items, item)
	}
	for _, policy := range p.Policies {
		for _, rules := range [][]*Rule{policy.Ingress, policy.Egress} {
			for i, r := range rules {
				for j, peer := range r.Peers {
					out.Because = append(out.Because, because{policy.Key(), r.Direction.String(), i, j, peer.Names, peer.Via, peer.Seen, strings.Trim(r.Note+"; "+peer.Note, "; ")})
				}
			}
		}
	}
	e := json.NewEncoder(plain.ForJSON(w))
	e.SetIndent("", "  ")
	return e.Encode(out)
}
