// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// Miss says why one rule of an isolating policy doesn't match a packet.
type Miss struct {
	Policy *Policy
	Rule   *Rule
	Peer   *PeerMiss // the peer that came nearest; nil: one matches
	Ports  string    // what the rule wants, such as "TCP 5432"; empty: the port matches
	Has    string    // the packet's port, such as "TCP 80"
	score  int       // how far off it is
}

// PeerMiss says why a peer doesn't match. One of the fields is set.
type PeerMiss struct {
	Peer       *Peer
	Labels     []LabelMiss // of the pod
	Namespaces []LabelMiss // of its namespace
	Namespace  string      // the namespace that the rule wants; the pod is in another
	Block      string      // the block that doesn't hold the address
	Except     string      // the exception that does
	NoPod      bool        // the rule wants a pod, the address is none's
	NoNode     bool        // the rule wants a node
	score      int
}

// Misses says of each rule of each NetworkPolicy that isolates the end why it
// doesn't match, nearest first. Nil unless the end is denied by default.
func (e *Evaluator) Misses(p Packet, end *End) []Miss {
	if len(end.Decision.IsolatedBy) == 0 {
		return nil
	}
	x := e.ends(&p)
	var r reading
	if len(x.backends) > 0 {
		r.backend = &x.backends[0]
	}
	m := matcher{e: e, direction: end.Direction, subject: end.Subject, protocol: p.Protocol, reading: &r}
	switch {
	case end.Direction == flow.Ingress:
		m.target = target{ip: p.Source, port: p.Port, end: x.src}
		if r.backend != nil {
			m.target.port = r.backend.Port
			m.subject = e.end(r.backend.IP, "").pod
		}
	case r.backend != nil:
		m.target = target{ip: r.backend.IP, port: r.backend.Port, end: e.end(r.backend.IP, ""), service: p.Destination, servicePort: p.Port}
	default:
		m.target = target{ip: p.Destination, port: p.Port, end: x.dst}
	}
	if m.subject == nil {
		return nil
	}
	var out []Miss
	for _, policy := range end.Decision.IsolatedBy {
		rules := policy.Rules(end.Direction)
		for i := range rules {
			out = append(out, m.miss(policy, &rules[i]))
		}
	}
	slices.SortStableFunc(out, func(a, b Miss) int { return cmp.Compare(a.score, b.score) })
	return out
}

func (m *matcher) miss(p *Policy, r *Rule) Miss {
	out := Miss{Policy: p, Rule: r}
	pod := m.target.end.owned()
	if !m.ports(r, m.destination(pod), m.target.port) {
		for i, port := range r.Ports {
			if i > 0 {
				out.Ports += ", "
			}
			out.Ports += port.String()
		}
		out.Has = m.protocol.String()
		if m.protocol.HasPorts() {
			out.Has = fmt.Sprintf("%s %d", m.protocol, m.target.port)
		}
		out.score++
	}
	if r.AnyPeer {
		return out
	}
	for i := range r.Peers {
		miss := m.peerMiss(&r.Peers[i], pod)
		if miss == nil {
			out.Peer = nil
			return out
		}
		if out.Peer == nil || miss.score < out.Peer.score {
			out.Peer = miss
		}
	}
	if out.Peer == nil {
		out.Peer = &PeerMiss{score: 1000} // a rule that can't match anyone
	}
	out.score += out.Peer.score
	return out
}

// peerMiss is nil if the peer matches.
func (m *matcher) peerMiss(p *Peer, pod *identity.Pod) *PeerMiss {
	if m.peer(p, pod) {
		return nil
	}
	out := &PeerMiss{Peer: p, score: 100}
	switch p.Kind {
	case CIDRPeer:
		out.Block, out.Except = missedBlock(p, m.target.ip)
	case NodePeer:
		out.NoNode = true
	default:
		if pod == nil {
			out.NoPod = true
			return out
		}
		out.Labels = p.Pods.Misses(pod.Labels)
		out.score = len(out.Labels)
		if p.Namespace != "" && p.Namespace != pod.Namespace {
			out.Namespace = p.Namespace
			out.score++
		} else if p.Namespace == "" {
			out.Namespaces = p.Namespaces.Misses(m.e.view.NamespaceLabels(pod.Namespace))
			out.score += len(out.Namespaces)
		}
	}
	return out
}

func missedBlock(p *Peer, ip netip.Addr) (block, except string) {
	if !p.CIDR.Contains(ip) {
		return p.CIDR.String(), ""
	}
	for _, e := range p.Except {
		if e.Contains(ip) {
			return "", e.String()
		}
	}
	return p.CIDR.String(), ""
}

// String is the port as people write it: "TCP 80", "UDP", "TCP 1-1023", "TCP http".
func (p Port) String() string {
	protocol := p.Protocol.String()
	switch {
	case p.Name != "" && p.Protocol == 0:
		return p.Name
	case p.Name != "":
		return protocol + " " + p.Name
	case p.All():
		return protocol
	case p.From == p.To:
		return fmt.Sprintf("%s %d", protocol, p.From)
	}
	return fmt.Sprintf("%s %d-%d", protocol, p.From, p.To)
}

// String says the miss in a sentence without a full stop.
func (m Miss) String() string {
	s := m.Policy.RuleRef(m.Rule.Index).String()
	var why []string
	if m.Peer != nil {
		why = append(why, m.Peer.reasons()...)
	}
	if m.Ports != "" {
		why = append(why, fmt.Sprintf("wants port %s, it is %s", m.Ports, m.Has))
	}
	return s + " " + join(why)
}

func join(list []string) string {
	s := ""
	for i, w := range list {
		switch {
		case i == 0:
		case i == len(list)-1:
			s += "; and "
		default:
			s += "; "
		}
		s += w
	}
	return s
}

func (m *PeerMiss) reasons() []string {
	var out []string
	switch {
	case m.Peer == nil:
		return []string{"matches nobody"}
	case m.NoPod:
		return []string{"wants a pod, the address is no pod's"}
	case m.NoNode:
		return []string{"wants a node, the address is no node's that it selects"}
	case m.Except != "":
		return []string{"leaves out " + m.Except + ", which holds the address"}
	case m.Block != "":
		return []string{"wants an address in " + m.Block}
	case m.Namespace != "":
		out = append(out, "wants a pod in namespace "+m.Namespace)
	}
	for _, l := range m.Namespaces {
		out = append(out, l.sentence("the namespace"))
	}
	for _, l := range m.Labels {
		out = append(out, l.sentence("the pod"))
	}
	return out
}

func (l LabelMiss) sentence(who string) string {
	if l.Lacks {
		return fmt.Sprintf("wants %s, %s has no label %s", l.Wants, who, l.Key)
	}
	return fmt.Sprintf("wants %s, %s has %s=%s", l.Wants, who, l.Key, l.Has)
}
