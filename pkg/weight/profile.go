// SPDX-License-Identifier: Apache-2.0

package weight

import (
	"fmt"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Profile are the seven numbers that decide what a policy costs.
type Profile struct {
	LocalPods      int `json:"localPods"`      // that the policy selects
	SinglePorts    int `json:"singlePorts"`    // in a rule
	PortRanges     int `json:"portRanges"`     // in a rule
	PodSelectors   int `json:"podSelectors"`   // peers by selector
	PeerNamespaces int `json:"peerNamespaces"` // that a selector finds pods in
	PeerPods       int `json:"peerPods"`       // that a selector finds in one namespace
	CIDRs          int `json:"cidrs"`
}

// String is the notation of the scale tests, such as "10-1-0-1-5-5-0".
func (p Profile) String() string {
	return fmt.Sprintf("%d-%d-%d-%d-%d-%d-%d", p.LocalPods, p.SinglePorts, p.PortRanges, p.PodSelectors, p.PeerNamespaces, p.PeerPods, p.CIDRs)
}

// MarshalText implements [encoding.TextMarshaler].
func (p Profile) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// ruleShape is what one rule asks of an implementation.
type ruleShape struct {
	Profile
	allPeers int // pods that the widest of its selectors finds, in all namespaces
}

// Weigher weighs policies in one world.
type Weigher struct {
	limits []Limit
	view   *policy.View
	pods   []*identity.Pod
	inside map[string][]*identity.Pod
	found  map[string]found // by the text of a peer's selectors
}

// found is what a selector finds: in how many namespaces, at most how many
// pods in one, and how many in all.
type found struct{ namespaces, most, all int }

// New makes a weigher.
func New(w *identity.World, limits []Limit) *Weigher {
	out := &Weigher{limits: limits, view: policy.NewView(w), inside: map[string][]*identity.Pod{}, found: map[string]found{}}
	out.pods = w.SelectPods(func(p *identity.Pod) bool { return !p.Done && !p.HostNetwork })
	for _, p := range out.pods {
		out.inside[p.Namespace] = append(out.inside[p.Namespace], p)
	}
	return out
}

func (w *Weigher) localPods(p *policy.Policy) int {
	pods := w.pods
	if p.Subject.Namespace != "" {
		pods = w.inside[p.Subject.Namespace]
	}
	n := 0
	for _, pod := range pods {
		if w.view.Selects(&p.Subject, pod) {
			n++
		}
	}
	return n
}

func (w *Weigher) find(p *policy.Peer) found {
	key := p.Namespace + "|" + p.Namespaces.String() + "|" + p.Pods.String()
	if f, ok := w.found[key]; ok {
		return f
	}
	var f found
	count := func(pods []*identity.Pod) {
		n := 0
		for _, pod := range pods {
			if w.view.SelectsPeer(p, pod) {
				n++
			}
		}
		if n > 0 {
			f.namespaces++
			f.most = max(f.most, n)
			f.all += n
		}
	}
	if p.Namespace != "" {
		count(w.inside[p.Namespace])
	} else {
		for _, pods := range w.inside {
			count(pods)
		}
	}
	w.found[key] = f
	return f
}

// shapes are the rules of both directions that cost anything. A rule for
// every peer counts as one CIDR of the widest kind.
func (w *Weigher) shapes(p *policy.Policy, local int) []ruleShape {
	var out []ruleShape
	for _, d := range []flow.Direction{flow.Ingress, flow.Egress} {
		rules := p.Rules(d)
		for i := range rules {
			s := ruleShape{Profile: Profile{LocalPods: local}}
			for _, port := range rules[i].Ports {
				switch {
				case port.All(): // the protocol alone: no port to look at
				case port.Name == "" && port.From != port.To:
					s.PortRanges++
				default:
					s.SinglePorts++
				}
			}
			if rules[i].AnyPeer {
				s.CIDRs = 1
			}
			for j := range rules[i].Peers {
				peer := &rules[i].Peers[j]
				if peer.Kind != policy.PodPeer {
					s.CIDRs++
					continue
				}
				f := w.find(peer)
				s.PodSelectors++
				s.PeerNamespaces, s.PeerPods, s.allPeers = max(s.PeerNamespaces, f.namespaces), max(s.PeerPods, f.most), max(s.allPeers, f.all)
			}
			if s.CIDRs > 0 || s.allPeers > 0 {
				out = append(out, s)
			}
		}
	}
	return out
}

// profileOf sums up the rules: ports, namespaces and pods are those of the
// rule that has most, selectors and CIDRs those of all.
func profileOf(local int, shapes []ruleShape) Profile {
	out := Profile{LocalPods: local}
	for _, s := range shapes {
		out.SinglePorts, out.PortRanges = max(out.SinglePorts, s.SinglePorts), max(out.PortRanges, s.PortRanges)
		out.PeerNamespaces, out.PeerPods = max(out.PeerNamespaces, s.PeerNamespaces), max(out.PeerPods, s.PeerPods)
		out.PodSelectors += s.PodSelectors
		out.CIDRs += s.CIDRs
	}
	return out
}
