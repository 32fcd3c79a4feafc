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
// them is named with the policies, once and not again at each change of the
// cluster, and so is the end of it.
func TestRulesThatDontFitAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{NewCompiler: PolicyCompiler}, "n1")
		w := worldOf(pod("shop", "web", "n1", "10.0.0.1"), pod("shop", "db", "n2", "10.0.0.2"))
		var policies []*policy.Policy
		for i := range 12 {
			p := &policy.Policy{
				Kind: flow.ClusterNetworkPolicy, Tier: policy.Admin, Priority: i, Name: fmt.Sprintf("guard-%02d", i),
				Subject: policy.Subject{Namespaces: policy.Everything(), Pods: policy.Everything()},
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
		for _, n := range []int{2, 12, 12, 12, 3} {
			b.cluster.states <- State{World: worldOf(w.Pods["shop/web"], w.Pods["shop/db"]), Policies: policies[:n]}
			time.Sleep(time.Second) // the bed's
		}
		var told []string
		b.mu.Lock()
		for _, f := range b.frames {
			if n := f.GetNotice(); n.GetLevel() == wire.Notice_WARN {
				told = append(told, n.GetText())
			}
		}
		b.mu.Unlock()
		if len(told) != 2 || !strings.Contains(told[0], `pod "shop/web"`) || !strings.Contains(told[0], `12 policies`) || !strings.Contains(told[0], "for all pods on all nodes") || !strings.Contains(told[1], "fit again") {
			t.Errorf("told %q", told)
		}
		b.close()
	})
}
