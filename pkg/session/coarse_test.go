// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Policies that don't fit at all are told, once; nothing of them is applied, and
// nobody is judged by rules that were made for another pod meanwhile.
func TestRulesThatDontFitLeaveThoseFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{NewCompiler: PolicyCompiler}, "n1")
		fake := b.probes["n1"].fake
		web, fine := pod("shop", "web", "n1", "10.0.0.1"), toyPolicy("fine")
		fine.Tier, fine.IsolatesIngress = policy.Network, true
		b.cluster.states <- State{World: worldOf(web, pod("shop", "old", "n1", "10.0.0.2")), Policies: []*policy.Policy{fine}}
		fake.AwaitGeneration(1)
		fake.AwaitEndpoints(2)
		much := toyPolicy("much")
		much.Tier, much.IsolatesIngress = policy.Network, true
		for _, protocol := range []flow.Protocol{flow.TCP, flow.UDP} {
			for port := uint16(1); port < 40_000; port++ {
				much.Ingress = append(much.Ingress, policy.Rule{AnyPeer: true, Action: policy.Accept, Ports: []policy.Port{{Protocol: protocol, From: port, To: port}}})
			}
		}
		for range 2 { // told once
			b.cluster.states <- State{World: worldOf(web, pod("shop", "new", "n1", "10.0.0.2")), Policies: []*policy.Policy{fine, much}}
			fake.AwaitEndpoints(1)
			synctest.Wait()
		}
		if r := fake.Rules(); r.Generation != 1 || len(r.Sets) != 1 {
			t.Errorf("generation %d with %d sets: the rules before must stay", r.Generation, len(r.Sets))
		}
		b.cluster.states <- State{World: worldOf(web, pod("shop", "new", "n1", "10.0.0.2")), Policies: []*policy.Policy{fine}}
		fake.AwaitEndpoints(2)
		var told []string
		b.mu.Lock()
		for _, f := range b.frames {
			if text := f.GetNotice().GetText(); strings.Contains(text, "fit") {
				told = append(told, text)
			}
		}
		b.mu.Unlock()
		if len(told) != 2 || !strings.Contains(told[0], `at most 65535 fit: write ranges instead of single ports`) || !strings.Contains(told[1], "fit again") {
			t.Errorf("told %q", told)
		}
		b.close()
	})
}

// A pod with more rules than bits is judged as the reference judges it; its
// policies carry the warning, and the user is told once.
func TestMoreRulesThanBitsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{NewCompiler: PolicyCompiler}, "n1")
		w := worldOf(pod("shop", "web", "n1", "10.0.0.1"), pod("shop", "db", "n2", "10.0.0.2"))
		var policies []*policy.Policy
		for i := range ruleset.Bits + 40 {
			port := uint16(1000 + 2*i)
			policies = append(policies, &policy.Policy{
				Kind: flow.NetworkPolicy, Tier: policy.Network, Namespace: "shop", Name: fmt.Sprintf("p%03d", i), IsolatesIngress: true,
				Subject: policy.Subject{Namespace: "shop", Pods: policy.Everything()},
				Ingress: []policy.Rule{{Action: policy.Accept, AnyPeer: true, Ports: []policy.Port{{Protocol: flow.TCP, From: port, To: port}}}},
			})
		}
		fine := toyPolicy("fine") // in its own namespace
		fine.Tier, fine.Namespace, fine.Subject.Namespace = policy.Network, "other", "other"
		for round := range uint64(3) {
			state := State{World: worldOf(w.Pods["shop/web"], w.Pods["shop/db"]), Policies: append(policies[:len(policies)-int(round)], fine)} //nolint:gosec // 0 to 2
			b.cluster.states <- state
			b.probes["n1"].fake.AwaitGeneration(round + 1)
			table, reference := ruleset.NewTable(b.probes["n1"].fake.Rules()), policy.NewEvaluator(state.World, state.Policies)
			for port := uint16(999); port < 1000+2*uint16(len(policies))+2; port++ { //nolint:gosec // some hundreds
				local, peer := w.Pods["shop/web"].IPs[0], w.Pods["shop/db"].IPs[0]
				got := table.Judge(ruleset.Packet{Direction: flow.Ingress, Protocol: flow.TCP, Local: local, Peer: peer, Port: port})
				want := reference.Evaluate(policy.Packet{Protocol: flow.TCP, Source: peer, Destination: local, Port: port}).Ingress.Verdict
				if got.Current.Verdict != want {
					t.Fatalf("port %d: the tables say %s, the reference %s", port, got.Current.Verdict, want)
				}
			}
			synctest.Wait()
		}
		var warned []string
		b.await(func(f *wire.Frame) bool {
			for _, p := range f.GetPolicyStates().GetPolicies() {
				warned = append(warned, fmt.Sprint(p.GetName(), " ", p.GetWarnings()))
			}
			return f.GetPolicyStates() != nil && !f.GetPolicyStates().GetMore()
		})
		has := strings.Join(warned, "\n")
		if !strings.Contains(has, `p000 [pod "shop/web" has more ingress rules than fit`) || !strings.Contains(has, "fine []") {
			t.Errorf("warnings:\n%s", has)
		}
		told := 0
		b.mu.Lock()
		for _, f := range b.frames {
			if n := f.GetNotice(); n.GetLevel() == wire.Notice_WARN && strings.Contains(n.GetText(), "than fit") {
				told++
			}
		}
		b.mu.Unlock()
		if told != 1 {
			t.Errorf("told %d times, want once", told)
		}
		b.close()
	})
}

