// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// truth of a comparison with something that may not be known.
type truth int

const (
	no truth = iota
	maybe
	yes
)

func (t truth) not() truth { return yes - t }

// verdict of one rule.
type verdict struct {
	kind  expr.VerdictKind
	chain string
	sure  bool // the rule matches; else it may
}

// bits are bytes of which some bits aren't known: those that are 0 in known.
type bits struct{ data, known []byte }

func open(n int) bits { return bits{make([]byte, n), make([]byte, n)} }

func fixed(b ...byte) bits { return bits{b, bytes.Repeat([]byte{0xff}, len(b))} }

// equals compares as far as the bits are known.
func (b bits) equals(other []byte) truth {
	n := min(len(b.data), len(other))
	all := yes
	for i := range n {
		if (b.data[i]^other[i])&b.known[i] != 0 {
			return no
		}
		if b.known[i] != 0xff {
			all = maybe
		}
	}
	return all
}

func (b bits) whole() bool { return bytes.Count(b.known, []byte{0xff}) == len(b.known) }

// registers are the sixteen words that rules compute with.
type registers struct{ bits }

func place(register uint32) int {
	if register >= 8 {
		return int(register-8) * 4
	}
	return (int(register) - 1) * 16
}

func (r registers) put(register uint32, b bits) {
	at := place(register)
	if at < 0 || at >= len(r.data) {
		return
	}
	copy(r.data[at:], b.data)
	copy(r.known[at:], b.known)
}

func (r registers) get(register uint32, n int) bits {
	at := place(register)
	if at < 0 || at+n > len(r.data) {
		return open(n)
	}
	return bits{r.data[at : at+n], r.known[at : at+n]}
}

// rule says what a rule does with the packet: nothing, one thing, or, where
// that depends on what isn't known, several.
func (w *walk) rule(r *nftables.Rule) []verdict {
	regs, match := registers{open(64)}, yes
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			if !e.SourceRegister {
				regs.put(e.Register, w.meta(e.Key))
			}
		case *expr.Payload:
			if e.OperationType == expr.PayloadLoad {
				regs.put(e.DestRegister, w.payload(e))
			}
		case *expr.Ct:
			if !e.SourceRegister {
				regs.put(e.Register, w.ct(e.Key))
			}
		case *expr.Bitwise:
			regs.put(e.DestRegister, bitwise(regs.get(e.SourceRegister, int(e.Len)), e))
		case *expr.Immediate:
			regs.put(e.Register, fixed(e.Data...))
		case *expr.Cmp:
			match = min(match, compare(regs.get(e.Register, len(e.Data)), e.Op, e.Data))
		case *expr.Range:
			match = min(match, within(regs.get(e.Register, len(e.FromData)), e))
		case *expr.Lookup:
			if e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT {
				return w.vmap(r.Table, regs, e, match)
			}
			if e.IsDestRegSet {
				regs.put(e.DestRegister, open(16))
			}
			found, _ := w.member(r.Table, regs, e)
			if e.Invert {
				found = found.not()
			}
			match = min(match, found)
		case *expr.Match:
			match = min(match, w.xtables(e))
		case *expr.Verdict:
			if match == no {
				return nil
			}
			return []verdict{{e.Kind, e.Chain, match == yes}}
		case *expr.Reject:
			if match == no {
				return nil
			}
			return []verdict{{kind: expr.VerdictDrop, sure: match == yes}}
		case *expr.Target:
			if e.Name == "REJECT" && match != no {
				return []verdict{{kind: expr.VerdictDrop, sure: match == yes}}
			}
		case *expr.Counter, *expr.Log, *expr.Notrack, *expr.Objref:
		case *expr.Limit:
			match = min(match, maybe)
		case *expr.Fib:
			regs.put(e.Register, open(16))
		case *expr.Queue:
			return nil // who judges there is told otherwise
		default:
			match = min(match, maybe)
		}
		if match == no {
			return nil
		}
	}
	return nil
}

func (w *walk) meta(k expr.MetaKey) bits {
	switch k {
	case expr.MetaKeyNFPROTO:
		if w.q.Source.Is4() {
			return fixed(unix.NFPROTO_IPV4)
		}
		return fixed(unix.NFPROTO_IPV6)
	case expr.MetaKeyL4PROTO:
		return fixed(w.q.Protocol)
	case expr.MetaKeyPROTOCOL:
		if w.q.Source.Is4() {
			return fixed(8, 0)
		}
		return fixed(0x86, 0xdd)
	case expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME:
		leaves := w.q.Hook == "postrouting" || w.q.Hook == "egress"
		if w.q.Device != "" && !w.q.Bridge && w.q.Hook != "output" && leaves == (k == expr.MetaKeyOIFNAME) {
			name := make([]byte, unix.IFNAMSIZ)
			copy(name, w.q.Device)
			return fixed(name...)
		}
	}
	return open(16)
}

