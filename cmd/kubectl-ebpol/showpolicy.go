// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui"
)

// policyLine is one object of the page "policies".
type policyLine struct {
	Type      string        `json:"type"` // "policy"
	Kind      flow.RuleKind `json:"kind"`
	Policy    string        `json:"policy"`
	From      string        `json:"from"`
	Mode      string        `json:"mode"`
	Pods      int           `json:"pods"`
	Decided   uint64        `json:"decided"`
	WouldDeny uint64        `json:"wouldDeny"`
	Weight    float64       `json:"weight"`
	Warnings  []string      `json:"warnings,omitempty"` // of the compiler
	Lint      []tui.Finding `json:"lint,omitempty"`
	Unjudged  string        `json:"unjudged,omitempty"` // why
}

func keyOfRow(r *store.PolicyRow) string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

func policyRows(s *store.Store) ([]string, []row) {
	rows := s.Snapshot(store.Query{Policies: true}).Policies
	var known map[tui.PolicyID]tui.Advice
	if w := s.World(); w != nil {
		known = advice(w, rows)
	}
	out := make([]row, 0, len(rows))
	for _, r := range rows {
		a := known[tui.PolicyID{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}]
		marks := make([]string, 0, len(a.Findings)+len(r.Warnings))
		for _, f := range a.Findings {
			marks = append(marks, f.Severity+" "+f.ID)
		}
		for range r.Warnings {
			marks = append(marks, "warning compiler")
		}
		l := policyLine{"policy", r.Kind, keyOfRow(r), r.Origin, r.Mode(), r.Selected, r.Hits, r.WouldDeny, a.Weight, r.Warnings, a.Findings, r.NotEvaluated}
		out = append(out, row{[]string{l.Mode, string(l.Kind), l.Policy, l.From, strconv.Itoa(l.Pods), number(l.Decided), number(l.WouldDeny), amount(l.Weight), strings.Join(marks, ", ")}, l})
	}
	return []string{"MODE", "KIND", "POLICY", "FROM", "PODS", "DECIDED", "WOULD-DENY", "WEIGHT", "LINT"}, out
}

// ruleLine is one object of the page "policy".
type ruleLine struct {
	Type      string        `json:"type"` // "rule"
	Kind      flow.RuleKind `json:"kind"`
	Policy    string        `json:"policy"`
	Direction string        `json:"direction"`
	Index     *int          `json:"index,omitempty"` // absent: the default deny
	Hits      uint64        `json:"hits"`            // flows that it decided
	Missed    uint64        `json:"missed"`          // flows of the direction that the policy decided otherwise
}

func ruleRows(s *store.Snapshot) ([]string, []row) {
	var out []row
	for _, r := range s.Policies {
		ats := make([]store.RuleAt, 0, len(r.RuleHits))
		total := map[flow.Direction]uint64{}
		for at, n := range r.RuleHits {
			ats = append(ats, at)
			total[at.Direction] += n
		}
		slices.SortFunc(ats, func(a, b store.RuleAt) int {
			return cmp.Or(cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Index, b.Index))
		})
		for _, at := range ats {
			l := ruleLine{"rule", r.Kind, keyOfRow(r), at.Direction.String(), nil, r.RuleHits[at], total[at.Direction] - r.RuleHits[at]}
			name := "default deny"
			if at.Index >= 0 {
				l.Index, name = &at.Index, "rule "+strconv.Itoa(at.Index)
			}
			out = append(out, row{[]string{string(l.Kind), l.Policy, l.Direction, name, number(l.Hits), number(l.Missed)}, l})
		}
	}
	return []string{"KIND", "POLICY", "DIRECTION", "RULE", "HITS", "MISSED"}, out
}

// nodeLine is one object of the page "nodes".
type nodeLine struct {
	Type     string              `json:"type"` // "node"
	Node     string              `json:"node"`
	Probe    string              `json:"probe"` // its phase
	Kernel   string              `json:"kernel,omitempty"`
	Hook     string              `json:"hook,omitempty"`
	Others   []string            `json:"others,omitempty"` // other programs on our hooks
	Pods     int                 `json:"pods"`
	Failed   int                 `json:"failed"`  // pods that can't be attached to
	Lost     uint64              `json:"lost"`    // samples
	CPU      float64             `json:"cpu"`     // share of a core that our programs take
	Memory   uint64              `json:"memory"`  // bytes
	Stream   float64             `json:"stream"`  // bytes per second
	Dropped  uint64              `json:"dropped"` // packets, by our enforcement
	Programs []store.ProgramCost `json:"programs,omitempty"`
	Missing  []string            `json:"missing,omitempty"` // features, and what that costs
	Error    string              `json:"error,omitempty"`
	// How long policies took to be enforced there, as far as it was seen.
	Isolation []flow.Isolation `json:"isolation,omitempty"`
}

