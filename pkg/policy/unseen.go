// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// CaseUnseen is open where the user's rights end at some namespaces: an
// address that none of their pods has may be that of a pod elsewhere.
const CaseUnseen Case = 39

// stranger stands for a pod of a namespace that isn't visible.
var stranger = &identity.Pod{Namespace: "", Name: "unseen"}

// shared are the addresses of RFC 6598, which networks of pods use too.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// Unseen says whether the address may be that of a pod of a namespace that the
// world doesn't show: it is private, or lies in the network of pods that are
// shown, and nobody who is shown has it.
func (v *View) Unseen(ip netip.Addr) bool {
	if len(v.World.Scope) == 0 || v.index.Pod(ip) != nil || v.index.Node(ip) != nil {
		return false
	}
	return ip.IsPrivate() || shared.Contains(ip) || v.networks[network(ip)]
}

// network is the range within which pods of one cluster are taken to be.
func network(ip netip.Addr) netip.Prefix {
	bits := 16
	if ip.Is6() {
		bits = 48
	}
	p, _ := ip.Prefix(bits)
	return p
}

// addNetworks notes where the pods are that are shown.
func (v *View) addNetworks() {
	if len(v.World.Scope) == 0 {
		return
	}
	v.networks = map[netip.Prefix]bool{}
	for _, p := range v.World.Pods {
		if p.HostNetwork || p.Done {
			continue
		}
		for _, ip := range p.IPs {
			v.networks[network(ip)] = true
		}
	}
}

// selectsStrangers says whether the peer may select pods of namespaces that
// aren't shown.
func (v *View) selectsStrangers(p *Peer) bool {
	if p.Kind != PodPeer || p.Pods.None() {
		return false
	}
	if p.Namespace != "" {
		return !slices.Contains(v.World.Scope, p.Namespace)
	}
	return !p.Namespaces.None() && !p.Namespaces.within(v.World.Scope)
}

// within says whether the selector names namespaces of the list only.
func (s Selector) within(names []string) bool {
	for i := range s.requirements {
		r := &s.requirements[i]
		if op := string(r.Operator()); r.Key() != "kubernetes.io/metadata.name" || op != "in" && op != "=" && op != "==" {
			continue
		}
		if !slices.ContainsFunc(r.ValuesUnsorted(), func(n string) bool { return !slices.Contains(names, n) }) {
			return true
		}
	}
	return false
}
