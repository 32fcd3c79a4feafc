// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"fmt"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Engine is whatever can say what policies mean.
type Engine interface {
	// Prepare readies the engine for the packets of a step. Steps of a case
	// come in order; first is set at the first one.
	Prepare(s *Step, first bool) error
	// Judge gives the verdicts of the current policies at both ends. An end
	// that has no endpoint is NotJudged or Allow. Only false: the engine can't
	// be asked about such a packet (a service's backend isn't known to it).
	Judge(p *Packet) (egress, ingress flow.Verdict, asked bool, err error)
}

// Reference is the reference evaluator as an engine.
type Reference struct{ e *policy.Evaluator }

// Prepare implements [Engine].
func (r *Reference) Prepare(s *Step, _ bool) error {
	r.e = policy.NewEvaluator(s.World, s.Policies)
	return nil
}

// Judge implements [Engine].
func (r *Reference) Judge(p *Packet) (egress, ingress flow.Verdict, asked bool, err error) {
	out := r.e.Evaluate(p.Packet)
	return out.Egress.Verdict, out.Ingress.Verdict, true, nil
}

// Tables is what an engine that is fed with rulesets starts from: a compiler
// that lives through the steps of a case.
type Tables struct {
	c          *compile.Compiler
	generation uint64
	Out        *compile.Output
	View       *policy.View
}

// Prepare compiles the step.
func (t *Tables) Prepare(s *Step, first bool) error {
	if first {
		t.c, t.generation = compile.New(), 0
	}
	t.generation++
	var modes []compile.PolicyMode
	for _, p := range s.Policies {
		modes = append(modes, compile.PolicyMode{Policy: p, Current: true, Candidate: true})
	}
	var err error
	t.View = policy.NewView(s.World)
	t.Out, err = t.c.Compile(compile.Input{Generation: t.generation, World: s.World, Policies: modes})
	return err
}

// Ends gives the packet as each end's endpoint sees it, and the node that the
// endpoint is on; nil if the end has none. Asked is false where the ends see
// something else than the packet says: a service's backend, which pod on the
// host network is meant, what kind of ICMP it is.
func (t *Tables) Ends(p *Packet) (egress, ingress *ruleset.Packet, egressNode, ingressNode string, asked bool) {
	_, _, service := t.View.Service(policy.ServiceAddress{IP: p.Destination, Protocol: p.Protocol, Port: p.Port}, "")
	if p.SourcePod != "" || p.DestinationPod != "" || p.HasICMPType {
		return nil, nil, "", "", false
	}
	if pod := t.View.Pod(p.Source); pod != nil {
		egress = &ruleset.Packet{Direction: flow.Egress, Protocol: p.Protocol, Local: p.Source, Peer: p.Destination, Port: p.Port}
		egressNode = pod.Node
	}
	if pod := t.View.Pod(p.Destination); pod != nil && !service {
		ingress = &ruleset.Packet{Direction: flow.Ingress, Protocol: p.Protocol, Local: p.Destination, Peer: p.Source, Port: p.Port}
		ingressNode = pod.Node
	}
	return egress, ingress, egressNode, ingressNode, true
}

// Compiled is the compiled tables, asked in Go, as an engine.
type Compiled struct{ Tables }

// Judge implements [Engine].
func (c *Compiled) Judge(p *Packet) (egress, ingress flow.Verdict, asked bool, err error) {
	out, in, outNode, inNode, asked := c.Ends(p)
	for _, e := range []struct {
		packet *ruleset.Packet
		node   string
		to     *flow.Verdict
	}{{out, outNode, &egress}, {in, inNode, &ingress}} {
		if e.packet == nil {
			continue
		}
		r := c.Out.Node(e.node)
		if err := r.Validate(); err != nil {
			return 0, 0, false, fmt.Errorf("node %q: %w", e.node, err)
		}
		*e.to = ruleset.NewTable(r).Judge(*e.packet).Current.Verdict
	}
	return egress, ingress, asked, nil
}
