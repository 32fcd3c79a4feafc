// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Judger is a kernel that judges packets by a node's rules: what a session's
// probe does, without traffic.
type Judger interface {
	// Judge answers in the order of the questions.
	Judge(rules *ruleset.Ruleset, packets []ruleset.Packet) ([]ruleset.Result, error)
}

// UseKernel gives the batch a kernel to ask. With [Kernel] it answers; with
// [All] it is compared with the others.
func (b *Batch) UseKernel(j Judger) {
	b.kernel = &asked{judger: j, known: map[question]ruleset.Result{}}
}

// asked keeps a kernel's answers for a while: rules are loaded for one node
// at a time, so questions are better asked together.
type asked struct {
	judger Judger
	known  map[question]ruleset.Result
}

type question struct {
	node string
	ruleset.Packet
}

// questions are what a packet is to the endpoints at its ends.
func (b *Batch) questions(p policy.Packet) []question {
	if p.SourcePod != "" || p.DestinationPod != "" {
		return nil // an address is all that a kernel sees of pods on the host network
	}
	if b.blocks && b.noIP(p) {
		return nil // and of those that have none yet
	}
	var out []question
	if pod := b.view.Pod(p.Source); pod != nil {
		out = append(out, question{pod.Node, ruleset.Packet{Direction: flow.Egress, Protocol: p.Protocol, Local: p.Source, Peer: p.Destination, Port: p.Port}})
	}
	if pod := b.view.Pod(p.Destination); pod != nil && !b.isService(p) {
		out = append(out, question{pod.Node, ruleset.Packet{Direction: flow.Ingress, Protocol: p.Protocol, Local: p.Destination, Peer: p.Source, Port: p.Port}})
	}
	return out
}

// askKernel makes sure that the answers about some packets are known.
func (b *Batch) askKernel(packets []policy.Packet) error {
	if b.kernel == nil {
		return nil
	}
	clear(b.kernel.known)
	var nodes []string // in order of appearance
	byNode := map[string][]question{}
	for _, p := range packets {
		for _, q := range b.questions(p) {
			if byNode[q.node] == nil {
				nodes = append(nodes, q.node)
			}
			byNode[q.node] = append(byNode[q.node], q)
		}
	}
	for _, node := range nodes {
		for list := range chunks(byNode[node]) {
			asked := make([]ruleset.Packet, len(list))
			for i, q := range list {
				asked[i] = q.Packet
			}
			answers, err := b.kernel.judger.Judge(judging(b.out.Node(node), list), asked)
			if err != nil {
				return fmt.Errorf("ask the kernel: %w", err)
			}
			for i, q := range list {
				b.kernel.known[q] = answers[i]
			}
		}
	}
	return nil
}

// mostJudged is how many addresses are judged by one load of the tables; a
// kernel holds some more. Files may show more pods on a node than any has.
const mostJudged = 2000

// chunks cuts questions where they are about more addresses than that.
func chunks(list []question) iter.Seq[[]question] {
	return func(yield func([]question) bool) {
		locals, from := map[netip.Addr]bool{}, 0
		for i, q := range list {
			if !locals[q.Local] && len(locals) == mostJudged {
				if !yield(list[from:i]) {
					return
				}
				from = i
				clear(locals)
			}
			locals[q.Local] = true
		}
		yield(list[from:])
	}
}

// judging is the rules with no more pods than are asked about, if that matters.
func judging(r *ruleset.Ruleset, list []question) *ruleset.Ruleset {
	if len(r.Endpoints) <= mostJudged {
		return r
	}
	locals := map[netip.Addr]bool{}
	for _, q := range list {
		locals[q.Local] = true
	}
	some := *r
	some.Endpoints = slices.DeleteFunc(slices.Clone(r.Endpoints), func(e ruleset.Endpoint) bool { return !locals[e.IP] })
	return &some
}

// compare holds the tables' and the kernel's verdicts of each end against the
// reference's. The error says which disagree.
func (b *Batch) compare(p policy.Packet, want *policy.Result) error {
	for _, q := range b.questions(p) {
		end := &want.Egress
		if q.Direction == flow.Ingress {
			end = &want.Ingress
		}
		says := []string{fmt.Sprintf("%s %s", Reference, verdictOf(end))}
		agree := true
		for _, e := range []Engine{Compiled, Kernel} {
			if r, ok := b.result(e, q); ok {
				says = append(says, fmt.Sprintf("%s %s", e, r.Current.Verdict))
				agree = agree && r.Current.Verdict == verdictOf(end)
			}
		}
		if !agree {
			return &DisagreementError{fmt.Sprintf("%s %s to %s port %d, %s: %s", p.Protocol, p.Source, p.Destination, p.Port, q.Direction, strings.Join(says, ", "))}
		}
	}
	return nil
}

// result is what an engine other than the reference says at one end.
func (b *Batch) result(e Engine, q question) (ruleset.Result, bool) {
	if e == Kernel {
		if b.kernel == nil {
			return ruleset.Result{}, false
		}
		r, ok := b.kernel.known[q]
		return r, ok
	}
	return b.table(q.node).Judge(q.Packet), true
}

func verdictOf(e *policy.End) flow.Verdict {
	if e.Verdict == flow.NotJudged {
		return flow.Allow
	}
	return e.Verdict
}

// DisagreementError says that engines answer differently, which must not be.
type DisagreementError struct{ what string }

func (e *DisagreementError) Error() string {
	return "the engines disagree: " + e.what + "; this is a bug of ours, please report it with these files"
}

// SideBySide writes what each engine says of a packet at both ends, for
// people. The error says that they disagree.
func (b *Batch) SideBySide(p policy.Packet) (string, error) {
	if err := b.askKernel([]policy.Packet{p}); err != nil {
		return "", err
	}
	want := b.reference.Evaluate(p)
	var w strings.Builder
	row := func(e Engine, egress, ingress string) { fmt.Fprintf(&w, "%-10s  %-52s  %s\n", e, egress, ingress) }
	row("engine", "egress, at the source", "ingress, at the destination")
	row(Reference, endText(endOf(&want.Egress)), endText(endOf(&want.Ingress)))
	engines := []Engine{Compiled}
	if b.kernel != nil {
		engines = append(engines, Kernel)
	}
	for _, e := range engines {
		ends := map[flow.Direction]string{flow.Egress: "not asked: nobody that it judges", flow.Ingress: "not asked: nobody that it judges"}
		for _, q := range b.questions(p) {
			if r, ok := b.result(e, q); ok {
				ends[q.Direction] = endText(b.text(r.Set).of(r.Current))
			}
		}
		row(e, ends[flow.Egress], ends[flow.Ingress])
	}
	return w.String(), b.compare(p, want)
}

// endText is an end's verdict with what decided.
func endText(e *End) string {
	s := marks[e.Verdict]
	switch {
	case e.Reason != "":
		s += ", " + e.Reason
	case e.Verdict == flow.Contested:
	case e.Rule != nil:
		s += " by " + e.Rule.String()
	case len(e.IsolatedBy) > 0:
		s += ", isolated by " + e.IsolatedBy[0].String()
	}
	return s
}
