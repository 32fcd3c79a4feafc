// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// A block that tells a service from its backend leaves the verdict contested
// (case 12), and enforcement takes the backend's address: in the reference and
// in the tables.
func TestEnforcementTakesTheBackendsAddress(t *testing.T) {
	w := gen.Shop()
	db, service := w.Pods["shop/db"].IPs[0], netip.MustParseAddr("10.96.0.1")
	for _, c := range []struct {
		name, to string
		verdict  flow.Verdict
		drop     bool
	}{
		{"covers the service alone", `{ipBlock: {cidr: 10.96.0.0/12}}`, flow.Contested, true},
		{"excepts the backend", `{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.1.3/32]}}`, flow.Contested, true},
		{"covers the backend alone", `{ipBlock: {cidr: 10.0.1.3/32}}`, flow.Contested, false},
		{"excepts the backend, which another block covers", `{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.1.3/32]}}, {ipBlock: {cidr: 10.0.1.3/32}}`, flow.Contested, false},
		{"covers neither", `{ipBlock: {cidr: 20.0.0.0/8}}`, flow.Deny, true},
		{"selects the backend", `{podSelector: {matchLabels: {app: db}}}`, flow.Allow, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := policy.Parse([]byte(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [`+c.to+`]}]}
`), "web.yaml")
			if err != nil {
				t.Fatal(err)
			}
			src := w.Pods["shop/web"].IPs[0]
			r := policy.NewEvaluator(w, o.Policies).Evaluate(policy.Packet{Protocol: flow.TCP, Source: src, Destination: service, Port: 5432})
			enforced := flow.Allow
			if c.drop {
				enforced = flow.Deny
			}
			if r.Egress.Verdict != c.verdict || r.Enforced != enforced || r.Egress.Decision.Verdict != enforced {
				t.Errorf("the reference says %s, enforces %s by %+v", r.Egress.Verdict, r.Enforced, r.Egress.Decision)
			}
			out, err := compile.New().Compile(compile.Input{World: w, Policies: []compile.PolicyMode{{Policy: o.Policies[0], Candidate: true, Enforced: true}}})
			if err != nil {
				t.Fatal(err)
			}
			j := ruleset.NewTable(out.Node("n1")).Judge(ruleset.Packet{Direction: flow.Egress, Protocol: flow.TCP, Local: src, Peer: service, Port: 5432})
			if j.Candidate.Verdict != c.verdict || j.Drop != c.drop || !j.Service {
				t.Errorf("the tables say %+v; backend %s", j, db)
			}
		})
	}
}
