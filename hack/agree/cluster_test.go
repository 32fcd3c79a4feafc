// SPDX-License-Identifier: Apache-2.0

package agree

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	v1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// TestClusterNetworkPolicy compares the three tiers with an evaluator that
// tries every order of policies with equal priority and both answers to each
// open question: verdicts must be contested exactly where those differ.
func TestClusterNetworkPolicy(t *testing.T) {
	count := map[flow.Verdict]int{}
	for i := range *worlds / 8 {
		m := maker{rand.New(rand.NewPCG(*seed, uint64(i)))}
		n := naive{world: m.world()}
		var policies []*policy.Policy
		add := func(p *policy.Policy, err error) {
			if err != nil {
				t.Fatal(err)
			}
			policies = append(policies, p)
		}
		for j := range m.IntN(3) {
			n.network = append(n.network, m.networkPolicy(j))
			add(policy.FromNetworkPolicy(n.network[j]))
		}
		for j := range 1 + m.IntN(4) {
			n.cluster = append(n.cluster, m.clusterPolicy(j))
			add(policy.FromClusterNetworkPolicy(n.cluster[j]))
		}
		e := policy.NewEvaluator(n.world, policies)
		n.orders = ordered(n.cluster)
		n.view, n.covering, n.skipping = e.View(), matcher.BuildNetworkPolicies(false, n.network), matcher.BuildNetworkPolicies(false, withoutBlocks(n.network))
		for _, packet := range append(m.packets(n.world), m.oddPackets(n.world)...) {
			got, want := e.Evaluate(packet).Verdict, n.verdict(&packet)
			if got != want {
				t.Fatalf("world %d, %+v: we say %s, the text says %s\n%s%s", i, packet, got, want, text(n.cluster), text(n.network))
			}
			count[got]++
		}
	}
	t.Logf("%d worlds: %v", *worlds/8, count)
	for _, v := range []flow.Verdict{flow.Allow, flow.Deny, flow.Contested} {
		if count[v] == 0 {
			t.Errorf("no packet was judged %s", v)
		}
	}
}

func (m maker) clusterPolicy(i int) *v1alpha2.ClusterNetworkPolicy {
	p := &v1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("cnp%d", i)}}
	p.Spec.Tier, p.Spec.Priority = pick(m, v1alpha2.AdminTier, v1alpha2.BaselineTier), int32(m.IntN(3))
	if m.half() {
		p.Spec.Subject.Namespaces = m.spaces()
	} else {
		p.Spec.Subject.Pods = &v1alpha2.NamespacedPod{NamespaceSelector: *m.spaces(), PodSelector: *m.pods()}
	}
	action := func() v1alpha2.ClusterNetworkPolicyRuleAction {
		return pick(m, v1alpha2.ClusterNetworkPolicyRuleActionAccept, v1alpha2.ClusterNetworkPolicyRuleActionDeny, v1alpha2.ClusterNetworkPolicyRuleActionPass)
	}
	p.Spec.Ingress = some(m, 3, func() v1alpha2.ClusterNetworkPolicyIngressRule {
		r := v1alpha2.ClusterNetworkPolicyIngressRule{Action: action(), Protocols: some(m, 2, m.protocol)}
		for range 1 + m.IntN(2) {
			e := m.clusterPeer(6)
			r.From = append(r.From, v1alpha2.ClusterNetworkPolicyIngressPeer{Namespaces: e.Namespaces, Pods: e.Pods})
		}
		return r
	})
	p.Spec.Egress = some(m, 3, func() v1alpha2.ClusterNetworkPolicyEgressRule {
		r := v1alpha2.ClusterNetworkPolicyEgressRule{Action: action(), Protocols: some(m, 2, m.protocol)}
		for range 1 + m.IntN(2) {
			r.To = append(r.To, m.clusterPeer(10))
		}
		return r
	})
	return p
}

