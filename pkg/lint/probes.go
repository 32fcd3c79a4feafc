// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// probes finds pods whose health the kubelet asks for on ports that no rule
// opens to nodes. By the specification a node always reaches its own pods
// (case 24), so this is a note; a plugin that forgets it takes pods down.
func (l *linter) probes(p *policy.Policy) {
	if p.Tier != policy.Network || !p.IsolatesIngress {
		return
	}
	pods, _ := l.selected(p)
	var probed []*identity.Pod
	for _, pod := range pods {
		if slices.ContainsFunc(pod.Probes, func(port identity.NamedPort) bool { return !l.openToNodes(p, pod, port) }) {
			probed = append(probed, pod)
		}
	}
	if len(probed) == 0 {
		return
	}
	port := probed[0].Probes[0]
	l.report("kubelet-probe", p, "spec.ingress",
		fmt.Sprintf("no rule admits the kubelet to %s (such as port %d of %s): the API says that it passes, but some network plugins cut it", plural(len(probed), "pod", "pods"), port.Number, probed[0].Key()),
		"nothing if your plugin keeps to the API; else admit the nodes' addresses by an ipBlock")
}

// openToNodes says whether some rule for the pod opens the port to every
// address, or to a node's.
func (l *linter) openToNodes(p *policy.Policy, pod *identity.Pod, port identity.NamedPort) bool {
	for _, o := range l.network[p.Namespace] {
		if !l.view.Selects(&o.Subject, pod) {
			continue
		}
		for i := range o.Ingress {
			r := &o.Ingress[i]
			if opens(r, pod, port) && (r.AnyPeer || slices.ContainsFunc(r.Peers, func(peer policy.Peer) bool { return l.coversNode(&peer, pod.Node) })) {
				return true
			}
		}
	}
	return false
}

func opens(r *policy.Rule, pod *identity.Pod, port identity.NamedPort) bool {
	return r.AnyPort || slices.ContainsFunc(r.Ports, func(want policy.Port) bool {
		if want.Name != "" {
			return slices.ContainsFunc(policy.Resolve(pod, want.Name, want.Protocol), func(n identity.NamedPort) bool { return n.Number == port.Number })
		}
		return want.Protocol == flow.TCP && want.From <= port.Number && port.Number <= want.To
	})
}

func (l *linter) coversNode(peer *policy.Peer, node string) bool {
	n := l.in.World.Nodes[node]
	if peer.Kind != policy.CIDRPeer {
		return false
	}
	return n != nil && slices.ContainsFunc(n.IPs, peer.Covers) || peer.CIDR.Bits() == 0
}
