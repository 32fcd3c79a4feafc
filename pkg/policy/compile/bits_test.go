// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"slices"
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

// guards makes ordered policies for all pods whose rules take turns between
// accepting and denying, so that no two can share a bit: rule j of policy i is
// about port 100i+j.
func guards(n, rules int) []*policy.Policy {
	var out []*policy.Policy
	for i := range n {
		p := &policy.Policy{
			Kind: flow.ClusterNetworkPolicy, Name: fmt.Sprintf("guard%02d", i), Tier: policy.Admin, Priority: i,
			Subject: policy.Subject{Namespaces: policy.Everything(), Pods: policy.Everything()},
		}
		for j := range rules {
			port := uint16(100*i + j + 1)
			p.Ingress = append(p.Ingress, policy.Rule{
				Index: j, Action: []policy.Action{policy.Accept, policy.Deny}[j%2], AnyPeer: true,
				Ports: []policy.Port{{Protocol: flow.TCP, From: port, To: port + uint16(j%3)}},
			})
		}
		out = append(out, p)
	}
	return out
}

// Ordered rules that no order of bits holds are judged exactly, and told by
// their policy; with even more policies than bits not even that. Other pods
// have nothing of it.
func TestMoreOrderedRulesThanBits(t *testing.T) {
	for _, c := range []struct {
		policies int
		named    bool
	}{{20, true}, {90, false}} {
		t.Run(fmt.Sprint(c.policies, " policies"), func(t *testing.T) {
			w, policies := gen.Shop(), guards(c.policies, 25)
			for _, p := range policies {
				p.Subject.Pods = policy.Equal(map[string]string{"app": "db"})
			}
			policies = append(policies, many(2, 2)...)
			lone := *policies[len(policies)-1]
			lone.Name, lone.Subject.Pods = "lone", policy.Equal(map[string]string{"app": "web"})
			policies = append(policies, &lone)
			out, err := compile.New().Compile(compile.Input{Generation: 1, World: w, Policies: modesOf(policies)})
			if err != nil {
				t.Fatal(err)
			}
			for pod, named := range map[string]bool{"shop/db": c.named, "shop/web": true} {
				to := w.Pods[pod]
				r := out.Node(to.Node)
				if err := r.Validate(); err != nil {
					t.Fatal(err)
				}
				table, reference := ruleset.NewTable(r), policy.NewEvaluator(w, policies)
				for port := uint16(1); port < uint16(100*c.policies+2000); port++ {
					from := w.Pods["shop/cart"].IPs[0]
					got := table.Judge(ruleset.Packet{Direction: flow.Ingress, Protocol: flow.TCP, Local: to.IPs[0], Peer: from, Port: port})
					want := reference.Evaluate(policy.Packet{Protocol: flow.TCP, Source: from, Destination: to.IPs[0], Port: port}).Ingress
					if got.Current.Verdict != want.Verdict || got.Candidate.Verdict != want.Verdict || got.Drop {
						t.Fatalf("%s, port %d: compiled %+v, reference %s", pod, port, got, want.Verdict)
					}
					if p := want.Decision.Policy; p != nil {
						name := out.Names(got.Set).Bits[got.Current.Bit]
						if named && name.Rule.Name != p.Name || !named && p.Tier == policy.Admin && name.Rule.Name != fmt.Sprintf("one of %d policies", c.policies) {
							t.Fatalf("%s, port %d: the bit is %+v, the reference names %s", pod, port, name, p.Name)
						}
					}
				}
			}
			said := out.Warnings()
			if len(said) != 1 || !strings.Contains(said[0], `pod "shop/db"`) || strings.Contains(said[0], "by their policy") != c.named {
				t.Errorf("said %q", said)
			}
		})
	}
}

// A toggle of one of too many rules is another set; what it says is exact.
func TestTogglesOfMoreRulesThanBits(t *testing.T) {
	w, policies := gen.Shop(), guards(20, 25)
	c, modes := compile.New(), modesOf(policies)
	db, cart := w.Pods["shop/db"], w.Pods["shop/cart"].IPs[0]
	for round, toggle := range []int{0, 7, 7, 19} {
		modes = slices.Clone(modes)
		modes[toggle].Candidate, modes[toggle].Enforced = !modes[toggle].Candidate, !modes[toggle].Candidate
		var candidates []*policy.Policy
		for _, m := range modes {
			if m.Candidate {
				candidates = append(candidates, m.Policy)
			}
		}
		out, err := c.Compile(compile.Input{Generation: uint64(round + 1), World: w, Policies: modes})
		if err != nil {
			t.Fatal(err)
		}
		table := ruleset.NewTable(out.Node(db.Node))
		current, candidate := policy.NewEvaluator(w, policies), policy.NewEvaluator(w, candidates)
		for port := uint16(1); port < 2100; port++ {
			got := table.Judge(ruleset.Packet{Direction: flow.Ingress, Protocol: flow.TCP, Local: db.IPs[0], Peer: cart, Port: port})
			p := policy.Packet{Protocol: flow.TCP, Source: cart, Destination: db.IPs[0], Port: port}
			if a, b := current.Evaluate(p).Ingress.Verdict, candidate.Evaluate(p).Ingress.Verdict; got.Current.Verdict != a || got.Candidate.Verdict != b {
				t.Fatalf("round %d, port %d: compiled %+v, reference %s and %s", round, port, got, a, b)
			}
		}
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