// clusterPeer draws one of the first kinds; seldom one that nobody knows.
func (m maker) clusterPeer(kinds int) v1alpha2.ClusterNetworkPolicyEgressPeer {
	switch k := m.IntN(kinds); {
	case k < 3:
		return v1alpha2.ClusterNetworkPolicyEgressPeer{Namespaces: m.spaces()}
	case k < 6:
		if m.seldom() && m.seldom() {
			return v1alpha2.ClusterNetworkPolicyEgressPeer{}
		}
		return v1alpha2.ClusterNetworkPolicyEgressPeer{Pods: &v1alpha2.NamespacedPod{NamespaceSelector: *m.spaces(), PodSelector: *m.pods()}}
	case k < 9:
		return v1alpha2.ClusterNetworkPolicyEgressPeer{Networks: some(m, 2, func() v1alpha2.CIDR { return v1alpha2.CIDR(pick(m, blocks...)) })}
	}
	return v1alpha2.ClusterNetworkPolicyEgressPeer{Nodes: &metav1.LabelSelector{MatchLabels: map[string]string{"zone": pick(m, "n1", "n2")}}}
}

func (m maker) protocol() v1alpha2.ClusterNetworkPolicyProtocol {
	port := pick(m, nil, &v1alpha2.Port{Number: 80}, &v1alpha2.Port{Range: &v1alpha2.PortRange{Start: 80, End: 81}})
	switch m.IntN(4) {
	case 0:
		return v1alpha2.ClusterNetworkPolicyProtocol{TCP: &v1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}}
	case 1:
		return v1alpha2.ClusterNetworkPolicyProtocol{UDP: &v1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: port}}
	case 2:
		return v1alpha2.ClusterNetworkPolicyProtocol{SCTP: &v1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: port}}
	}
	return v1alpha2.ClusterNetworkPolicyProtocol{DestinationNamedPort: "serve"}
}

// oddPackets are pings, and what goes between pods and nodes.
func (m maker) oddPackets(w *identity.World) []policy.Packet {
	var out []policy.Packet
	pods := w.SelectPods(func(*identity.Pod) bool { return true })
	for _, p := range pods {
		out = append(out,
			policy.Packet{Protocol: flow.ICMP, Source: p.IPs[0], Destination: pick(m, pods...).IPs[0]},
			policy.Packet{Protocol: flow.ICMPv6, Source: p.IPs[1], Destination: pick(m, pods...).IPs[1], HasICMPType: true, ICMPType: pick[uint8](m, 128, 135)})
		for _, n := range w.Nodes {
			out = append(out,
				policy.Packet{Protocol: flow.TCP, Source: p.IPs[0], Destination: n.IPs[0], Port: 80},
				policy.Packet{Protocol: flow.TCP, Source: n.IPs[0], Destination: p.IPs[0], Port: 80})
		}
	}
	return out
}

// naive is the text of v1alpha2's types, word by word, and cyclonus for the
// tier in between.
type naive struct {
	world              *identity.World
	view               *policy.View
	cluster            []*v1alpha2.ClusterNetworkPolicy
	network            []*networkingv1.NetworkPolicy
	orders             [][]*v1alpha2.ClusterNetworkPolicy
	covering, skipping *matcher.Policy // skipping: an ipBlock covers no pods
}

// withoutBlocks replaces each ipBlock by a peer that no pod is.
func withoutBlocks(in []*networkingv1.NetworkPolicy) []*networkingv1.NetworkPolicy {
	nobody := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"nobody": "has"}}}
	var out []*networkingv1.NetworkPolicy
	for _, np := range in {
		np = np.DeepCopy()
		for i := range np.Spec.Ingress {
			for j := range np.Spec.Ingress[i].From {
				if np.Spec.Ingress[i].From[j].IPBlock != nil {
					np.Spec.Ingress[i].From[j] = nobody
				}
			}
		}
		for i := range np.Spec.Egress {
			for j := range np.Spec.Egress[i].To {
				if np.Spec.Egress[i].To[j].IPBlock != nil {
					np.Spec.Egress[i].To[j] = nobody
				}
			}
		}
		out = append(out, np)
	}
	return out
}

