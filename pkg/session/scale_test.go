// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// noCompiler leaves what the session itself does.
type noCompiler struct{}

func (noCompiler) Compile(in Input) (Compiled, error) {
	return &toyCompiled{r: &ruleset.Ruleset{Generation: in.Generation}}, nil
}

// BenchmarkChange is what one changed label costs beside compiling, in a
// cluster of a published size.
func BenchmarkChange(b *testing.B) {
	const namespaces, pods, policies = 604, 5413, 13_678
	w := &identity.World{Namespaces: map[string]*identity.Namespace{}, Pods: map[string]*identity.Pod{}, Services: map[string]*identity.Service{}, Nodes: map[string]*identity.Node{}}
	for i := range namespaces {
		name := fmt.Sprint("ns-", i)
		w.Namespaces[name] = &identity.Namespace{Name: name}
	}
	for i := range pods {
		p := &identity.Pod{
			Namespace: fmt.Sprint("ns-", i%namespaces), Name: fmt.Sprint("pod-", i), UID: fmt.Sprint(i), Node: fmt.Sprint("node-", i%24),
			IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}, Labels: map[string]string{"app": fmt.Sprint(i % 10)},
		}
		w.Pods[p.Key()] = p
	}
	var list []*policy.Policy
	for i := range policies {
		ns := fmt.Sprint("ns-", i%namespaces)
		list = append(list, &policy.Policy{Kind: flow.NetworkPolicy, Namespace: ns, Name: fmt.Sprint("np-", i), Subject: policy.Subject{Namespace: ns, Pods: policy.Everything()}, Source: policy.Source{YAML: fmt.Sprintf("%01000d", i)}})
	}
	live, err := NewLive(b.Context(), Config{Cluster: &toyCluster{make(chan State)}, NewCompiler: func() Compiler { return noCompiler{} }})
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for range live.Frames() {
		}
	}()
	live.nodes["node-1"] = newNode(live, Probe{Node: "node-1"})
	live.have, live.state = true, State{World: w, Policies: list}
	if _, err := live.compile(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for i := range b.N {
		next := *w
		next.Pods = maps.Clone(w.Pods)
		changed := *w.Pods["ns-0/pod-0"]
		changed.Labels = map[string]string{"app": fmt.Sprint(i)}
		next.Pods["ns-0/pod-0"] = &changed
		live.state.World = &next
		if _, err := live.compile(); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := live.Close(b.Context()); err != nil {
		b.Error(err)
	}
}
