// SPDX-License-Identifier: Apache-2.0

// Package gen draws small clusters, policies and packets in which much
// happens: few labels, few ports, few addresses, so that rules meet packets.
// Every engine is compared with the others on what it draws.
package gen

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

var (
	namespaces = []string{"a", "b", "c"}
	keys       = []string{"app", "tier"}
	values     = []string{"x", "y", "z"}
	portNames  = []string{"web", "dns"}
	protocols  = []flow.Protocol{flow.TCP, flow.UDP, flow.SCTP}
	numbers    = []uint16{53, 80, 81, 443, 8080, 65535}
)

// Labels draws a few labels.
func Labels(t *rapid.T) map[string]string {
	l := map[string]string{}
	for _, k := range keys {
		if v := rapid.SampledFrom(append([]string{""}, values...)).Draw(t, "label"); v != "" {
			l[k] = v
		}
	}
	return l
}

// World draws a cluster of two or three nodes.
func World(t *rapid.T) *identity.World {
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{}, Pods: map[string]*identity.Pod{},
		Services: map[string]*identity.Service{}, Nodes: map[string]*identity.Node{},
	}
	for _, name := range namespaces {
		l := Labels(t)
		l["kubernetes.io/metadata.name"] = name
		w.Namespaces[name] = &identity.Namespace{Name: name, Labels: l}
	}
	nodes := rapid.IntRange(1, 3).Draw(t, "nodes")
	for i := range nodes {
		name := fmt.Sprintf("n%d", i+1)
		w.Nodes[name] = &identity.Node{Name: name, Labels: Labels(t), Ready: true, IPs: []netip.Addr{
			netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)}), v6("fd00:2::", i+1),
		}}
	}
	for i := range rapid.IntRange(2, 8).Draw(t, "pods") {
		p := Pod(t, i, nodes)
		w.Pods[p.Key()] = p
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "services") {
		s := service(t, i, w)
		w.Services[s.Key()] = s
	}
	return w
}

func v6(prefix string, i int) netip.Addr {
	b := netip.MustParseAddr(prefix).As16()
	b[15] = byte(i)
	return netip.AddrFrom16(b)
}

// Pod draws the i-th pod of a cluster.
func Pod(t *rapid.T, i, nodes int) *identity.Pod {
	p := &identity.Pod{
		Namespace: rapid.SampledFrom(namespaces).Draw(t, "namespace"), Name: fmt.Sprintf("p%d", i), Labels: Labels(t),
		Node: fmt.Sprintf("n%d", rapid.IntRange(1, nodes).Draw(t, "node")), Ready: true, UID: fmt.Sprint(i),
	}
	n := p.Node[1] - '0'
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		p.HostNetwork = true
		p.IPs = []netip.Addr{netip.AddrFrom4([4]byte{192, 168, 0, n}), v6("fd00:2::", int(n))}
	case 1:
		p.Done = true
	default:
		p.IPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, n, byte(i + 1)}), v6("fd00:1::", i+1)}
	}
	for range rapid.IntRange(0, 3).Draw(t, "container ports") {
		p.Ports = append(p.Ports, identity.NamedPort{
			Name: rapid.SampledFrom(portNames).Draw(t, "port name"), Protocol: rapid.SampledFrom(protocols).Draw(t, "protocol"),
			Number: rapid.SampledFrom(numbers).Draw(t, "number"),
		})
	}
	return p
}

func service(t *rapid.T, i int, w *identity.World) *identity.Service {
	s := &identity.Service{
		Namespace: rapid.SampledFrom(namespaces).Draw(t, "namespace"), Name: fmt.Sprintf("s%d", i), Type: "ClusterIP",
		IPs:           []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)}), v6("fd00:3::", i+1)},
		InternalLocal: rapid.IntRange(0, 9).Draw(t, "local") == 0,
	}
	port := identity.ServicePort{
		Protocol: rapid.SampledFrom(protocols[:2]).Draw(t, "protocol"), Port: rapid.SampledFrom(numbers).Draw(t, "port"),
	}
	target := rapid.SampledFrom(numbers).Draw(t, "target port")
	if rapid.IntRange(0, 4).Draw(t, "node port") == 0 {
		port.NodePort = 30000 + uint16(i)
		s.ExternalIPs = []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)})}
		s.ExternalLocal = rapid.Bool().Draw(t, "external local")
	}
	for _, p := range w.SelectPods(func(*identity.Pod) bool { return true }) {
		if p.Done || rapid.IntRange(0, 2).Draw(t, "backs") != 0 {
			continue
		}
		for _, ip := range p.IPs {
			port.Backends = append(port.Backends, identity.Backend{IP: ip, Port: target, Node: p.Node, Ready: rapid.IntRange(0, 4).Draw(t, "ready") != 0})
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "outside backend") == 0 {
		port.Backends = append(port.Backends, identity.Backend{IP: netip.AddrFrom4([4]byte{172, 16, 0, 9}), Port: target, Ready: true})
	}
	s.Ports = []identity.ServicePort{port}
	return s
}