func (n *naive) verdict(p *policy.Packet) flow.Verdict {
	seen := map[bool]bool{}
	for _, blocksCoverPods := range []bool{true, false} {
		for _, isolationCoversAll := range []bool{true, false} {
			for out := range n.end(p, false, blocksCoverPods, isolationCoversAll) {
				for in := range n.end(p, true, blocksCoverPods, isolationCoversAll) {
					seen[out && in] = true
				}
			}
		}
	}
	switch {
	case len(seen) == 2:
		return flow.Contested
	case seen[true]:
		return flow.Allow
	}
	return flow.Deny
}

// end gives every answer that some order of policies with equal priority has.
func (n *naive) end(p *policy.Packet, ingress, blocksCoverPods, isolationCoversAll bool) map[bool]bool {
	subject, peer := p.Source, p.Destination
	if ingress {
		subject, peer = peer, subject
	}
	pod := n.view.Pod(subject)
	if pod == nil || p.Source == p.Destination || (p.Protocol == flow.ICMPv6 && p.ICMPType >= 133 && p.ICMPType <= 137) {
		return map[bool]bool{true: true}
	}
	if node := n.view.Node(peer); ingress && node != nil && node.Name == pod.Node {
		return map[bool]bool{true: true}
	}
	answers := map[bool]bool{}
	for _, order := range n.orders {
		switch n.tier(order, v1alpha2.AdminTier, p, ingress, pod) {
		case v1alpha2.ClusterNetworkPolicyRuleActionAccept:
			answers[true] = true
			continue
		case v1alpha2.ClusterNetworkPolicyRuleActionDeny:
			answers[false] = true
			continue
		}
		np := n.covering
		if !blocksCoverPods && n.view.Pod(peer) != nil {
			np = n.skipping
		}
		if len(np.TargetsApplyingToPod(ingress, pod.Namespace, pod.Labels)) > 0 {
			answers[np.IsIngressOrEgressAllowed(traffic(n.view, p), ingress).IsAllowed() || (!p.Protocol.HasPorts() && !isolationCoversAll)] = true
			continue
		}
		answers[n.tier(order, v1alpha2.BaselineTier, p, ingress, pod) != v1alpha2.ClusterNetworkPolicyRuleActionDeny] = true
	}
	return answers
}

// ordered are the orders that priorities allow, each once.
func ordered(in []*v1alpha2.ClusterNetworkPolicy) [][]*v1alpha2.ClusterNetworkPolicy {
	var out [][]*v1alpha2.ClusterNetworkPolicy
	for _, order := range permutations(in) {
		slices.SortStableFunc(order, func(a, b *v1alpha2.ClusterNetworkPolicy) int { return cmp.Compare(a.Spec.Priority, b.Spec.Priority) })
		if !slices.ContainsFunc(out, func(o []*v1alpha2.ClusterNetworkPolicy) bool { return slices.Equal(o, order) }) {
			out = append(out, order)
		}
	}
	return out
}

func permutations[T any](in []T) [][]T {
	if len(in) == 0 {
		return [][]T{nil}
	}
	var out [][]T
	for i := range in {
		rest := slices.Delete(slices.Clone(in), i, i+1)
		for _, p := range permutations(rest) {
			out = append(out, append([]T{in[i]}, p...))
		}
	}
	return out
}

