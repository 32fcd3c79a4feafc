// SPDX-License-Identifier: Apache-2.0

package agree

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// maker draws from vocabularies small enough that most things meet.
type maker struct{ *rand.Rand }

func pick[T any](m maker, of ...T) T { return of[m.IntN(len(of))] }

func (m maker) often() bool { return m.IntN(4) > 0 }
func (m maker) half() bool  { return m.IntN(2) == 0 }
func (m maker) seldom() bool {
	return m.IntN(6) == 0
}

var namespaces = []string{"x", "y", "z"}

// world makes three namespaces and a dozen dual-stack pods. Every pod has the
// label app, every namespace its name and team; others may lack.
func (m maker) world() *identity.World {
	w := &identity.World{Namespaces: map[string]*identity.Namespace{}, Pods: map[string]*identity.Pod{}, Nodes: map[string]*identity.Node{}}
	for i, n := range []string{"n1", "n2"} {
		w.Nodes[n] = &identity.Node{Name: n, Labels: map[string]string{"zone": n}, IPs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})}}
	}
	for i, n := range namespaces {
		labels := map[string]string{"kubernetes.io/metadata.name": n, "team": pick(m, "a", "b")}
		if m.half() {
			labels["env"] = pick(m, "dev", "prod")
		}
		w.Namespaces[n] = &identity.Namespace{Name: n, Labels: labels}
		for j := range 4 {
			p := &identity.Pod{
				Namespace: n, Name: fmt.Sprintf("p%d", j), Labels: map[string]string{"app": pick(m, "web", "db", "dns")}, Node: pick(m, "n1", "n2"),
				IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j + 1)}), netip.MustParseAddr(fmt.Sprintf("fd00::%d:%d", i, j+1))},
			}
			if m.half() {
				p.Labels["tier"] = pick(m, "front", "back")
			}
			if m.often() {
				p.Ports = append(p.Ports, identity.NamedPort{Name: "serve", Protocol: pick(m, flow.TCP, flow.UDP, flow.SCTP), Number: pick(m, uint16(80), 81)})
			}
			w.Pods[p.Key()] = p
		}
	}
	return w
}

// selector draws one. NotIn is used with keys that every object has:
// cyclonus' matcher says that it does not match an object that lacks the key,
// which in Kubernetes it does.
func (m maker) selector(always, sometimes string, values map[string][]string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	if m.seldom() {
		return s
	}
	for range 1 + m.IntN(2) {
		key := pick(m, always, sometimes)
		switch m.IntN(6) {
		case 0, 1, 2:
			if s.MatchLabels == nil {
				s.MatchLabels = map[string]string{}
			}
			s.MatchLabels[key] = pick(m, values[key]...)
		case 3:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{pick(m, values[key]...), pick(m, values[key]...)}})
		case 4:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: always, Operator: metav1.LabelSelectorOpNotIn, Values: []string{pick(m, values[always]...)}})
		case 5:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: sometimes, Operator: pick(m, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)})
		}
	}
	return s
}

func (m maker) pods() *metav1.LabelSelector {
	return m.selector("app", "tier", map[string][]string{"app": {"web", "db", "dns"}, "tier": {"front", "back"}})
}

func (m maker) spaces() *metav1.LabelSelector {
	if m.seldom() {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": pick(m, namespaces...)}}
	}
	return m.selector("team", "env", map[string][]string{"team": {"a", "b"}, "env": {"dev", "prod"}})
}

var blocks = []string{"0.0.0.0/0", "10.0.0.0/16", "10.0.1.0/24", "10.0.1.2/32", "198.51.100.0/24", "::/0", "fd00::/64", "fd00::1:0/112", "2001:db8::/32"}

func (m maker) peer() networkingv1.NetworkPolicyPeer {
	switch m.IntN(4) {
	case 0:
		block := &networkingv1.IPBlock{CIDR: pick(m, blocks...)}
		outer := netip.MustParsePrefix(block.CIDR)
		for _, s := range blocks {
			inner := netip.MustParsePrefix(s)
			if inner.Bits() > outer.Bits() && outer.Contains(inner.Addr()) && m.seldom() {
				block.Except = append(block.Except, s)
			}
		}
		return networkingv1.NetworkPolicyPeer{IPBlock: block}
	case 1:
		return networkingv1.NetworkPolicyPeer{PodSelector: m.pods()}
	case 2:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: m.spaces()}
	}
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: m.spaces(), PodSelector: m.pods()}
}

func (m maker) port() networkingv1.NetworkPolicyPort {
	var p networkingv1.NetworkPolicyPort
	if m.often() {
		proto := pick(m, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		p.Protocol = &proto
	}
	switch m.IntN(5) {
	case 0:
	case 1:
		name := intstr.FromString(pick(m, "serve", "unserved"))
		p.Port = &name
	case 2:
		number, end := intstr.FromInt32(pick[int32](m, 79, 80)), pick[int32](m, 80, 81, 65535)
		p.Port, p.EndPort = &number, &end
	default:
		number := intstr.FromInt32(pick[int32](m, 80, 81))
		p.Port = &number
	}
	return p
}

func some[T any](m maker, most int, make func() T) []T {
	var out []T
	for range m.IntN(most + 1) {
		out = append(out, make())
	}
	return out
}

func (m maker) networkPolicy(i int) *networkingv1.NetworkPolicy {
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: pick(m, namespaces...), Name: fmt.Sprintf("np%d", i)}}
	np.Spec.PodSelector = *m.pods()
	np.Spec.PolicyTypes = pick(m, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Egress"}, []networkingv1.PolicyType{"Ingress", "Egress"})
	np.Spec.Ingress = some(m, 2, func() networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{From: some(m, 2, m.peer), Ports: some(m, 2, m.port)}
	})
	np.Spec.Egress = some(m, 2, func() networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{To: some(m, 2, m.peer), Ports: some(m, 2, m.port)}
	})
	return np
}

// packets are every pair of pods and outside addresses of one family, with
// one protocol and port each.
func (m maker) packets(w *identity.World) []policy.Packet {
	var out []policy.Packet
	for family, outside := range []string{"198.51.100.7", "2001:db8::7"} {
		ends := []netip.Addr{netip.MustParseAddr(outside)}
		for _, p := range w.SelectPods(func(*identity.Pod) bool { return true }) {
			ends = append(ends, p.IPs[family])
		}
		for _, src := range ends {
			for _, dst := range ends {
				if src != dst {
					out = append(out, policy.Packet{Protocol: pick(m, flow.TCP, flow.UDP, flow.SCTP), Source: src, Destination: dst, Port: pick[uint16](m, 79, 80, 81, 82)})
				}
			}
		}
	}
	return out
}
