// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Join says into which blocks addresses outside of the cluster may be joined.
type Join struct {
	Bits  int          // valid iff Range is not: blocks of this length
	Range netip.Prefix // addresses in it become it
}

// ParseJoin reads "/24", "/64" or "203.0.113.0/24". Lengths above 32 are of IPv6.
func ParseJoin(s string) (Join, error) {
	if bits, ok := strings.CutPrefix(s, "/"); ok {
		n, err := strconv.Atoi(bits)
		if err != nil || n < 1 || n > 128 {
			return Join{}, fmt.Errorf("block length %q: use /1 to /128, such as /24 for IPv4 or /64 for IPv6", s)
		}
		return Join{Bits: n}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return Join{}, fmt.Errorf("block %q: use a length such as /24, or a block such as 203.0.113.0/24", s)
	}
	return Join{Range: p.Masked()}, nil
}

// block is what stands for an address in a rule.
func block(ip netip.Addr, joins []Join) netip.Prefix {
	ip = ip.WithZone("")
	for _, j := range joins {
		if j.Range.IsValid() && j.Range.Contains(ip) {
			return j.Range
		}
	}
	for _, j := range joins {
		if j.Range.IsValid() || j.Bits > ip.BitLen() || ip.Is6() != (j.Bits > 32) {
			continue
		}
		if p, err := ip.Prefix(j.Bits); err == nil {
			return p
		}
	}
	return netip.PrefixFrom(ip, ip.BitLen())
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

func sortPeers(peers []*Peer) {
	slices.SortFunc(peers, func(a, b *Peer) int {
		if (a.Namespace == "") != (b.Namespace == "") {
			if a.Namespace == "" {
				return 1
			}
			return -1
		}
		if a.Namespace == "" {
			return comparePrefix(a.CIDR, b.CIDR)
		}
		return strings.Compare(a.id(), b.id())
	})
}
