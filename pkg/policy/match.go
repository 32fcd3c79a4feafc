// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// matcher asks the rules about one packet, in one direction and one reading.
type matcher struct {
	e         *Evaluator
	direction flow.Direction
	subject   *identity.Pod
	protocol  flow.Protocol
	target    target
	reading   *reading
}

// first is the first rule of the policy that matches; nil if none does.
func (m *matcher) first(p *Policy) *Rule {
	rules := p.Rules(m.direction)
	for i := range rules {
		if m.rule(p, &rules[i]) {
			return &rules[i]
		}
	}
	return nil
}

// rule asks whether one of its peers and one of its ports match.
func (m *matcher) rule(p *Policy, r *Rule) bool {
	for _, pod := range m.identities(p) {
		ports := m.ports(r, m.destination(pod), m.target.port)
		if r.AnyPeer && ports {
			return true
		}
		for i := range r.Peers {
			peer := &r.Peers[i]
			if m.beforeTranslation(peer) {
				if m.addressPeer(peer, m.target.service, nil) && m.ports(r, nil, m.target.servicePort) {
					return true
				}
			} else if ports && m.peer(peer, pod) {
				return true
			}
		}
	}
	return false
}

// identities are the pods that the peer may be: the one that has the address,
// none, or, for NetworkPolicy in the reading where selectors see them, those
// on the host network of the node (case 26).
func (m *matcher) identities(p *Policy) []*identity.Pod {
	if owner := m.target.end.owned(); owner != nil {
		return []*identity.Pod{owner}
	}
	if m.target.end.unseen && p.Tier == Network && !m.reading.strangersHidden {
		return []*identity.Pod{nil, stranger}
	}
	if m.reading.hostPeersHidden || p.Tier != Network {
		return []*identity.Pod{nil}
	}
	return append([]*identity.Pod{nil}, m.target.end.host...)
}

// destination is the pod whose named ports count (case 15).
func (m *matcher) destination(peer *identity.Pod) *identity.Pod {
	if m.direction == flow.Ingress {
		return m.subject
	}
	return peer
}

// beforeTranslation says whether the peer is compared with the service's
// address in this reading (case 12). Selectors never are: a service has no
// labels, and rules without peers judge the port that is really reached
// (case 13).
func (m *matcher) beforeTranslation(peer *Peer) bool {
	return m.reading.untranslated && m.target.service.IsValid() && peer.Kind != PodPeer
}

func (m *matcher) peer(peer *Peer, pod *identity.Pod) bool {
	if peer.Kind == PodPeer {
		if pod == stranger {
			return peer.SelectsUnseen(m.e.view.World.Scope)
		}
		return pod != nil && m.e.view.SelectsPeer(peer, pod)
	}
	return m.addressPeer(peer, m.target.ip, m.target.end.owned())
}

// addressPeer asks a peer that goes by address; owner is the pod that has it.
func (m *matcher) addressPeer(peer *Peer, ip netip.Addr, owner *identity.Pod) bool {
	switch peer.Kind {
	case CIDRPeer:
		if owner != nil && !peer.Internal && m.reading.blocksSkipPods { // case 11
			return false
		}
		if owner != nil && owner.NoIP {
			return m.reading.blocksWillCover
		}
		return peer.Covers(ip)
	case NodePeer:
		node := m.e.view.Node(ip)
		return node != nil && peer.Nodes.Matches(node.Labels)
	}
	return false
}

// ports asks whether one of the rule's ports matches the destination's port.
// Nil destination: no pod, so that names stand for nothing.
func (m *matcher) ports(r *Rule, destination *identity.Pod, number uint16) bool {
	if r.AnyPort {
		return true
	}
	for _, port := range r.Ports {
		if port.Name != "" {
			if m.named(port, destination, number) {
				return true
			}
			continue
		}
		if port.Protocol == m.protocol && port.From <= number && number <= port.To {
			return true
		}
	}
	return false
}

func (m *matcher) named(port Port, destination *identity.Pod, number uint16) bool {
	if destination == nil {
		return false
	}
	for _, p := range Resolve(destination, port.Name, port.Protocol) {
		if p.Protocol == m.protocol && p.Number == number {
			return true
		}
	}
	return false
}
