// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// fataler is a test, or one drawn case of it.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// cluster is all three engines at one generation: the reference for both sets
// of policies, the compiled tables of every node, and a loaded program for
// every node. Each generation reaches the kernels as a delta to the last one.
type cluster struct {
	compiler   *compile.Compiler
	generation uint64
	out        *compile.Output
	kernels    map[string]*kernel.Kernel
	rules      map[string]*ruleset.Ruleset
	tables     map[string]*ruleset.Table
	judged     map[string]bool // node and address that a ruleset has

	current, candidate *policy.Evaluator
}

// newCluster loads the programs of the nodes n1 to n3, which is what every
// world of the corpus and of the generator is made of.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{compiler: compile.New(), kernels: map[string]*kernel.Kernel{}, rules: map[string]*ruleset.Ruleset{}, tables: map[string]*ruleset.Table{}}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.kernels[name] = open(t, kernel.Options{Conns4: 4096, Conns6: 4096})
	}
	return c
}

// set brings all engines to the next generation.
func (c *cluster) set(t fataler, g gen.Generation) {
	t.Helper()
	c.generation++
	view := policy.NewView(g.World)
	c.current = policy.NewEvaluatorOf(view, g.Policies(gen.Current))
	c.candidate = policy.NewEvaluatorOf(view, g.Policies(gen.Candidate))
	out, err := c.compiler.Compile(compile.Input{Generation: c.generation, World: g.World, Policies: g.Modes})
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	c.out, c.judged = out, map[string]bool{}
	for name, k := range c.kernels {
		r := out.Node(name)
		if err := r.Validate(); err != nil {
			t.Fatalf("node %s: %v", name, err)
		}
		d, err := ruleset.Diff(c.rules[name], r)
		if err != nil {
			t.Fatalf("node %s: %v", name, err)
		}
		if err := k.Apply(d); err != nil {
			t.Fatalf("node %s: %v", name, err)
		}
		c.rules[name], c.tables[name] = r, ruleset.NewTable(r)
		for _, e := range r.Endpoints {
			c.judged[name+" "+e.IP.String()] = true
		}
	}
}

// asked is a packet at one of its ends.
type asked struct {
	ruleset.Packet
	node               string
	current, candidate *policy.End // what the reference says
}

// ends are those of the packet's ends that have an endpoint in some kernel.
// The reference is asked without the names of pods on the host network: an
// address is all that a kernel sees of them.
func (c *cluster) ends(p policy.Packet) []asked {
	p.SourcePod, p.DestinationPod = "", ""
	view := c.current.View()
	current, candidate := c.current.Evaluate(p), c.candidate.Evaluate(p)
	var out []asked
	if pod := view.Pod(p.Source); pod != nil && c.judged[pod.Node+" "+p.Source.String()] {
		q := ruleset.Packet{Direction: flow.Egress, Protocol: p.Protocol, Local: p.Source, Peer: p.Destination, Port: p.Port}
		out = append(out, asked{q, pod.Node, &current.Egress, &candidate.Egress})
	}
	if pod := view.Pod(p.Destination); pod != nil && c.judged[pod.Node+" "+p.Destination.String()] {
		q := ruleset.Packet{Direction: flow.Ingress, Protocol: p.Protocol, Local: p.Destination, Peer: p.Source, Port: p.Port}
		out = append(out, asked{q, pod.Node, &current.Ingress, &candidate.Ingress})
	}
	return out
}

// agree asks all three engines about a packet, at each of its ends, and says
// how many ends were asked.
func (c *cluster) agree(t fataler, p policy.Packet) int {
	t.Helper()
	ends := c.ends(p)
	for _, a := range ends {
		table := c.tables[a.node].Judge(a.Packet)
		got, err := c.kernels[a.node].Judge(a.Packet)
		if err != nil {
			t.Fatalf("%+v: %v", a.Packet, err)
		}
		if got != table {
			t.Fatalf("%+v on %s\nkernel   %+v\ncompiled %+v\n%s", a.Packet, a.node, got, table, c.out.Dump(a.node))
		}
		if want := verdict(a.current); got.Current.Verdict != want {
			t.Fatalf("%+v on %s, current set: kernel and tables say %+v, the reference %s: %+v", a.Packet, a.node, got.Current, want, a.current)
		}
		if want := verdict(a.candidate); got.Candidate.Verdict != want {
			t.Fatalf("%+v on %s, candidate set: kernel and tables say %+v, the reference %s: %+v", a.Packet, a.node, got.Candidate, want, a.candidate)
		}
		if got.Drop && a.candidate.Verdict != flow.Deny && a.candidate.Decision.Verdict != flow.Deny {
			t.Fatalf("%+v on %s is dropped, but the candidate's verdict is %s: %+v", a.Packet, a.node, a.candidate.Verdict, a.candidate)
		}
	}
	return len(ends)
}

// verdict of an end; one that nobody judges allows.
func verdict(e *policy.End) flow.Verdict {
	if e.Verdict == flow.NotJudged {
		return flow.Allow
	}
	return e.Verdict
}
