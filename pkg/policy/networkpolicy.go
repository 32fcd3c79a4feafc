// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	utilnet "k8s.io/utils/net"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// FromNetworkPolicy imports a networking.k8s.io/v1 NetworkPolicy. It fails on
// what the API server would not have stored ([ValidateNetworkPolicy] says it
// in the server's words).
func FromNetworkPolicy(np *networkingv1.NetworkPolicy) (*Policy, error) {
	return fromNetworkPolicy(np, Source{})
}

func fromNetworkPolicy(np *networkingv1.NetworkPolicy, src Source) (*Policy, error) {
	p := &Policy{Kind: flow.NetworkPolicy, Namespace: np.Namespace, Name: np.Name, Tier: Network, Source: src}
	if p.Namespace == "" {
		p.Namespace = metav1.NamespaceDefault
	}
	pods, err := NewSelector(&np.Spec.PodSelector)
	if err != nil {
		return nil, fmt.Errorf("%s %q: spec.podSelector: %w", p.Kind, p.Key(), err)
	}
	p.Subject = Subject{Namespace: p.Namespace, Pods: pods}
	p.IsolatesIngress, p.IsolatesEgress = isolation(&np.Spec)
	if p.IsolatesIngress {
		for i, r := range np.Spec.Ingress {
			rule, err := p.networkRule(at("spec.ingress", i), i, "from", r.From, r.Ports)
			if err != nil {
				return nil, err
			}
			p.Ingress = append(p.Ingress, rule)
		}
	}
	if p.IsolatesEgress {
		for i, r := range np.Spec.Egress {
			rule, err := p.networkRule(at("spec.egress", i), i, "to", r.To, r.Ports)
			if err != nil {
				return nil, err
			}
			p.Egress = append(p.Egress, rule)
		}
	}
	return p, nil
}

// isolation is policyTypes with its default: Ingress always, Egress if there
// are egress rules (case 1).
func isolation(spec *networkingv1.NetworkPolicySpec) (ingress, egress bool) {
	if len(spec.PolicyTypes) == 0 {
		return true, len(spec.Egress) > 0
	}
	for _, t := range spec.PolicyTypes {
		ingress = ingress || t == networkingv1.PolicyTypeIngress
		egress = egress || t == networkingv1.PolicyTypeEgress
	}
	return ingress, egress
}

func (p *Policy) networkRule(path string, index int, peersField string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) (Rule, error) {
	r := Rule{Index: index, Action: Accept, Line: p.Source.LineOf(path), AnyPeer: len(peers) == 0, AnyPort: len(ports) == 0}
	for i := range peers {
		peerPath := at(path+"."+peersField, i)
		peer, err := p.networkPeer(&peers[i])
		if err != nil {
			return Rule{}, fmt.Errorf("%s %q: %s: %w", p.Kind, p.Key(), peerPath, err)
		}
		peer.Path, peer.Line = peerPath, p.Source.LineOf(peerPath)
		if block := peers[i].IPBlock; block != nil {
			p.warnSloppy(peerPath+".ipBlock.cidr", block.CIDR)
			for j, except := range block.Except {
				p.warnSloppy(at(peerPath+".ipBlock.except", j), except)
			}
		}
		r.Peers = append(r.Peers, peer)
	}
	for i := range ports {
		portPath := at(path+".ports", i)
		port, err := networkPort(&ports[i])
		if err != nil {
			return Rule{}, fmt.Errorf("%s %q: %s: %w", p.Kind, p.Key(), portPath, err)
		}
		port.Line = p.Source.LineOf(portPath)
		r.Ports = append(r.Ports, port)
	}
	return r, nil
}

// warnSloppy notes what servers before 1.36 took and newer ones refuse.
func (p *Policy) warnSloppy(path, cidr string) {
	for _, e := range validation.IsValidCIDRForLegacyField(nil, cidr, true, nil) {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s %s1.36 and later refuse it: %s: %s", path, Refused, path, e.ErrorBody()))
	}
}

