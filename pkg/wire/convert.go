// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Addr reads an address of 4 or 16 bytes. A 4-in-6 address becomes the IPv4
// address it stands for. ok is false for any other length.
func Addr(b []byte) (addr netip.Addr, ok bool) {
	addr, ok = netip.AddrFromSlice(b)
	return addr.Unmap(), ok
}

// AddrBytes is the reverse of [Addr]; nil for the zero address.
func AddrBytes(a netip.Addr) []byte {
	if !a.IsValid() {
		return nil
	}
	return a.Unmap().AsSlice()
}

// Addrs reads a list of addresses and leaves out what isn't one.
func Addrs(list [][]byte) []netip.Addr {
	if len(list) == 0 {
		return nil
	}
	out := make([]netip.Addr, 0, len(list))
	for _, b := range list {
		if a, ok := Addr(b); ok {
			out = append(out, a)
		}
	}
	return out
}

// AddrsBytes is the reverse of [Addrs].
func AddrsBytes(list []netip.Addr) [][]byte {
	if len(list) == 0 {
		return nil
	}
	out := make([][]byte, 0, len(list))
	for _, a := range list {
		if a.IsValid() {
			out = append(out, AddrBytes(a))
		}
	}
	return out
}

// Tuple reads the connection of f as seen by whoever opened it, and the
// direction in which f's endpoint is the subject. ok is false if f has no
// tuple (endpoint 0) or a wrong one.
func (f *Flow) Tuple() (t flow.Tuple, d flow.Direction, ok bool) {
	local, lok := Addr(f.GetLocalIp())
	peer, pok := Addr(f.GetPeerIp())
	if f.GetEndpoint() == 0 || !lok || !pok || f.GetProtocol() > math.MaxUint8 ||
		f.GetLocalPort() > math.MaxUint16 || f.GetPeerPort() > math.MaxUint16 {
		return t, 0, false
	}
	l := netip.AddrPortFrom(local, uint16(f.GetLocalPort()))
	p := netip.AddrPortFrom(peer, uint16(f.GetPeerPort()))
	proto := flow.Protocol(f.GetProtocol())
	switch flow.Direction(f.GetDirection()) {
	case flow.Ingress:
		return flow.Tuple{Protocol: proto, Source: p, Destination: l}, flow.Ingress, true
	case flow.Egress:
		return flow.Tuple{Protocol: proto, Source: l, Destination: p}, flow.Egress, true
	}
	return t, 0, false
}

// Tuple reads the connection that a dropped packet belonged to, in the
// packet's direction. ok is false if the kernel had no addresses yet.
func (d *Drop) Tuple() (t flow.Tuple, ok bool) {
	src, sok := Addr(d.GetSrc())
	dst, dok := Addr(d.GetDst())
	if !sok || !dok || d.GetProtocol() > math.MaxUint8 || d.GetSport() > math.MaxUint16 || d.GetDport() > math.MaxUint16 {
		return t, false
	}
	return flow.Tuple{
		Protocol:    flow.Protocol(d.GetProtocol()),
		Source:      netip.AddrPortFrom(src, uint16(d.GetSport())),
		Destination: netip.AddrPortFrom(dst, uint16(d.GetDport())),
	}, true
}

// Verdict reads a verdict; a number that is none is not judged.
func Verdict(n uint32) flow.Verdict {
	if n > uint32(flow.Contested) {
		return flow.NotJudged
	}
	return flow.Verdict(n)
}

// Clean makes s a string that a frame can carry: valid UTF-8, at most limit
// bytes, cut at a character.
func Clean(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	for limit > 0 && s[limit]&0xc0 == 0x80 {
		limit--
	}
	return s[:limit]
}

// Rule reads the name of a rule; index -1 is the policy as a whole.
func (r *RuleName) Rule() flow.Rule {
	out := flow.Rule{Kind: flow.RuleKind(r.GetKind()), Namespace: r.GetNamespace(), Name: r.GetName()}
	if i := int(r.GetIndex()); i >= 0 {
		out.Index = &i
	}
	return out
}

// NewRuleName is the reverse of [RuleName.Rule].
func NewRuleName(r flow.Rule, candidateOnly bool) *RuleName {
	out := &RuleName{Kind: string(r.Kind), Namespace: r.Namespace, Name: r.Name, Index: -1, CandidateOnly: candidateOnly}
	if r.Index != nil {
		out.Index = int32(*r.Index) //nolint:gosec // a policy has fewer rules than that
	}
	return out
}

func bitmapWords(b ruleset.Bitmap) []uint64 {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	if n == 0 {
		return nil
	}
	return append([]uint64(nil), b[:n]...)
}

func bitmapOf(words []uint64) (b ruleset.Bitmap, err error) {
	if len(words) > len(b) {
		return b, fmt.Errorf("%w: bitmap of %d words, at most %d fit", ErrMalformed, len(words), len(b))
	}
	copy(b[:], words)
	return b, nil
}
