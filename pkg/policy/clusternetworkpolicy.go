// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// FromClusterNetworkPolicy imports a policy.networking.k8s.io/v1alpha2
// ClusterNetworkPolicy.
func FromClusterNetworkPolicy(in *v1alpha2.ClusterNetworkPolicy) (*Policy, error) {
	return fromClusterNetworkPolicy(in, Source{})
}

func fromClusterNetworkPolicy(in *v1alpha2.ClusterNetworkPolicy, src Source) (*Policy, error) {
	b := builder{p: &Policy{Kind: flow.ClusterNetworkPolicy, Name: in.Name, Priority: int(in.Spec.Priority), Source: src}}
	switch in.Spec.Tier {
	case v1alpha2.AdminTier:
		b.p.Tier = Admin
	case v1alpha2.BaselineTier:
		b.p.Tier = Baseline
	default:
		return nil, fmt.Errorf("%s %q: spec.tier: %q is neither %q nor %q", b.p.Kind, in.Name, in.Spec.Tier, v1alpha2.AdminTier, v1alpha2.BaselineTier)
	}
	b.subject(in.Spec.Subject.Namespaces, cnpPods(in.Spec.Subject.Pods))
	for i, r := range in.Spec.Ingress {
		rule := b.rule(at("spec.ingress", i), i, r.Name, string(r.Action))
		for j, peer := range r.From {
			b.peer(at(rule.path+".from", j), rule, anyPeer{namespaces: peer.Namespaces, pods: cnpPods(peer.Pods)})
		}
		b.protocols(rule, r.Protocols)
		b.p.Ingress = append(b.p.Ingress, rule.finish())
	}
	for i, r := range in.Spec.Egress {
		rule := b.rule(at("spec.egress", i), i, r.Name, string(r.Action))
		for j, peer := range r.To {
			b.peer(at(rule.path+".to", j), rule, anyPeer{peer.Namespaces, cnpPods(peer.Pods), peer.Nodes, texts(peer.Networks), texts(peer.DomainNames)})
		}
		b.protocols(rule, r.Protocols)
		b.p.Egress = append(b.p.Egress, rule.finish())
	}
	return b.p, b.err
}

func (b *builder) protocols(rule *ruleBuilder, in []v1alpha2.ClusterNetworkPolicyProtocol) {
	for i, p := range in {
		path := at(rule.path+".protocols", i)
		switch {
		case p.TCP != nil:
			b.cnpPort(rule, path, flow.TCP, p.TCP.DestinationPort)
		case p.UDP != nil:
			b.cnpPort(rule, path, flow.UDP, p.UDP.DestinationPort)
		case p.SCTP != nil:
			b.cnpPort(rule, path, flow.SCTP, p.SCTP.DestinationPort)
		case p.DestinationNamedPort != "":
			b.port(rule, path, Port{Name: p.DestinationNamedPort}, nil)
		default:
			rule.closed = true
			b.warn(path, "holds no kind of protocol that is known, so the rule fails closed")
		}
	}
}

func (b *builder) cnpPort(rule *ruleBuilder, path string, protocol flow.Protocol, in *v1alpha2.Port) {
	port := Port{Protocol: protocol, To: 65535}
	var err error
	switch {
	case in == nil:
	case in.Range == nil && in.Number == 0:
		rule.closed = true
		b.warn(path, "holds no kind of port that is known, so the rule fails closed")
		return
	case in.Range != nil:
		port, err = numbered(port, in.Range.Start, in.Range.End)
	default:
		port, err = numbered(port, in.Number, in.Number)
	}
	b.port(rule, path, port, err)
}

func texts[T ~string](in []T) []string {
	var out []string
	for _, s := range in {
		out = append(out, string(s))
	}
	return out
}

type podsPeer struct{ namespaces, pods metav1.LabelSelector }
