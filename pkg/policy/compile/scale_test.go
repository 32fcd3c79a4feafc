// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"maps"
	"runtime"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/scale"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

func modesOf(policies []*policy.Policy) []compile.PolicyMode {
	out := make([]compile.PolicyMode, len(policies))
	for i, p := range policies {
		out[i] = compile.PolicyMode{Policy: p, Current: true, Candidate: true}
	}
	return out
}

// bench compiles the published shape again and again, with one thing changed
// each time by change, and asks for the rulesets of so many nodes.
func bench(b *testing.B, nodes int, fresh bool, change func(i int, w *identity.World, modes []compile.PolicyMode) (*identity.World, []compile.PolicyMode)) {
	w, policies := scale.Make(scale.Real, 1)
	modes := modesOf(policies)
	c := compile.New()
	run := func(i int, w *identity.World, modes []compile.PolicyMode) int {
		out, err := c.Compile(compile.Input{Generation: uint64(i + 1), World: w, Policies: modes})
		if err != nil {
			b.Fatal(err)
		}
		matches := 0
		for n := range min(nodes, len(w.Nodes)) {
			matches += out.Pages(fmt.Sprintf("node%d", n)).Matches.Len()
		}
		return matches
	}
	matches := run(0, w, modes)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if fresh {
			c = compile.New()
		}
		w2, m2 := change(i, w, modes)
		run(i+1, w2, m2)
	}
	b.ReportMetric(float64(matches), "matches")
}

func same(_ int, w *identity.World, m []compile.PolicyMode) (*identity.World, []compile.PolicyMode) {
	return w, m
}

func relabel(i int, w *identity.World, m []compile.PolicyMode) (*identity.World, []compile.PolicyMode) {
	w2 := *w
	w2.Pods = maps.Clone(w.Pods)
	for k, p := range w.Pods {
		if p.Node == "node0" {
			p2 := *p
			p2.Labels = map[string]string{"app": fmt.Sprintf("app%d", i%6), "tier": "t0"}
			w2.Pods[k] = &p2
			break
		}
	}
	return &w2, m
}

func addPolicy(i int, w *identity.World, m []compile.PolicyMode) (*identity.World, []compile.PolicyMode) {
	old := m[len(m)-1-i%100].Policy
	p := *old
	p.Name = fmt.Sprintf("added%d", i)
	return w, append(m[:len(m):len(m)], compile.PolicyMode{Policy: &p, Candidate: true})
}

func toggle(i int, w *identity.World, m []compile.PolicyMode) (*identity.World, []compile.PolicyMode) {
	m2 := append([]compile.PolicyMode(nil), m...)
	m2[len(m2)-1-i%100].Candidate = false
	return w, m2
}

func BenchmarkWhole(b *testing.B)          { bench(b, 1000, true, same) }
func BenchmarkOneNode(b *testing.B)        { bench(b, 1, true, same) }
func BenchmarkPodRelabelled(b *testing.B)  { bench(b, 1, false, relabel) }
func BenchmarkPolicyAdded(b *testing.B)    { bench(b, 1, false, addPolicy) }
func BenchmarkPolicyToggled(b *testing.B)  { bench(b, 1, false, toggle) }
func BenchmarkNothingChanged(b *testing.B) { bench(b, 1, false, same) }

// The published shape fits: every pod's policies into the bits, every node's
// tables into the memory that a node gives (at 2.5 times a match's own size).
func TestPublishedShapeFits(t *testing.T) {
	if testing.Short() {
		t.Log("the whole shape is compiled in long runs only")
		return
	}
	w, policies := scale.Make(scale.Real, 1)
	out, err := compile.New().Compile(compile.Input{Generation: 1, World: w, Policies: modesOf(policies)})
	if err != nil {
		t.Fatal(err)
	}
	const matchBytes = 12 + 16*ruleset.Words
	for name := range w.Nodes {
		r := out.Node(name)
		if err := r.Validate(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if size := len(r.Matches) * matchBytes * 5 / 2; size > 64<<20 {
			t.Errorf("%s: %d matches take %d MiB", name, len(r.Matches), size>>20)
		}
	}
	runtime.KeepAlive(policies)
}
