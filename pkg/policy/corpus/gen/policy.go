// SPDX-License-Identifier: Apache-2.0

package gen

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
	v1alpha1 "sigs.k8s.io/network-policy-api/apis/v1alpha1"
	v1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Policies draws policies of all kinds, by way of the API's own types.
func Policies(t *rapid.T) []*policy.Policy {
	var out []*policy.Policy
	for i := range rapid.IntRange(0, 5).Draw(t, "policies") {
		out = append(out, Policy(t, i))
	}
	return out
}

// Policy draws the i-th policy of a cluster.
func Policy(t *rapid.T, i int) *policy.Policy {
	var p *policy.Policy
	var err error
	switch rapid.IntRange(0, 8).Draw(t, "kind") {
	case 0:
		in := v1alpha1.AdminNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("anp%d", i)}}
		in.Spec.Priority = int32(rapid.IntRange(0, 3).Draw(t, "priority"))
		in.Spec.Subject = v1alpha1.AdminNetworkPolicySubject{Namespaces: new(Selector(t))}
		for range rapid.IntRange(0, 2).Draw(t, "ingress rules") {
			in.Spec.Ingress = append(in.Spec.Ingress, v1alpha1.AdminNetworkPolicyIngressRule{
				Action: v1alpha1.AdminNetworkPolicyRuleAction(rapid.SampledFrom([]string{"Allow", "Deny", "Pass"}).Draw(t, "action")),
				From:   []v1alpha1.AdminNetworkPolicyIngressPeer{{Pods: &v1alpha1.NamespacedPod{NamespaceSelector: Selector(t), PodSelector: Selector(t)}}},
				Ports: maybe(t, "ports", func(t *rapid.T) []v1alpha1.AdminNetworkPolicyPort {
					return []v1alpha1.AdminNetworkPolicyPort{anpPort(t)}
				}),
			})
		}
		p, err = policy.FromAdminNetworkPolicy(&in)
	case 1, 2, 3:
		p, err = policy.FromClusterNetworkPolicy(clusterPolicy(t, i))
	default:
		p, err = policy.FromNetworkPolicy(networkPolicy(t, i))
	}
	if err != nil {
		t.Fatalf("a drawn policy is refused: %v", err)
	}
	return p
}

func anpPort(t *rapid.T) v1alpha1.AdminNetworkPolicyPort {
	proto := protocolOf(rapid.SampledFrom(protocols).Draw(t, "protocol"))
	n := int32(rapid.SampledFrom(numbers).Draw(t, "port"))
	switch rapid.IntRange(0, 2).Draw(t, "port kind") {
	case 0:
		return v1alpha1.AdminNetworkPolicyPort{NamedPort: new(rapid.SampledFrom(portNames).Draw(t, "name"))}
	case 1:
		return v1alpha1.AdminNetworkPolicyPort{PortRange: &v1alpha1.PortRange{Protocol: proto, Start: min(n, 65534), End: 65535}}
	}
	return v1alpha1.AdminNetworkPolicyPort{PortNumber: &v1alpha1.Port{Protocol: proto, Port: n}}
}

func networkPolicy(t *rapid.T, i int) *networkingv1.NetworkPolicy {
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("np%d", i), Namespace: rapid.SampledFrom(namespaces).Draw(t, "namespace")}}
	np.Spec.PodSelector = Selector(t)
	np.Spec.PolicyTypes = rapid.SampledFrom([][]networkingv1.PolicyType{nil, {"Ingress"}, {"Egress"}, {"Ingress", "Egress"}}).Draw(t, "types")
	for range rapid.IntRange(0, 2).Draw(t, "ingress rules") {
		np.Spec.Ingress = append(np.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers(t), Ports: ports(t)})
	}
	for range rapid.IntRange(0, 2).Draw(t, "egress rules") {
		np.Spec.Egress = append(np.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: peers(t), Ports: ports(t)})
	}
	return np
}

func peers(t *rapid.T) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range rapid.IntRange(0, 2).Draw(t, "peers") {
		if rapid.IntRange(0, 2).Draw(t, "block") == 0 {
			b := networkingv1.IPBlock{CIDR: rapid.SampledFrom(blocks).Draw(t, "cidr")}
			for range rapid.IntRange(0, 2).Draw(t, "excepts") {
				b.Except = append(b.Except, rapid.SampledFrom(blocks).Draw(t, "except"))
			}
			out = append(out, networkingv1.NetworkPolicyPeer{IPBlock: &b})
			continue
		}
		out = append(out, networkingv1.NetworkPolicyPeer{PodSelector: maybe(t, "pods", Selector), NamespaceSelector: maybe(t, "namespaces", Selector)})
	}
	return out
}

