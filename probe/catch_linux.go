// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
)

// pattern matches packets of connections from one list of addresses to another,
// either way. A nil pattern matches none.
type pattern struct {
	from, to []netip.Prefix
	protocol uint32
	port     uint32
}

func newPattern(w *wire.Pattern) *pattern {
	if w == nil {
		return nil
	}
	return &pattern{from: catchPrefixes(w.GetFrom()), to: catchPrefixes(w.GetTo()), protocol: w.GetProtocol(), port: w.GetPort()}
}

func catchPrefixes(list []*wire.Prefix) (out []netip.Prefix) {
	for _, w := range list {
		ip, ok := netip.AddrFromSlice(w.GetIp())
		if p := netip.PrefixFrom(ip.Unmap(), int(w.GetBits())); ok && p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

func (p *pattern) matches(k *nft.Packet) bool {
	if p == nil || p.protocol != 0 && p.protocol != uint32(k.Protocol) || p.port != 0 && p.port != uint32(k.DestinationPort) {
		return false
	}
	return addressIn(p.from, k.Source) && addressIn(p.to, k.Destination)
}

func addressIn(list []netip.Prefix, ip netip.Addr) bool {
	if len(list) == 0 {
		return true
	}
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
