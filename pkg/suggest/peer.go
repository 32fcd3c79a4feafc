// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// opposite names a connection from its other end.
type opposite struct {
	direction flow.Direction
	protocol  flow.Protocol
	source    netip.Addr
	reached   netip.AddrPort
}

// reached is where the packets went: of a service, who answered.
func reached(s *traffic.Seen) netip.AddrPort {
	if s.Direction == flow.Egress && s.Backend != nil {
		return netip.AddrPortFrom(s.Backend.IP, s.Backend.Port)
	}
	return netip.AddrPortFrom(s.Destination.IP, s.Destination.Port)
}

// between names a connection by the pods at its ends: families are judged
// alike, as far as rules go by labels.
type between struct {
	direction flow.Direction
	protocol  flow.Protocol
	from, to  string
	port      uint16
}

func betweenOf(d flow.Direction, s *traffic.Seen) between {
	to, port := &s.Destination, s.Destination.Port
	if s.Backend != nil {
		to, port = s.Backend, s.Backend.Port
	}
	return between{d, s.Protocol, s.Source.Namespace + "/" + s.Source.Pod, to.Namespace + "/" + to.Pod, port}
}

// note makes a flow findable from its other end.
func (m *maker) note(s *traffic.Seen) {
	k := opposite{s.Direction, s.Protocol, s.Source.IP, reached(s)}
	m.opposite[k] = append(m.opposite[k], s)
	b := betweenOf(s.Direction, s)
	m.betweens[b] = append(m.betweens[b], s)
}

func (m *maker) otherEnd(s *traffic.Seen) []*traffic.Seen {
	return m.opposite[opposite{flow.Ingress + flow.Egress - s.Direction, s.Protocol, s.Source.IP, reached(s)}]
}

// isDenied says whether current policies deny a flow, at either end. What was
// recorded counts; where the other end was not watched the evaluator is asked.
func (m *maker) isDenied(s *traffic.Seen) bool {
	if s.Verdict == flow.Deny {
		return true
	}
	if far := m.otherEnd(s); len(far) > 0 {
		return !slices.ContainsFunc(far, func(o *traffic.Seen) bool { return o.Verdict != flow.Deny })
	}
	if s.Source.Pod != "" && slices.ContainsFunc(m.betweens[betweenOf(flow.Ingress+flow.Egress-s.Direction, s)], func(o *traffic.Seen) bool { return o.Destination.Pod != "" && o.Verdict == flow.Deny }) {
		return true // over the other family
	}
	to := reached(s)
	p := policy.Packet{Protocol: s.Protocol, Source: s.Source.IP, Destination: to.Addr(), Port: to.Port()}
	return m.now.Whole(s, p) == flow.Deny
}

// mirror lets a flow in, or out, at its other end as well if a policy is
// wanted there: samples of one end may have been lost.
func (m *maker) mirror(s *traffic.Seen) {
	far := s.Peer()
	if s.Direction == flow.Egress && s.Backend != nil {
		far = s.Backend
	}
	pod := m.pod(far)
	if !m.target(pod) || !s.Protocol.HasPorts() || s.Source.IP == s.Destination.IP || len(m.otherEnd(s)) > 0 || !m.in.Denied && m.isDenied(s) {
		return
	}
	o := *s
	o.Direction = flow.Ingress + flow.Egress - s.Direction
	if o.Direction == flow.Ingress && s.Backend != nil {
		o.Destination, o.Backend = *s.Backend, nil
	}
	m.claims(&o, pod, nil)
}

// peerOf is an end of a flow as a rule names it. Nil: no rule can.
func (m *maker) peerOf(s *traffic.Seen, end *flow.Peer, namespace string) *Peer {
	view := m.judge.View(s)
	if pod := m.pod(end); pod != nil && !pod.HostNetwork {
		c := m.choose(pod)
		p := &Peer{Namespace: pod.Namespace, Same: pod.Namespace == namespace, Labels: c.labels, Names: []string{pod.Workload}}
		if end.Service != "" {
			p.Via = []string{end.Service}
		}
		switch {
		case len(c.labels) == 0:
			p.Note = fmt.Sprintf("%s has no label that outlives a rollout: this is every pod of namespace %s", pod.Workload, pod.Namespace)
		case len(c.also) > 0:
			p.Note = fmt.Sprintf("the same labels have %s", strings.Join(c.also, ", "))
		}
		return p
	}
	ip := end.IP.WithZone("")
	if !ip.IsValid() {
		return nil
	}
	if m.lost(s, end) {
		m.left[fmt.Sprintf("%s, an address of the cluster's pods: whose it was is not known", ip)] += s.Flows
		return nil
	}
	p := &Peer{CIDR: netip.PrefixFrom(ip, ip.BitLen())}
	if n := view.Node(ip); n != nil {
		name := "node " + n.Name
		if hosts := view.HostPods(n.Name); len(hosts) > 0 && s.Direction == flow.Egress {
			p.Note = "the node, and all that is on its network (" + plural(len(hosts), "pod") + ")"
		}
		p.Names = []string{name}
		return p
	}
	if end.Name != "" {
		p.Names = []string{end.Name}
	}
	for _, n := range m.in.Log.Names(ip) { // one address may serve many names
		if n != end.Name {
			p.Names = append(p.Names, n)
		}
	}
	if len(p.Names) == 0 && ip.String() == "169.254.169.254" {
		p.Names = []string{"the cloud's metadata"}
	}
	p.CIDR = block(ip, m.in.Join)
	if p.CIDR.Bits() < ip.BitLen() {
		p.Names = append([]string{ip.String()}, p.Names...)
	}
	return p
}

// lost says whether an address is one of the cluster's pods, but of nobody known.
func (m *maker) lost(s *traffic.Seen, end *flow.Peer) bool {
	view := m.judge.View(s)
	if view.Node(end.IP) != nil {
		return false
	}
	for _, n := range view.World.Nodes {
		if slices.ContainsFunc(n.PodCIDRs, func(c netip.Prefix) bool { return c.Contains(end.IP) }) {
			return true
		}
	}
	return false
}

// describe is a flow in words: "shop/deploy/web to 8.8.8.8:53/UDP".
func (m *maker) describe(s *traffic.Seen) string {
	to := s.Destination.Label()
	if s.Destination.Port != 0 {
		to += fmt.Sprintf(":%d", s.Destination.Port)
	}
	return fmt.Sprintf("%s to %s/%s", s.Source.Label(), to, s.Protocol)
}

// counted is "what (3 flows)", most first.
func counted(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	for i, k := range keys {
		keys[i] = k + " (" + plural(m[k], "flow") + ")"
	}
	return keys
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
