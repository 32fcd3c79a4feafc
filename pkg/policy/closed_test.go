// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// A port of a kind that a newer API adds arrives from the cluster without the
// fields that are known: the policy must not be lost for it.
func TestUnknownPortsFailClosed(t *testing.T) {
	in := &v1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	in.Spec.Tier, in.Spec.Subject.Namespaces = v1alpha2.AdminTier, &metav1.LabelSelector{}
	for _, action := range []v1alpha2.ClusterNetworkPolicyRuleAction{"Accept", "Deny"} {
		in.Spec.Ingress = append(in.Spec.Ingress, v1alpha2.ClusterNetworkPolicyIngressRule{
			Action: action, From: []v1alpha2.ClusterNetworkPolicyIngressPeer{{Namespaces: &metav1.LabelSelector{}}},
			Protocols: []v1alpha2.ClusterNetworkPolicyProtocol{{TCP: &v1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: &v1alpha2.Port{}}}},
		})
	}
	p, err := FromClusterNetworkPolicy(in)
	if err != nil {
		t.Fatal(err)
	}
	accept, deny := p.Ingress[0], p.Ingress[1]
	if !accept.Closed || accept.AnyPeer || len(accept.Peers) != 0 {
		t.Errorf("accept matches something: %+v", accept)
	}
	if !deny.Closed || !deny.AnyPeer || !deny.AnyPort || len(p.Warnings) != 2 {
		t.Errorf("deny: %+v, warnings %q", deny, p.Warnings)
	}
}

// The API server takes ports of an AdminNetworkPolicy that nobody can match:
// the policy must not be lost for them either.
func TestPortsThatTheServerTakesUnread(t *testing.T) {
	o, err := Parse([]byte(`{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {name: p}, spec: {priority: 1, subject: {namespaces: {}}, ingress: [
  {action: Deny, from: [{namespaces: {}}], ports: [{portRange: {start: 90, end: 80}}]},
  {action: Allow, from: [{namespaces: {}}], ports: [{portNumber: {port: 80, protocol: icmp}}]}]}}`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := o.Policies[0]
	if backwards := p.Ingress[0]; backwards.AnyPort || len(backwards.Ports) != 0 {
		t.Errorf("a range of no ports matches some: %+v", backwards)
	}
	if unknown := p.Ingress[1]; !unknown.Closed || len(unknown.Peers) != 0 || len(p.Warnings) != 2 {
		t.Errorf("an unknown protocol: %+v, warnings %q", unknown, p.Warnings)
	}
}
