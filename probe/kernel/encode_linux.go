// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"unsafe"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

func matchValue(m *ruleset.Match) bpf.FlowMatch {
	v := bpf.FlowMatch{Bits: bpf.FlowBitmap{Word: m.Bits}, Alt: bpf.FlowBitmap{Word: m.Alt}, Open: uint32(m.Open)}
	if m.Alt != m.Bits {
		v.Differ = 1
	}
	return v
}

func (t *tables) peer(p netip.Prefix) entry {
	a := addr(p.Addr())
	switch {
	case p.IsSingleIP():
		return entry{m: t.maps.Peers, what: "peer addresses", key: a}
	case p.Addr().Is4():
		return entry{m: t.maps.Cidrs4, what: "IPv4 ranges", key: bpf.FlowCidr4Key{Bits: uint32(p.Bits()), Addr: a.Word[3]}}
	default:
		return entry{m: t.maps.Cidrs6, what: "IPv6 ranges", key: bpf.FlowCidr6Key{Bits: uint32(p.Bits()), Addr: a}}
	}
}

func serviceKey(s ruleset.Service) bpf.FlowServiceKey {
	return bpf.FlowServiceKey{Addr: addr(s.IP), Port: s.Port, Protocol: s.Protocol}
}

func portKey(p ruleset.Port) bpf.FlowPortKey {
	return bpf.FlowPortKey{Set: uint32(p.Set), Port: p.Port, Protocol: p.Protocol}
}

func rangeKey(p ruleset.PortRange) bpf.FlowRangeKey {
	return bpf.FlowRangeKey{Bits: 48 + uint32(p.Bits), Set: bits.ReverseBytes32(uint32(p.Set)), Protocol: p.Protocol, Port: swap16(p.Port)}
}

func matchKey(m *ruleset.Match) bpf.FlowMatchKey {
	return bpf.FlowMatchKey{Set: uint32(m.Set), Peer: uint32(m.Peer), Ports: uint32(m.Ports)}
}

// swap16 turns host order into network order and back; the programs are
// little endian.
func swap16(p uint16) uint16 { return bits.ReverseBytes16(p) }

// addr is the kernel's form of an address, IPv4 as ::ffff:a.b.c.d.
func addr(ip netip.Addr) bpf.FlowAddr {
	b := ip.As16()
	var a bpf.FlowAddr
	for i := range a.Word {
		a.Word[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return a
}

// netAddr is the reverse of addr.
func netAddr(a bpf.FlowAddr) netip.Addr {
	var b [16]byte
	for i := range a.Word {
		binary.LittleEndian.PutUint32(b[4*i:], a.Word[i])
	}
	return netip.AddrFrom16(b).Unmap()
}

// raw is a key's bytes, as the kernel has them.
func raw(key any) []byte {
	switch k := key.(type) {
	case bpf.FlowAddr:
		return bytesOf(&k)
	case bpf.FlowCidr4Key:
		return bytesOf(&k)
	case bpf.FlowCidr6Key:
		return bytesOf(&k)
	case bpf.FlowServiceKey:
		return bytesOf(&k)
	case bpf.FlowPortKey:
		return bytesOf(&k)
	case bpf.FlowRangeKey:
		return bytesOf(&k)
	case bpf.FlowMatchKey:
		return bytesOf(&k)
	}
	panic(fmt.Sprintf("no table has keys of type %T", key))
}

func bytesOf[T any](v *T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}