// networkPeer follows the ten combinations of case 4: a podSelector alone is
// of the policy's namespace, a namespaceSelector alone is of all its pods,
// both together are one condition. A peer with nothing set matches nothing.
func (p *Policy) networkPeer(in *networkingv1.NetworkPolicyPeer) (Peer, error) {
	if in.IPBlock != nil {
		return ipBlock(in.IPBlock)
	}
	peer := Peer{Kind: PodPeer}
	var err error
	switch {
	case in.NamespaceSelector == nil && in.PodSelector == nil:
		peer.Namespace = p.Namespace // Pods stays none
		return peer, nil
	case in.NamespaceSelector == nil:
		peer.Namespace = p.Namespace
	default:
		if peer.Namespaces, err = NewSelector(in.NamespaceSelector); err != nil {
			return Peer{}, fmt.Errorf("namespaceSelector: %w", err)
		}
	}
	if in.PodSelector == nil {
		peer.Pods = Everything()
		return peer, nil
	}
	if peer.Pods, err = NewSelector(in.PodSelector); err != nil {
		return Peer{}, fmt.Errorf("podSelector: %w", err)
	}
	return peer, nil
}

func ipBlock(in *networkingv1.IPBlock) (Peer, error) {
	cidr, err := parseCIDR(in.CIDR)
	if err != nil {
		return Peer{}, fmt.Errorf("ipBlock.cidr: %w", err)
	}
	peer := Peer{Kind: CIDRPeer, CIDR: cidr}
	for i, s := range in.Except {
		except, err := parseCIDR(s)
		if err != nil {
			return Peer{}, fmt.Errorf("%s: %w", at("ipBlock.except", i), err)
		}
		peer.Except = append(peer.Except, except)
	}
	return peer, nil
}

// parseCIDR reads what the API server takes, and as it takes it: host bits are
// dropped, leading zeros are decimal, an IPv4 range in IPv6 clothes is IPv4.
func parseCIDR(s string) (netip.Prefix, error) {
	_, ipNet, err := utilnet.ParseCIDRSloppy(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no CIDR, such as 10.0.0.0/8 or fd00::/8", s)
	}
	addr, ok := netip.AddrFromSlice(ipNet.IP)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("%q is no CIDR, such as 10.0.0.0/8 or fd00::/8", s)
	}
	ones, bits := ipNet.Mask.Size()
	if addr.Is4In6() {
		if bits == 128 && ones < 96 {
			return netip.Prefix{}, fmt.Errorf("%q mixes IPv4 and IPv6", s)
		}
		if bits == 128 {
			ones -= 96
		}
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, ones).Masked(), nil
}

// networkPort follows cases 14 to 17.
func networkPort(in *networkingv1.NetworkPolicyPort) (Port, error) {
	protocol, err := protocolOf(in.Protocol)
	if err != nil {
		return Port{}, err
	}
	port := Port{Protocol: protocol, From: 0, To: 65535}
	switch {
	case in.Port == nil:
		if in.EndPort != nil {
			return Port{}, fmt.Errorf("endPort: may not be specified when `port` is not specified")
		}
	case in.Port.Type == intstr.String:
		if in.EndPort != nil {
			return Port{}, fmt.Errorf("endPort: may not be specified when `port` is non-numeric")
		}
		port.Name, port.From, port.To = in.Port.StrVal, 0, 0
	default:
		end := in.Port.IntVal
		if in.EndPort != nil {
			end = *in.EndPort
		}
		return numbered(port, in.Port.IntVal, end)
	}
	return port, nil
}

// numbered sets a range of ports, both ends included.
func numbered(port Port, from, to int32) (Port, error) {
	if from < 1 || from > 65535 || to < 1 || to > 65535 {
		return Port{}, fmt.Errorf("port %d-%d: must be between 1 and 65535, inclusive", from, to)
	}
	if to < from {
		return Port{}, fmt.Errorf("port %d-%d: the end must be greater than or equal to the start", from, to)
	}
	port.From, port.To = uint16(from), uint16(to)
	return port, nil
}

func protocolOf(in *corev1.Protocol) (flow.Protocol, error) {
	if in == nil || *in == "" {
		return flow.TCP, nil
	}
	switch *in {
	case corev1.ProtocolTCP:
		return flow.TCP, nil
	case corev1.ProtocolUDP:
		return flow.UDP, nil
	case corev1.ProtocolSCTP:
		return flow.SCTP, nil
	}
	return 0, fmt.Errorf("protocol %q: supported values: \"SCTP\", \"TCP\", \"UDP\"", *in)
}
