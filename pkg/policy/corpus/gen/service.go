// SPDX-License-Identifier: Apache-2.0

package gen

import (
	"maps"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// toService draws a packet from a pod to a port that a service has: drawn
// apart, address and port hardly ever meet. Not ok: nobody to send it, or
// nothing to send it to.
func toService(t *rapid.T, w *identity.World) (policy.Packet, bool) {
	if len(w.Services) == 0 {
		return policy.Packet{}, false
	}
	s := w.Services[rapid.SampledFrom(slices.Sorted(maps.Keys(w.Services))).Draw(t, "service")]
	ip := rapid.SampledFrom(slices.Concat(s.IPs, s.ExternalIPs)).Draw(t, "service address")
	port := rapid.SampledFrom(s.Ports).Draw(t, "service port")
	var sources []netip.Addr
	for _, p := range w.SelectPods(func(p *identity.Pod) bool { return !p.Done && !p.HostNetwork }) {
		for _, own := range p.IPs {
			if own.Is4() == ip.Is4() {
				sources = append(sources, own)
			}
		}
	}
	if len(sources) == 0 {
		return policy.Packet{}, false
	}
	return policy.Packet{Source: rapid.SampledFrom(sources).Draw(t, "source"), Destination: ip, Protocol: port.Protocol, Port: port.Port}, true
}
