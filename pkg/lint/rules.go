// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/nearest"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

func (l *linter) rules(p *policy.Policy) {
	directions(p, func(d flow.Direction, _ string) {
		rules := p.Rules(d)
		for i := range rules {
			r := &rules[i]
			if r.Closed {
				continue // the warning says it
			}
			field := ruleField(d, r.Index)
			if r.AnyPeer && r.AnyPort && p.Tier == policy.Network {
				fix := "if that is meant, say so in a comment; else name peers or ports"
				if len(rules) > 1 {
					fix = "leave the other rules out, or this one"
				}
				l.report("allow-all", p, field, fmt.Sprintf("an empty rule allows all %s of the pods that the policy selects", d), fix)
			}
			l.slip(p, r)
			l.families(p, r)
			l.ports(p, d, r, field)
			for j := range r.Peers {
				l.peer(p, &r.Peers[j])
				l.block(p, &r.Peers[j])
			}
		}
	})
}

// slip finds "- namespaceSelector: …" directly followed by "- podSelector: …",
// which is either of the two (case 5).
func (l *linter) slip(p *policy.Policy, r *policy.Rule) {
	for i := 1; i < len(r.Peers); i++ {
		a, b := &r.Peers[i-1], &r.Peers[i]
		if a.Kind != policy.PodPeer || b.Kind != policy.PodPeer || p.Tier != policy.Network {
			continue
		}
		spaces, pods := a, b
		if a.Namespace != "" {
			spaces, pods = b, a
		}
		if spaces.Namespace != "" || !spaces.Pods.Empty() || pods.Namespace == "" || pods.Pods.Empty() {
			continue
		}
		l.report("and-or-slip", p, b.Path,
			fmt.Sprintf("it allows every pod of the namespaces %q, and besides the pods %q of namespace %q: two peers mean either, not both", text(spaces.Namespaces), pods.Pods, p.Namespace),
			"if both were meant, take away the dash of the second: one peer with namespaceSelector and podSelector")
	}
}

func text(s policy.Selector) string {
	if s.Empty() {
		return "(all)"
	}
	return s.String()
}

// families finds rules that speak of one family's addresses only.
func (l *linter) families(p *policy.Policy, r *policy.Rule) {
	if !l.dual {
		return
	}
	var v4, v6 []*policy.Peer
	for i := range r.Peers {
		switch peer := &r.Peers[i]; {
		case peer.Kind != policy.CIDRPeer:
			return // its pods have addresses of both
		case peer.CIDR.Addr().Is4():
			v4 = append(v4, peer)
		default:
			v6 = append(v6, peer)
		}
	}
	switch {
	case len(v4) > 0 && len(v6) == 0:
		l.report("single-family", p, v4[0].Path, fmt.Sprintf("the rule names IPv4 addresses only (%s): over IPv6 it %s nothing, and pods here have both", v4[0].CIDR, verb(r)), other(v4[0].CIDR, "::/0", "fd00::/8"))
	case len(v6) > 0 && len(v4) == 0:
		l.report("single-family", p, v6[0].Path, fmt.Sprintf("the rule names IPv6 addresses only (%s): over IPv4 it %s nothing, and pods here have both", v6[0].CIDR, verb(r)), other(v6[0].CIDR, "0.0.0.0/0", "10.0.0.0/8"))
	}
}

func verb(r *policy.Rule) string {
	switch r.Action {
	case policy.Deny:
		return "denies"
	case policy.Pass:
		return "passes"
	}
	return "allows"
}

func other(cidr netip.Prefix, all, example string) string {
	if cidr.Bits() == 0 {
		return "add a block " + all
	}
	return "add a block of the other family, such as " + example + ", if its hosts have such addresses"
}

// block finds blocks of addresses that only the cluster has (cases 11, 12).
func (l *linter) block(p *policy.Policy, peer *policy.Peer) {
	if peer.Kind != policy.CIDRPeer || peer.Internal {
		return
	}
	for _, n := range sorted(l.in.World.Nodes) {
		for _, cidr := range l.in.World.Nodes[n].PodCIDRs {
			if cidr.Overlaps(peer.CIDR) && peer.CIDR.Bits() >= cidr.Bits() {
				l.report("block-covers-pods", p, peer.Path, fmt.Sprintf("%s lies in the pod range %s of node %q: some network plugins match pods by blocks, some don't", peer.CIDR, cidr, n), "select pods by labels: podSelector, namespaceSelector")
				return
			}
		}
	}
	if !peer.CIDR.IsSingleIP() {
		return
	}
	for _, s := range sorted(l.in.World.Services) {
		if slices.Contains(l.in.World.Services[s].IPs, peer.CIDR.Addr()) {
			l.report("block-covers-pods", p, peer.Path, fmt.Sprintf("%s is the cluster IP of service %s: most network plugins compare blocks with the backend's address instead", peer.CIDR.Addr(), s), "select the service's pods by labels")
			return
		}
	}
	if owner := l.view.Pod(peer.CIDR.Addr()); owner != nil {
		l.report("block-covers-pods", p, peer.Path, fmt.Sprintf("%s is the address of pod %s, which it loses when it is made anew", peer.CIDR.Addr(), owner.Key()), "select the pod by labels")
	}
}

// ports asks whether named ports are served by those who would have to
// (cases 15, 16).
func (l *linter) ports(p *policy.Policy, d flow.Direction, r *policy.Rule, field string) {
	for i, port := range r.Ports {
		if port.Name == "" {
			continue
		}
		servers := l.servers(p, d, r)
		if len(servers) == 0 || slices.ContainsFunc(servers, func(pod *identity.Pod) bool { return len(policy.Resolve(pod, port.Name, port.Protocol)) > 0 }) {
			continue
		}
		path := fmt.Sprintf("%s.ports[%d]", field, i)
		if p.Tier != policy.Network {
			path = fmt.Sprintf("%s.protocols[%d]", field, i)
		}
		var names, others []string
		for _, pod := range servers {
			for _, has := range pod.Ports {
				if has.Name == port.Name {
					others = append(others, has.Protocol.String())
				}
				names = append(names, has.Name)
			}
		}
		slices.Sort(others)
		who := some(servers, byKey)
		fix := "give the port's number, or name it in the pods' containers"
		near := nearest.Of(port.Name, names, 1)
		switch {
		case len(others) > 0:
			l.report("named-port", p, path, fmt.Sprintf("port %q of %s is not %s, but %s", port.Name, who, port.Protocol, others[0]), fmt.Sprintf("write protocol: %s", others[0]))
			continue
		case len(near) > 0:
			fix = fmt.Sprintf("write port: %s", near[0])
		}
		l.report("named-port", p, path, fmt.Sprintf("no container port of %s is named %q, so that it stands for nothing", who, port.Name), fix)
	}
}

// servers are the pods whose ports a rule names.
func (l *linter) servers(p *policy.Policy, d flow.Direction, r *policy.Rule) []*identity.Pod {
	if d == flow.Ingress {
		pods, _ := l.selected(p)
		return pods
	}
	if r.AnyPeer {
		return l.pods
	}
	var out []*identity.Pod
	for _, pod := range l.pods {
		if slices.ContainsFunc(r.Peers, func(peer policy.Peer) bool { return peer.Kind == policy.PodPeer && l.view.SelectsPeer(&peer, pod) }) {
			out = append(out, pod)
		}
	}
	return out
}