// tier is the action of the first rule that matches; empty if none does.
func (n *naive) tier(order []*v1alpha2.ClusterNetworkPolicy, tier v1alpha2.Tier, p *policy.Packet, ingress bool, pod *identity.Pod) v1alpha2.ClusterNetworkPolicyRuleAction {
	for _, c := range order {
		if c.Spec.Tier != tier || !n.selects(c.Spec.Subject.Namespaces, c.Spec.Subject.Pods, pod) {
			continue
		}
		if ingress {
			for _, r := range c.Spec.Ingress {
				var peers []v1alpha2.ClusterNetworkPolicyEgressPeer
				for _, f := range r.From {
					peers = append(peers, v1alpha2.ClusterNetworkPolicyEgressPeer{Namespaces: f.Namespaces, Pods: f.Pods})
				}
				if a := n.rule(r.Action, peers, r.Protocols, p, p.Source); a != "" {
					return a
				}
			}
			continue
		}
		for _, r := range c.Spec.Egress {
			if a := n.rule(r.Action, r.To, r.Protocols, p, p.Destination); a != "" {
				return a
			}
		}
	}
	return ""
}

func (n *naive) selects(namespaces *metav1.LabelSelector, pods *v1alpha2.NamespacedPod, pod *identity.Pod) bool {
	space := n.world.Namespaces[pod.Namespace].Labels
	if namespaces != nil {
		return selectorMatches(namespaces, space)
	}
	return pods != nil && selectorMatches(&pods.NamespaceSelector, space) && selectorMatches(&pods.PodSelector, pod.Labels)
}

func selectorMatches(s *metav1.LabelSelector, l map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(l))
}

func (n *naive) rule(action v1alpha2.ClusterNetworkPolicyRuleAction, peers []v1alpha2.ClusterNetworkPolicyEgressPeer, protocols []v1alpha2.ClusterNetworkPolicyProtocol, p *policy.Packet, peer netip.Addr) v1alpha2.ClusterNetworkPolicyRuleAction {
	for _, e := range peers {
		if e.Namespaces == nil && e.Pods == nil && e.Nodes == nil && len(e.Networks) == 0 {
			if action == v1alpha2.ClusterNetworkPolicyRuleActionAccept {
				return ""
			}
			return v1alpha2.ClusterNetworkPolicyRuleActionDeny
		}
	}
	if slices.ContainsFunc(peers, func(e v1alpha2.ClusterNetworkPolicyEgressPeer) bool { return n.peer(&e, peer) }) &&
		(len(protocols) == 0 || slices.ContainsFunc(protocols, func(x v1alpha2.ClusterNetworkPolicyProtocol) bool { return n.protocol(&x, p) })) {
		return action
	}
	return ""
}

func (n *naive) peer(e *v1alpha2.ClusterNetworkPolicyEgressPeer, ip netip.Addr) bool {
	switch {
	case e.Nodes != nil:
		node := n.view.Node(ip)
		return node != nil && selectorMatches(e.Nodes, node.Labels)
	case len(e.Networks) > 0:
		return slices.ContainsFunc(e.Networks, func(c v1alpha2.CIDR) bool { return netip.MustParsePrefix(string(c)).Contains(ip) })
	}
	pod := n.view.Pod(ip)
	return pod != nil && n.selects(e.Namespaces, e.Pods, pod)
}

func (n *naive) protocol(x *v1alpha2.ClusterNetworkPolicyProtocol, p *policy.Packet) bool {
	number := func(want flow.Protocol, port *v1alpha2.Port) bool {
		return p.Protocol == want && (port == nil || int32(p.Port) == port.Number || (port.Range != nil && port.Range.Start <= int32(p.Port) && int32(p.Port) <= port.Range.End))
	}
	switch {
	case x.TCP != nil:
		return number(flow.TCP, x.TCP.DestinationPort)
	case x.UDP != nil:
		return number(flow.UDP, x.UDP.DestinationPort)
	case x.SCTP != nil:
		return number(flow.SCTP, x.SCTP.DestinationPort)
	}
	pod := n.view.Pod(p.Destination)
	return pod != nil && slices.ContainsFunc(pod.Ports, func(port identity.NamedPort) bool {
		return port.Name == x.DestinationNamedPort && port.Protocol == p.Protocol && port.Number == p.Port
	})
}
