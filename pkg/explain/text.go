// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// SetNamespace says where names without a namespace are looked up.
func (b *Batch) SetNamespace(namespace string) { b.resolver.Namespace = namespace }

var marks = map[flow.Verdict]string{flow.Allow: "✓ allowed", flow.Deny: "✗ denied", flow.Contested: "? contested", flow.NotJudged: "✓ allowed"}

// Text is an explanation for people. It may hold names from a cluster: take
// control characters out before it is drawn.
func (b *Batch) Text(x *Explanation) string {
	var w strings.Builder
	p := x.Packet
	fmt.Fprintf(&w, "%s: %s to %s, %s\n", marks[x.Result.Verdict], b.Name(p.Source, 0, p.Protocol), b.Name(p.Destination, p.Port, p.Protocol), p.Protocol)
	for _, r := range x.Result.Readings {
		fmt.Fprintf(&w, "  if %s: %s (case %d)\n", r.Text, r.Verdict, r.Case)
	}
	writeSide(&w, "egress, at the source", &x.Egress)
	writeSide(&w, "ingress, at the destination", &x.Ingress)
	return w.String()
}

func writeSide(w *strings.Builder, title string, s *Side) {
	fmt.Fprintf(w, "\n%s: %s", title, marks[s.Verdict])
	d := s.Decision
	switch {
	case s.Why != "":
		fmt.Fprintf(w, ", %s\n", s.Why)
	case d.Policy != nil:
		fmt.Fprintf(w, " by %s %s%s\n%s", d.Policy.Kind, d.Policy.RuleRef(d.Rule.Index), place(d.Policy, d.Rule.Line), Quote(d.Policy, d.Rule))
	case len(d.IsolatedBy) > 0:
		fmt.Fprintf(w, " by default, as no rule matches of what isolates the pod:\n")
		for _, p := range d.IsolatedBy {
			fmt.Fprintf(w, "  %s %s%s\n", p.Kind, p.Key(), place(p, p.Source.Line))
		}
	default:
		fmt.Fprintf(w, ", no policy isolates the pod there\n")
	}
	writeMisses(w, s.Misses)
	if s.Patch != nil {
		p := s.Patch.Policy
		fmt.Fprintf(w, "  This would allow it (kubectl patch networkpolicy %s -n %s --type=json --patch-file=FILE):\n", p.Name, p.Namespace)
		for line := range strings.Lines(s.Patch.YAML) {
			fmt.Fprintf(w, "    %s", line)
		}
	}
}

// most misses are worth a line only if they are near.
const mostMisses = 5

func writeMisses(w *strings.Builder, misses []policy.Miss) {
	for i, m := range misses {
		switch {
		case i == mostMisses:
			fmt.Fprintf(w, "  and %d rules that are farther off\n", len(misses)-i)
			return
		case i == 0:
			fmt.Fprintf(w, "  nearest: %s%s\n%s", m, place(m.Policy, m.Rule.Line), Quote(m.Policy, m.Rule))
		default:
			fmt.Fprintf(w, "  also: %s%s\n", m, place(m.Policy, m.Rule.Line))
		}
	}
}

// place is " (file:line)" as far as it is known.
func place(p *policy.Policy, line int) string {
	switch {
	case p.Source.File == "":
		return ""
	case line == 0:
		return " (" + p.Source.File + ")"
	}
	return fmt.Sprintf(" (%s:%d)", p.Source.File, line)
}
