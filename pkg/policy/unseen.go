// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// CaseUnseen is open where the user's rights end at some namespaces: an
// address that none of their pods has may be that of a pod elsewhere.
const CaseUnseen Case = 39

// CaseNoIP is open for a pod that has no IP yet: nobody knows which address
// blocks will cover it.
const CaseNoIP Case = 40

// stranger stands for a pod of a namespace that isn't visible.
var stranger = &identity.Pod{Namespace: "", Name: "unseen"}

// private are the networks in which pods may be whatever is shown: those of
// RFC 1918 and RFC 4193, and of RFC 6598, which networks of pods use too.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fc00::/7"),
}

// UnseenNetworks are those in which an address that nobody who is shown has
// may be that of a pod that isn't shown, in order: private ones, and those of
// the pods that are shown. None if the world shows everything.
func UnseenNetworks(w *identity.World) []netip.Prefix {
	if len(w.Scope) == 0 {
		return nil
	}
	found := map[netip.Prefix]struct{}{}
	for _, p := range private {
		found[p] = struct{}{}
	}
	for _, p := range w.Pods {
		if p.HostNetwork || p.Done {
			continue
		}
		for _, ip := range p.IPs {
			if n := network(ip); !within(private, ip) {
				found[n] = struct{}{}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
}

func within(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
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

// Unseen says whether the address may be that of a pod of a namespace that the
// world doesn't show: it is in one of [UnseenNetworks], and nobody who is
// shown has it.
func (v *View) Unseen(ip netip.Addr) bool {
	return within(v.unseen, ip) && v.index.Pod(ip) == nil && v.index.Node(ip) == nil
}

// SelectsUnseen says whether the peer may select pods of namespaces that a
// world of that scope doesn't show.
func (p *Peer) SelectsUnseen(scope []string) bool {
	if len(scope) == 0 || p.Kind != PodPeer || p.Pods.None() {
		return false
	}
	if p.Namespace != "" {
		return !slices.Contains(scope, p.Namespace)
	}
	return !p.Namespaces.None() && !p.Namespaces.within(scope)
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