// payload makes the bytes of the packet's head that are known.
func (w *walk) payload(e *expr.Payload) bits {
	head := open(64)
	set := func(at int, b ...byte) {
		copy(head.data[at:], b)
		copy(head.known[at:], fixed(b...).known)
	}
	source, dest := w.q.Source.AsSlice(), w.q.Destination.AsSlice()
	switch {
	case e.Base == expr.PayloadBaseNetworkHeader && w.q.Source.Is4():
		set(9, w.q.Protocol)
		set(12, source...)
		set(16, dest...)
	case e.Base == expr.PayloadBaseNetworkHeader:
		set(6, w.q.Protocol)
		set(8, source...)
		set(24, dest...)
	case e.Base == expr.PayloadBaseTransportHeader && (w.q.SourcePort != 0 || w.q.DestinationPort != 0):
		set(0, binary.BigEndian.AppendUint16(nil, w.q.SourcePort)...)
		set(2, binary.BigEndian.AppendUint16(nil, w.q.DestinationPort)...)
		if w.q.Protocol == unix.IPPROTO_TCP {
			set(13, w.q.Flags)
		}
	}
	if int(e.Offset)+int(e.Len) > len(head.data) {
		return open(int(e.Len))
	}
	return bits{head.data[e.Offset : e.Offset+e.Len], head.known[e.Offset : e.Offset+e.Len]}
}

// ct knows that a lone SYN belongs to no connection that is established.
func (w *walk) ct(k expr.CtKey) bits {
	b := open(16)
	const lone, mask, old = 0x02, 0x17, 2 | 4 // established, related
	if k == expr.CtKeySTATE && w.q.Protocol == unix.IPPROTO_TCP && w.q.Flags&mask == lone {
		binary.NativeEndian.PutUint32(b.known, old)
	}
	return b
}

func bitwise(b bits, e *expr.Bitwise) bits {
	out := open(len(b.data))
	for i := range b.data {
		mask, xor := at(e.Mask, i), at(e.Xor, i)
		out.data[i] = b.data[i]&mask ^ xor
		out.known[i] = b.known[i] | ^mask
	}
	return out
}

func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

func compare(b bits, op expr.CmpOp, data []byte) truth {
	switch op {
	case expr.CmpOpEq:
		return b.equals(data)
	case expr.CmpOpNeq:
		return b.equals(data).not()
	}
	if !b.whole() {
		return maybe
	}
	order := bytes.Compare(b.data, data)
	return sure(op == expr.CmpOpLt && order < 0 || op == expr.CmpOpLte && order <= 0 || op == expr.CmpOpGt && order > 0 || op == expr.CmpOpGte && order >= 0)
}

func within(b bits, e *expr.Range) truth {
	if !b.whole() {
		return maybe
	}
	in := sure(bytes.Compare(b.data, e.FromData) >= 0 && bytes.Compare(b.data, e.ToData) <= 0)
	if e.Op == expr.CmpOpNeq {
		return in.not()
	}
	return in
}

func sure(b bool) truth {
	if b {
		return yes
	}
	return no
}

// xtables knows the matches that iptables-nft uses most.
func (w *walk) xtables(e *expr.Match) truth {
	inside := func(port uint16, r [2]uint16, not bool) truth { return sure((port >= r[0] && port <= r[1]) != not) }
	switch info := e.Info.(type) {
	case *xt.Comment:
		return yes
	case *xt.Tcp:
		if w.q.Protocol != unix.IPPROTO_TCP {
			return no
		}
		flags := sure((w.q.Flags&info.FlagsMask == info.FlagsCmp) != (info.InvFlags&xt.TcpInvFlags != 0))
		all := min(flags, inside(w.q.SourcePort, info.SrcPorts, info.InvFlags&xt.TcpInvSrcPorts != 0), inside(w.q.DestinationPort, info.DstPorts, info.InvFlags&xt.TcpInvDestPorts != 0))
		if info.Option != 0 {
			all = min(all, maybe)
		}
		return all
	case *xt.Udp:
		if w.q.Protocol != unix.IPPROTO_UDP {
			return no
		}
		return min(inside(w.q.SourcePort, info.SrcPorts, info.InvFlags&xt.UdpInvSrcPorts != 0), inside(w.q.DestinationPort, info.DstPorts, info.InvFlags&xt.UdpInvDestPorts != 0))
	}
	if e.Name == "comment" {
		return yes
	}
	return maybe
}
