// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

func parse(t *testing.T, text string) *policy.Objects {
	t.Helper()
	o, err := policy.Parse([]byte(text), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

const twoPolicies = `# a comment
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: one, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from:
    - podSelector: {}
    ports:
    - {port: 5432}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: two}
spec:
  tier: Admin
  priority: 3
  subject: {namespaces: {}}
  egress:
  - action: Deny
    to:
    - networks: [10.0.0.0/8, "fd00::/8"]
`

func TestPoliciesKeepTheirLines(t *testing.T) {
	o := parse(t, twoPolicies)
	if len(o.Policies) != 2 {
		t.Fatalf("%d policies, want 2", len(o.Policies))
	}
	one, two := o.Policies[0], o.Policies[1]
	if one.Key() != "shop/one" || one.Source.Line != 3 || one.Ingress[0].Line != 9 || one.Ingress[0].Peers[0].Line != 10 || one.Ingress[0].Ports[0].Line != 12 {
		t.Errorf("one: %+v", one)
	}
	if !one.IsolatesIngress || one.IsolatesEgress {
		t.Error("one isolates ingress, and ingress alone")
	}
	if two.Tier != policy.Admin || two.Priority != 3 || two.Egress[0].Line != 22 || len(two.Egress[0].Peers) != 2 {
		t.Errorf("two: %+v", two)
	}
	if !strings.Contains(one.Source.YAML, "name: one") || strings.Contains(one.Source.YAML, "name: two") {
		t.Errorf("one's text is %q", one.Source.YAML)
	}
}

func TestFaultsNameLineAndField(t *testing.T) {
	head := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: a}\nspec:\n"
	for _, c := range []struct{ name, text, want string }{
		{"unknown field", head + "  podSelector: {}\n  ingress:\n  - form: []\n", `f.yaml:7: NetworkPolicy "a/x": unknown field "spec.ingress[0].form"`},
		{"wrong type", head + "  podSelector: {}\n  ingress:\n    from: []\n", `f.yaml:6: NetworkPolicy "a/x": json: cannot unmarshal object into Go struct field NetworkPolicySpec.spec.ingress`},
		{"duplicate key", head + "  podSelector: {}\n  podSelector: {}\n", `f.yaml:6: key "podSelector" already set in map`},
		{"not YAML", head + "  podSelector: {\n", "f.yaml:5: did not find expected node content"},
		{"no object", "hello\n", "f.yaml:1: this is no Kubernetes object"},
		{"no kind", "a: 1\n", "f.yaml:1: this is no Kubernetes object: it has no kind"},
		{"except outside", head + "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}\n", `f.yaml:8: NetworkPolicy "a/x": spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of ` + "`cidr`"},
		{"v6 in v4", head + "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [\"fd00::/64\"]}\n", "must be a strict subset of `cidr`"},
		{"endPort below", head + "  podSelector: {}\n  ingress:\n  - ports:\n    - {port: 80, endPort: 79}\n", "f.yaml:8: NetworkPolicy \"a/x\": spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"},
		{"endPort alone", head + "  podSelector: {}\n  egress:\n  - ports:\n    - endPort: 79\n", "may not be specified when `port` is not specified"},
		{"port name", head + "  podSelector: {}\n  egress:\n  - ports:\n    - port: this-name-is-too-long\n", "must be no more than 15 characters"},
		{"operator", head + "  podSelector: {matchExpressions: [{key: a, operator: Is}]}\n", `f.yaml:5: NetworkPolicy "a/x": spec.podSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`},
		{"no peer", head + "  podSelector: {}\n  ingress:\n  - from: [{}]\n", "spec.ingress[0].from[0]: Required value: must specify a peer"},
		{"both peers", head + "  podSelector: {}\n  ingress:\n  - from: [{podSelector: {}, ipBlock: {cidr: 1.0.0.0/8}}]\n", "may not specify both ipBlock and another peer"},
		{"protocol", head + "  podSelector: {}\n  ingress:\n  - ports: [{protocol: ICMP}]\n", `Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := policy.Parse([]byte(c.text), "f.yaml")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// SEMANTICS case 38: what a newer API adds to a peer makes the rule fail closed.
func TestUnknownPeersFailClosed(t *testing.T) {
	o := parse(t, `apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: new}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  ingress:
  - {action: Accept, from: [{namespaces: {}}, {serviceAccounts: {}}]}
  - {action: Pass, from: [{serviceAccounts: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}
`)
	accept, pass := o.Policies[0].Ingress[0], o.Policies[0].Ingress[1]
	if !accept.Closed || accept.AnyPeer || len(accept.Peers) != 0 {
		t.Errorf("an Accept rule with a peer that isn't known must match nothing: %+v", accept)
	}
	if !pass.Closed || pass.Action != policy.Deny || !pass.AnyPeer || !pass.AnyPort {
		t.Errorf("a Pass rule with a peer that isn't known must deny all: %+v", pass)
	}
	if len(o.Policies[0].Warnings) != 2 {
		t.Errorf("warnings: %q", o.Policies[0].Warnings)
	}
}

func TestListsAndOtherKinds(t *testing.T) {
	o := parse(t, `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: done, namespace: shop}
- apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: other, namespace: shop}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: two}
  spec: {podSelector: {}, ingress: [{}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicyList
items:
- metadata: {name: one, namespace: shop}
  spec: {podSelector: {}}
`)
	if len(o.NotEvaluated) != 1 || o.NotEvaluated[0].Kind != "CiliumNetworkPolicy.cilium.io" || o.NotEvaluated[0].Source.Line != 7 {
		t.Errorf("not evaluated: %+v", o.NotEvaluated)
	}
	if len(o.Policies) != 2 || o.Policies[0].Key() != "default/two" || o.Policies[0].Ingress[0].Line != 13 || o.Policies[1].Key() != "shop/one" || o.Policies[1].Kind != flow.NetworkPolicy {
		t.Errorf("policies: %+v", o.Policies)
	}
	if o.Skipped["Pod"] != 1 {
		t.Errorf("skipped: %v", o.Skipped)
	}
}

func TestBombsAreRefused(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	for name, text := range map[string]string{
		"aliases": bomb.String(),
		"depth":   strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"loop":    "a: &a [*a]\n",
	} {
		if _, err := policy.Parse([]byte(text), name); err == nil {
			t.Errorf("%s: read without complaint", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(twoPolicies))
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","apiVersion":"v1"}]}{}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		o, _ := policy.Parse(data, "f")
		policy.NewEvaluator(&identity.World{}, o.Policies)
	})
}