// Selector draws a label selector of one or two conditions.
func Selector(t *rapid.T) metav1.LabelSelector {
	var s metav1.LabelSelector
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		key := rapid.SampledFrom(append([]string{"kubernetes.io/metadata.name"}, keys...)).Draw(t, "key")
		list := values
		if key == "kubernetes.io/metadata.name" {
			list = namespaces
		}
		value := rapid.SampledFrom(list).Draw(t, "value")
		switch rapid.IntRange(0, 4).Draw(t, "operator") {
		case 0:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value, list[0]}})
		case 1:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: []string{value}})
		case 2:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpExists})
		case 3:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist})
		default:
			if s.MatchLabels == nil {
				s.MatchLabels = map[string]string{}
			}
			s.MatchLabels[key] = value
		}
	}
	return s
}

func maybe[T any](t *rapid.T, label string, draw func(*rapid.T) T) *T {
	if rapid.Bool().Draw(t, label) {
		v := draw(t)
		return &v
	}
	return nil
}

// blocks are ranges in and around the addresses of World.
var blocks = []string{
	"0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.1.0/24", "10.0.1.0/25", "10.0.1.2/32", "10.96.0.0/12", "10.96.0.1/32", "192.168.0.0/16", "192.168.0.1/32",
	"172.16.0.0/12", "172.16.0.8/30", "203.0.113.0/24", "fd00:1::/64", "fd00:1::4/126", "fd00::/16", "fd00:2::1/128", "fd00:3::/64", "2001:db8::/32",
}

// Packet draws a packet between addresses that mean something, mostly.
func Packet(t *rapid.T, w *identity.World) policy.Packet {
	if rapid.IntRange(0, 4).Draw(t, "to a service") == 0 {
		if p, ok := toService(t, w); ok {
			return p
		}
	}
	v4 := rapid.IntRange(0, 2).Draw(t, "family") != 0
	ips, ports := addresses(w, v4)
	p := policy.Packet{
		Source:      rapid.SampledFrom(ips).Draw(t, "source"),
		Destination: rapid.SampledFrom(ips).Draw(t, "destination"),
		Protocol:    rapid.SampledFrom(append([]flow.Protocol{flow.TCP, flow.TCP, flow.UDP}, protocols...)).Draw(t, "protocol"),
	}
	if rapid.IntRange(0, 9).Draw(t, "icmp") == 0 {
		p.Protocol = flow.ICMP
		if !v4 {
			p.Protocol = flow.ICMPv6
		}
		return p
	}
	if rapid.IntRange(0, 19).Draw(t, "any port") == 0 {
		p.Port = rapid.Uint16().Draw(t, "port")
	} else {
		p.Port = rapid.SampledFrom(ports).Draw(t, "port")
	}
	return p
}

func addresses(w *identity.World, v4 bool) ([]netip.Addr, []uint16) {
	var out []netip.Addr
	add := func(list []netip.Addr) {
		for _, ip := range list {
			if ip.Is4() == v4 {
				out = append(out, ip)
			}
		}
	}
	ports := append([]uint16{0, 1, 52, 54, 82}, numbers...)
	for _, p := range w.SelectPods(func(p *identity.Pod) bool { return !p.Done }) {
		add(p.IPs)
		add(p.IPs) // pods twice as often as others
	}
	for i := range 3 {
		if n := w.Nodes[fmt.Sprintf("n%d", i+1)]; n != nil {
			add(n.IPs)
		}
	}
	for i := range 3 {
		for _, ns := range namespaces {
			if s := w.Services[fmt.Sprintf("%s/s%d", ns, i)]; s != nil {
				add(s.IPs)
				add(s.ExternalIPs)
				ports = append(ports, s.Ports[0].Port, max(s.Ports[0].NodePort, 1))
			}
		}
	}
	add([]netip.Addr{netip.MustParseAddr("172.16.0.9"), netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.0.1.77"), netip.MustParseAddr("2001:db8::1")})
	return out, ports
}

func protocolOf(p flow.Protocol) corev1.Protocol { return corev1.Protocol(p.String()) }
