// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// many makes n NetworkPolicies for db with so many rules each; rule j of
// policy i allows cart at port 1000+10i+j.
func many(n, rules int) []*policy.Policy {
	var out []*policy.Policy
	for i := range n {
		p := &policy.Policy{
			Kind: flow.NetworkPolicy, Namespace: "shop", Name: fmt.Sprintf("p%03d", i), Tier: policy.Network, IsolatesIngress: true,
			Subject: policy.Subject{Namespace: "shop", Pods: policy.Equal(map[string]string{"app": "db"})},
		}
		for j := range rules {
			port := uint16(1000 + 10*i + j)
			p.Ingress = append(p.Ingress, policy.Rule{
				Index: j, Action: policy.Accept, Ports: []policy.Port{{Protocol: flow.TCP, From: port, To: port}},
				Peers: []policy.Peer{{Kind: policy.PodPeer, Namespace: "shop", Pods: policy.Equal(map[string]string{"app": "cart"})}},
			})
		}
		out = append(out, p)
	}
	return out
}

// More rules than bits: what decided is told more coarsely, first by policy,
// then not even that; the verdict stays the reference's.
func TestMoreRulesThanBits(t *testing.T) {
	for _, c := range []struct {
		policies, rules int
		index           bool // the rule is known
		shared          int  // how many policies the bit stands for
	}{{100, 1, true, 1}, {100, 5, false, 1}, {300, 3, false, 300}} {
		t.Run(fmt.Sprintf("%d policies of %d rules", c.policies, c.rules), func(t *testing.T) {
			w, policies := gen.Shop(), many(c.policies, c.rules)
			out, err := compile.New().Compile(compile.Input{Generation: 1, World: w, Policies: modesOf(policies)})
			if err != nil {
				t.Fatal(err)
			}
			r := out.Node("n2")
			if err := r.Validate(); err != nil {
				t.Fatal(err)
			}
			table, reference := ruleset.NewTable(r), policy.NewEvaluator(w, policies)
			cart, web, db := w.Pods["shop/cart"].IPs[0], w.Pods["shop/web"].IPs[0], w.Pods["shop/db"].IPs[0]
			for port := uint16(990); port < uint16(1010+10*c.policies); port++ {
				for _, from := range []netip.Addr{cart, web} {
					got := table.Judge(ruleset.Packet{Direction: flow.Ingress, Protocol: flow.TCP, Local: db, Peer: from, Port: port})
					want := reference.Evaluate(policy.Packet{Protocol: flow.TCP, Source: from, Destination: db, Port: port})
					if got.Current.Verdict != want.Ingress.Verdict {
						t.Fatalf("%s, port %d: compiled %s, reference %s", from, port, got.Current.Verdict, want.Ingress.Verdict)
					}
				}
			}
			got := table.Judge(ruleset.Packet{Direction: flow.Ingress, Protocol: flow.TCP, Local: db, Peer: cart, Port: 1000})
			name := out.Names(got.Set).Bits[got.Current.Bit]
			if (name.Rule.Index != nil) != c.index || name.Policies != c.shared {
				t.Errorf("the bit's name is %+v", name)
			}
		})
	}
}

// What can't be merged without a change of meaning is refused, with the pod.
func TestTooManyOrderedRules(t *testing.T) {
	w := gen.Shop()
	var policies []*policy.Policy
	for i := range 20 {
		p := &policy.Policy{
			Kind: flow.ClusterNetworkPolicy, Name: fmt.Sprintf("c%d", i), Tier: policy.Admin, Priority: i,
			Subject: policy.Subject{Namespaces: policy.Everything(), Pods: policy.Everything()},
		}
		for j := range 25 {
			p.Ingress = append(p.Ingress, policy.Rule{
				Index: j, Action: policy.Action(1 + j%2), AnyPeer: true,
				Ports: []policy.Port{{Protocol: flow.TCP, From: uint16(100*i + j), To: uint16(100*i + j)}},
			})
		}
		policies = append(policies, p)
	}
	_, err := compile.New().Compile(compile.Input{Generation: 1, World: w, Policies: modesOf(policies)})
	if err == nil || !strings.Contains(err.Error(), `pod "shop/cart": ingress rules of 20 policies for one pod need`) {
		t.Errorf("got %v", err)
	}
}

func TestDump(t *testing.T) {
	o, err := policy.Parse([]byte(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: cart}}}, {ipBlock: {cidr: 20.0.0.0/8, except: [20.1.0.0/16]}}]
    ports: [{port: pg}]
`), "db.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var dumps []string
	for range 2 {
		out, err := compile.New().Compile(compile.Input{Generation: 1, World: gen.Shop(), Policies: modesOf(o.Policies)})
		if err != nil {
			t.Fatal(err)
		}
		dumps = append(dumps, out.Dump("n2"))
	}
	const want = `name set=1 ingress bit=0 NetworkPolicy shop/db rule 0
name set=1 ingress bit=1 NetworkPolicy shop/db isolates
set 1 always=1 deny=1 pass=- tiers=0,1,2 ranges=false current=0-1 candidate=0-1 enforced=0
endpoint 10.0.1.3 id=3 ingress=1 egress=0
`
	if dumps[0] != dumps[1] {
		t.Errorf("two compilers differ:\n%s\n%s", dumps[0], dumps[1])
	}
	if !strings.HasPrefix(dumps[0], want) {
		t.Errorf("got\n%s\nwant first\n%s", dumps[0], want)
	}
	for _, line := range []string{"peer 20.0.0.0/8 class=", "peer 20.1.0.0/16 class=0 flags=0", "port set=1 6/5432 class=1", "match set=1 peer=", "service 10.96.0.1/6/5432"} {
		if line == "service 10.96.0.1/6/5432" {
			if strings.Contains(dumps[0], line) {
				t.Errorf("n2 has no egress set, but a service: %s", dumps[0])
			}
		} else if !strings.Contains(dumps[0], line) {
			t.Errorf("no %q in\n%s", line, dumps[0])
		}
	}
}
