// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
)

// A pod on the host network is known by name even if its node is in no file.
func TestHostNetworkPodWithoutItsNode(t *testing.T) {
	w := gen.Shop()
	w.Nodes = map[string]*identity.Node{}
	agent := &identity.Pod{Namespace: "shop", Name: "agent", Labels: map[string]string{"app": "cart"}, HostNetwork: true, IPs: []netip.Addr{netip.MustParseAddr("192.168.0.9")}}
	w.Pods[agent.Key()] = agent
	o := parse(t, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}]}]}
`)
	p := policy.Packet{Protocol: flow.TCP, Source: agent.IPs[0], Destination: w.Pods["shop/db"].IPs[0], Port: 5432, SourcePod: agent.Key()}
	if r := policy.NewEvaluator(w, o.Policies).Evaluate(p); r.Verdict != flow.Contested || r.Readings[0].Case != policy.CaseHostPeer {
		t.Errorf("got %s %+v", r.Verdict, r.Readings)
	}
}

// The nearest rule is the one with the least to change, and says what.
func TestNearestMiss(t *testing.T) {
	w := gen.Shop()
	o := parse(t, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{ipBlock: {cidr: 20.0.0.0/8}}]
  - from: [{podSelector: {matchLabels: {app: cart, tier: back}}}, {podSelector: {matchLabels: {app: carts}}}]
    ports: [{port: 80}]
  - from: [{podSelector: {matchLabels: {app: carts}}}]
  - from: [{namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: other}}}]
`)
	e := policy.NewEvaluator(w, o.Policies)
	p := policy.Packet{Protocol: flow.TCP, Source: w.Pods["shop/cart"].IPs[0], Destination: w.Pods["shop/db"].IPs[0], Port: 5432}
	r := e.Evaluate(p)
	misses := e.Misses(p, &r.Ingress)
	want := []string{
		"shop/db rule 2 wants app=carts, the pod has app=cart",
		"shop/db rule 1 wants tier=back, the pod has no label tier; and wants port TCP 80, it is TCP 5432",
		"shop/db rule 3 wants team=a, the namespace has no label team; and wants app=other, the pod has app=cart",
		"shop/db rule 0 wants an address in 20.0.0.0/8",
	}
	var got []string
	for _, m := range misses {
		got = append(got, m.String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