// Ordered rules that take turns can't share bits. A pod that has too many of
// them is named with its policies, once and not again at each change of the
// cluster; it and all others are judged as the cluster says now.
func TestOrderedRulesThatDontFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{NewCompiler: PolicyCompiler}, "n1")
		w := worldOf(pod("shop", "web", "n1", "10.0.0.1"), pod("shop", "db", "n2", "10.0.0.2"), pod("other", "api", "n1", "10.0.0.3"))
		var policies []*policy.Policy
		for i := range 12 {
			p := &policy.Policy{
				Kind: flow.ClusterNetworkPolicy, Tier: policy.Admin, Priority: i, Name: fmt.Sprintf("guard-%02d", i),
				Subject: policy.Subject{Namespaces: policy.Everything(), Pods: policy.Everything()},
			}
			if i > 3 {
				p.Subject = policy.Subject{Namespace: "shop", Pods: policy.Everything()}
			}
			for j := range 25 {
				port := uint16(1000 + 100*i + 2*j) //nolint:gosec // small
				p.Ingress = append(p.Ingress, policy.Rule{
					Action: []policy.Action{policy.Accept, policy.Deny}[j%2], AnyPeer: true,
					Ports: []policy.Port{{Protocol: flow.TCP, From: port, To: port}},
				})
			}
			policies = append(policies, p)
		}
		for round, n := range []int{2, 12, 11, 12, 3} {
			state := State{World: w, Policies: policies[:n]}
			b.cluster.states <- state
			b.probes["n1"].fake.AwaitGeneration(uint64(round) + 1) //nolint:gosec // small
			table, reference := ruleset.NewTable(b.probes["n1"].fake.Rules()), policy.NewEvaluator(w, state.Policies)
			for port := uint16(999); port < 2400; port++ {
				for _, local := range []string{"shop/web", "other/api"} {
					to, from := w.Pods[local].IPs[0], w.Pods["shop/db"].IPs[0]
					got := table.Judge(ruleset.Packet{Direction: flow.Ingress, Protocol: flow.TCP, Local: to, Peer: from, Port: port})
					want := reference.Evaluate(policy.Packet{Protocol: flow.TCP, Source: from, Destination: to, Port: port}).Ingress.Verdict
					if got.Current.Verdict != want {
						t.Fatalf("%d policies, %s, port %d: the tables say %s, the reference %s", n, local, port, got.Current.Verdict, want)
					}
				}
			}
			synctest.Wait()
		}
		told := b.warnings("")
		if len(told) != 1 || !strings.Contains(told[0], `pod "shop/web" has more ingress rules than fit`) || !strings.Contains(told[0], `ClusterNetworkPolicy "guard-00"`) || !strings.Contains(told[0], "and 9 more") {
			t.Errorf("told %q", told)
		}
		b.close()
	})
}

// choosy is a compiler that takes few policies.
type choosy struct {
	Compiler
	most int
}

func (c choosy) Compile(in Input) (Compiled, error) {
	if len(in.Policies) > c.most {
		return nil, fmt.Errorf("at most %d policies fit", c.most)
	}
	return c.Compiler.Compile(in)
}

// What can't be compiled is told once, and so is the end of it; until then the
// nodes keep what they had.
func TestWhatCantBeCompiledIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{NewCompiler: func() Compiler { return choosy{newToy(), 2} }}, "n1")
		policies := []*policy.Policy{toyPolicy("a"), toyPolicy("b"), toyPolicy("c")}
		for _, n := range []int{2, 3, 3, 3, 1} {
			b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1")), Policies: policies[:n]}
			time.Sleep(time.Second) // the bed's
		}
		told := b.warnings("")
		if len(told) != 2 || !strings.Contains(told[0], "at most 2 policies fit") || !strings.Contains(told[0], "for all pods on all nodes") || !strings.Contains(told[1], "fit again") {
			t.Errorf("told %q", told)
		}
		b.close()
	})
}
