// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	v1alpha1 "sigs.k8s.io/network-policy-api/apis/v1alpha1"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// FromAdminNetworkPolicy imports a policy.networking.k8s.io/v1alpha1
// AdminNetworkPolicy: a policy of the admin tier.
func FromAdminNetworkPolicy(in *v1alpha1.AdminNetworkPolicy) (*Policy, error) {
	return fromAdminNetworkPolicy(in, Source{})
}

func fromAdminNetworkPolicy(in *v1alpha1.AdminNetworkPolicy, src Source) (*Policy, error) {
	b := builder{p: &Policy{Kind: flow.AdminNetworkPolicy, Name: in.Name, Tier: Admin, Priority: int(in.Spec.Priority), Source: src}}
	b.anpSubject(in.Spec.Subject)
	for i, r := range in.Spec.Ingress {
		b.anpIngress(i, r.Name, string(r.Action), r.From, r.Ports)
	}
	for i, r := range in.Spec.Egress {
		b.anpEgress(i, r.Name, string(r.Action), r.To, r.Ports)
	}
	return b.p, b.err
}

// FromBaselineAdminNetworkPolicy imports a policy.networking.k8s.io/v1alpha1
// BaselineAdminNetworkPolicy: the last policy of the baseline tier.
func FromBaselineAdminNetworkPolicy(in *v1alpha1.BaselineAdminNetworkPolicy) (*Policy, error) {
	return fromBaselineAdminNetworkPolicy(in, Source{})
}

func fromBaselineAdminNetworkPolicy(in *v1alpha1.BaselineAdminNetworkPolicy, src Source) (*Policy, error) {
	b := builder{p: &Policy{Kind: flow.BaselineAdminNetwork, Name: in.Name, Tier: Baseline, Priority: 1001, Source: src}}
	b.anpSubject(in.Spec.Subject)
	for i, r := range in.Spec.Ingress {
		b.anpIngress(i, r.Name, string(r.Action), r.From, r.Ports)
	}
	for i, r := range in.Spec.Egress {
		b.anpEgress(i, r.Name, string(r.Action), baselinePeers(r.To), r.Ports)
	}
	return b.p, b.err
}

func baselinePeers(in []v1alpha1.BaselineAdminNetworkPolicyEgressPeer) []v1alpha1.AdminNetworkPolicyEgressPeer {
	out := make([]v1alpha1.AdminNetworkPolicyEgressPeer, len(in))
	for i, p := range in {
		out[i] = v1alpha1.AdminNetworkPolicyEgressPeer{Namespaces: p.Namespaces, Pods: p.Pods, Nodes: p.Nodes, Networks: p.Networks}
	}
	return out
}

func (b *builder) anpSubject(in v1alpha1.AdminNetworkPolicySubject) {
	b.subject(in.Namespaces, anpPods(in.Pods))
}

func anpPods(in *v1alpha1.NamespacedPod) *podsPeer {
	if in == nil {
		return nil
	}
	return &podsPeer{in.NamespaceSelector, in.PodSelector}
}

func (b *builder) anpIngress(i int, name, action string, from []v1alpha1.AdminNetworkPolicyIngressPeer, ports *[]v1alpha1.AdminNetworkPolicyPort) {
	rule := b.rule(at("spec.ingress", i), i, name, action)
	for j, peer := range from {
		b.peer(at(rule.path+".from", j), rule, anyPeer{namespaces: peer.Namespaces, pods: anpPods(peer.Pods)})
	}
	b.anpPorts(rule, ports)
	b.p.Ingress = append(b.p.Ingress, rule.finish())
}

func (b *builder) anpEgress(i int, name, action string, to []v1alpha1.AdminNetworkPolicyEgressPeer, ports *[]v1alpha1.AdminNetworkPolicyPort) {
	rule := b.rule(at("spec.egress", i), i, name, action)
	for j, peer := range to {
		b.peer(at(rule.path+".to", j), rule, anyPeer{peer.Namespaces, anpPods(peer.Pods), peer.Nodes, texts(peer.Networks), texts(peer.DomainNames)})
	}
	b.anpPorts(rule, ports)
	b.p.Egress = append(b.p.Egress, rule.finish())
}

func (b *builder) anpPorts(rule *ruleBuilder, ports *[]v1alpha1.AdminNetworkPolicyPort) {
	if ports == nil {
		return
	}
	for i, p := range *ports {
		path := at(rule.path+".ports", i)
		switch {
		case p.PortNumber != nil:
			b.anpNumbered(rule, path, p.PortNumber.Protocol, p.PortNumber.Port, p.PortNumber.Port)
		case p.PortRange != nil:
			b.anpNumbered(rule, path, p.PortRange.Protocol, p.PortRange.Start, p.PortRange.End)
		case p.NamedPort != nil && *p.NamedPort != "":
			b.port(rule, path, Port{Name: *p.NamedPort}, nil)
		default:
			rule.closed = true
			b.warn(path, "holds no kind of port that is known, so the rule fails closed")
		}
	}
}

// anpNumbered adds ports that the API server takes: it asks neither for a
// protocol that there is nor for a range that isn't empty.
func (b *builder) anpNumbered(rule *ruleBuilder, path string, protocol corev1.Protocol, from, to int32) {
	proto, err := protocolOf(&protocol)
	switch {
	case err != nil:
		rule.closed = true
		b.warn(path+".protocol", fmt.Sprintf("%q is no protocol that is known, so the rule fails closed: use TCP, UDP or SCTP", protocol))
	case from > to:
		rule.AnyPort = false
		b.warn(path, fmt.Sprintf("ends (%d) before it starts (%d), so it matches no port", to, from))
	default:
		port, err := numbered(Port{Protocol: proto}, from, to)
		b.port(rule, path, port, err)
	}
}