func ports(t *rapid.T) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		p := networkingv1.NetworkPolicyPort{Protocol: maybe(t, "protocol", func(t *rapid.T) corev1.Protocol {
			return protocolOf(rapid.SampledFrom(protocols).Draw(t, "protocol"))
		})}
		n := rapid.SampledFrom(numbers).Draw(t, "port")
		switch rapid.IntRange(0, 4).Draw(t, "port kind") {
		case 0:
		case 1:
			p.Port = new(intstr.FromString(rapid.SampledFrom(portNames).Draw(t, "name")))
		case 2:
			p.Port = new(intstr.FromInt32(int32(n)))
			p.EndPort = new(int32(rapid.IntRange(int(n), 65535).Draw(t, "end")))
		default:
			p.Port = new(intstr.FromInt32(int32(n)))
		}
		out = append(out, p)
	}
	return out
}

func clusterPolicy(t *rapid.T, i int) *v1alpha2.ClusterNetworkPolicy {
	p := &v1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("cnp%d", i)}}
	p.Spec.Tier = rapid.SampledFrom([]v1alpha2.Tier{v1alpha2.AdminTier, v1alpha2.BaselineTier}).Draw(t, "tier")
	p.Spec.Priority = int32(rapid.IntRange(0, 3).Draw(t, "priority"))
	if rapid.Bool().Draw(t, "subject") {
		p.Spec.Subject.Namespaces = new(Selector(t))
	} else {
		p.Spec.Subject.Pods = &v1alpha2.NamespacedPod{NamespaceSelector: Selector(t), PodSelector: Selector(t)}
	}
	action := rapid.SampledFrom([]v1alpha2.ClusterNetworkPolicyRuleAction{"Accept", "Deny", "Pass"})
	for range rapid.IntRange(0, 2).Draw(t, "ingress rules") {
		r := v1alpha2.ClusterNetworkPolicyIngressRule{Action: action.Draw(t, "action"), Protocols: cnpProtocols(t)}
		for range rapid.IntRange(1, 2).Draw(t, "peers") {
			e := cnpPeer(t, 2)
			r.From = append(r.From, v1alpha2.ClusterNetworkPolicyIngressPeer{Namespaces: e.Namespaces, Pods: e.Pods})
		}
		p.Spec.Ingress = append(p.Spec.Ingress, r)
	}
	for range rapid.IntRange(0, 2).Draw(t, "egress rules") {
		r := v1alpha2.ClusterNetworkPolicyEgressRule{Action: action.Draw(t, "action"), Protocols: cnpProtocols(t)}
		for range rapid.IntRange(1, 2).Draw(t, "peers") {
			r.To = append(r.To, cnpPeer(t, 8))
		}
		p.Spec.Egress = append(p.Spec.Egress, r)
	}
	return p
}

func cnpPeer(t *rapid.T, kinds int) v1alpha2.ClusterNetworkPolicyEgressPeer {
	switch rapid.IntRange(0, kinds).Draw(t, "peer kind") {
	case 0:
		return v1alpha2.ClusterNetworkPolicyEgressPeer{Pods: &v1alpha2.NamespacedPod{NamespaceSelector: Selector(t), PodSelector: Selector(t)}}
	case 3, 4, 5:
		var list []v1alpha2.CIDR
		for range rapid.IntRange(1, 2).Draw(t, "networks") {
			list = append(list, v1alpha2.CIDR(rapid.SampledFrom(blocks).Draw(t, "cidr")))
		}
		return v1alpha2.ClusterNetworkPolicyEgressPeer{Networks: list}
	case 6:
		return v1alpha2.ClusterNetworkPolicyEgressPeer{Nodes: new(Selector(t))}
	case 7:
		if rapid.IntRange(0, 3).Draw(t, "unknown") == 0 {
			return v1alpha2.ClusterNetworkPolicyEgressPeer{}
		}
	}
	return v1alpha2.ClusterNetworkPolicyEgressPeer{Namespaces: new(Selector(t))}
}

func cnpProtocols(t *rapid.T) []v1alpha2.ClusterNetworkPolicyProtocol {
	var out []v1alpha2.ClusterNetworkPolicyProtocol
	for range rapid.IntRange(0, 2).Draw(t, "protocols") {
		n := int32(rapid.SampledFrom(numbers).Draw(t, "port"))
		var port *v1alpha2.Port
		switch rapid.IntRange(0, 2).Draw(t, "port kind") {
		case 0:
			port = &v1alpha2.Port{Number: n}
		case 1:
			port = &v1alpha2.Port{Range: &v1alpha2.PortRange{Start: min(n, 65534), End: 65535}}
		}
		switch rapid.IntRange(0, 3).Draw(t, "protocol") {
		case 0:
			out = append(out, v1alpha2.ClusterNetworkPolicyProtocol{TCP: &v1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}})
		case 1:
			out = append(out, v1alpha2.ClusterNetworkPolicyProtocol{UDP: &v1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: port}})
		case 2:
			out = append(out, v1alpha2.ClusterNetworkPolicyProtocol{SCTP: &v1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: port}})
		default:
			out = append(out, v1alpha2.ClusterNetworkPolicyProtocol{DestinationNamedPort: rapid.SampledFrom(portNames).Draw(t, "name")})
		}
	}
	return out
}