// verifiedLine is the last object of the page "nodes" in a live session.
type verifiedLine struct {
	Type     string `json:"type"`     // "verified"
	Compared uint64 `json:"compared"` // verdicts of the kernels that were held against the reference evaluator
	Agreed   uint64 `json:"agreed"`   // those that are what it says
}

func nodeRows(s *store.Snapshot) ([]string, []row) {
	var out []row
	for _, n := range s.Nodes {
		l := nodeLine{
			Type: "node", Node: n.Node, Probe: n.Phase, Kernel: n.Kernel, Hook: n.Hook, Others: n.Others, Pods: n.Endpoints, Failed: n.Failed,
			Lost: n.Loss.Ring + n.Loss.Thinned + n.Loss.Table + n.Loss.Resent, CPU: n.CPU, Memory: n.RSS + n.MapBytes, Stream: n.SentRate, Dropped: n.Dropped, Programs: n.Programs, Error: n.Error,
		}
		for _, f := range n.Features {
			if !f.Present {
				l.Missing = append(l.Missing, f.Name+": "+f.Why)
			}
		}
		var isolation []string
		for i := range s.Isolation {
			if s.Isolation[i].Node == n.Node {
				l.Isolation = append(l.Isolation, s.Isolation[i])
				isolation = append(isolation, lines.Isolation(&s.Isolation[i]))
			}
		}
		out = append(out, row{[]string{
			l.Node, l.Probe, strconv.Itoa(l.Pods), strconv.Itoa(l.Failed), number(l.Lost), fmt.Sprintf("%.1f%%", l.CPU*100), lines.Bytes(l.Memory), lines.Bytes(uint64(l.Stream)) + "/s", number(l.Dropped), l.Hook, l.Kernel, strings.Join(l.Others, ","), strings.Join(isolation, "; "),
		}, l})
	}
	if h := &s.Health; h.Compared > 0 {
		out = append(out, row{[]string{"verified", fmt.Sprintf("%d of %d verdicts agree with the reference", h.Agreed, h.Compared)}, verifiedLine{"verified", h.Compared, h.Agreed}})
	}
	return []string{"NODE", "PROBE", "PODS", "FAILED", "LOST", "CPU", "MEMORY", "STREAM", "WE-DROPPED", "HOOK", "KERNEL", "ALSO-THERE", "ENFORCED-IN"}, out
}

// whyLine is one object of the page "why": a connection that is denied, would
// be, or didn't go as the policies say, with what would help.
type whyLine struct {
	Type   string     `json:"type"` // "why"
	Event  flow.Event `json:"event"`
	Reason string     `json:"reason"`
	Nearly []tui.Miss `json:"nearly,omitempty"`
	Fix    string     `json:"fix,omitempty"`
	FixFor string     `json:"fixFor,omitempty"`
}

// mostWhys bounds how many stories are told, one for each pair.
const mostWhys = 200

func whyRows(s *store.Store) ([]string, []row) {
	a := &actions{store: s}
	var out []row
	for _, p := range s.Snapshot(store.Query{Pairs: true, Trouble: true, Limit: mostWhys}).Pairs {
		l := whyLine{Type: "why", Event: p.Sample.Event, Reason: lines.Why(&p.Sample.Event)}
		if x, err := a.Explain(context.Background(), p.Sample); err == nil {
			l.Nearly, l.Fix, l.FixFor = x.Misses, x.Fix, x.FixFor
		}
		near := ""
		if len(l.Nearly) > 0 {
			near = l.Nearly[0].Rule + " " + l.Nearly[0].Why
		}
		e := &l.Event
		out = append(out, row{[]string{lines.Word(e), lines.Name(e.Source), lines.Name(e.Destination), portOf(e), l.Reason, near}, l})
	}
	return []string{"VERDICT", "SOURCE", "DESTINATION", "PORT", "WHY", "NEARLY"}, out
}
