// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
)

// Who may see one namespace only doesn't know who has the other addresses: a
// rule that may select them is contested, not taken not to match.
func TestAddressesThatRightsDoNotShow(t *testing.T) {
	for _, c := range []struct {
		peer string
		from string
		want flow.Verdict
	}{
		{`{namespaceSelector: {matchLabels: {team: red}}}`, "10.0.9.9", flow.Contested},
		{`{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}`, "10.0.9.9", flow.Contested},
		{`{namespaceSelector: {}}`, "100.64.1.1", flow.Contested},
		{`{namespaceSelector: {}}`, "8.8.8.8", flow.Deny},                                                          // no network has pods there
		{`{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}`, "10.0.9.9", flow.Deny},         // all of shop's pods are seen
		{`{podSelector: {}}`, "10.0.9.9", flow.Deny},                                                               // likewise
		{`{ipBlock: {cidr: 10.0.0.0/8}}`, "10.0.9.9", flow.Allow},                                                  // whoever it is
		{`{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}`, "192.168.0.1", flow.Deny},     // a node
		{`{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}`, "10.0.1.2", flow.Deny},        // cart, which is seen
		{`{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}`, "10.0.1.2", flow.Allow}, // likewise
		{`{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}`, "172.20.1.1", flow.Contested}, // in another network
	} {
		w := gen.Shop()
		o, err := policy.Parse([]byte(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [`+c.peer+`]}]}
`), "db.yaml")
		if err != nil {
			t.Fatal(err)
		}
		// From n1, so that no node is db's own.
		p := policy.Packet{Protocol: flow.TCP, Source: netip.MustParseAddr(c.from), Destination: w.Pods["shop/db"].IPs[0], Port: 5432}
		whole := policy.NewEvaluator(gen.Shop(), o.Policies).Evaluate(p)
		w.Scope = []string{"shop"}
		r := policy.NewEvaluator(w, o.Policies).Evaluate(p)
		if r.Verdict != c.want {
			t.Errorf("%s from %s: %s, want %s", c.peer, c.from, r.Verdict, c.want)
		}
		if c.want == flow.Contested && (len(r.Readings) != 2 || r.Readings[0].Case != policy.CaseUnseen || whole.Verdict != flow.Deny) {
			t.Errorf("%s from %s: readings %+v; with all rights %s", c.peer, c.from, r.Readings, whole.Verdict)
		}
	}
}
