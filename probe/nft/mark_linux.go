// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Rate is how many packets of each kind are traced a second, and Burst how
// many at once.
const (
	Rate  = 50
	Burst = 25
)

// family is where the addresses of IPv4 or IPv6 stand in a packet.
type family struct {
	name                string
	nfproto             byte
	key                 nftables.SetDatatype
	source, dest, bytes uint32
}

var families = [2]family{
	{"4", unix.NFPROTO_IPV4, nftables.TypeIPAddr, 12, 16, 4},
	{"6", unix.NFPROTO_IPV6, nftables.TypeIP6Addr, 8, 24, 16},
}

// lay queues the chains and rules. A packet in the middle of a TCP connection
// costs two look-ups in sets that are nearly always empty:
//
//	prerouting, output: TCP without a lone SYN → goto middle; TCP → goto opens; → goto others
//	opens, others:      from or to a watched address, at most Rate a second → trace
//	all three:          from a wanted address, at most Rate a second → trace
func (t *Tracer) lay() error {
	for i, f := range families {
		t.watched[i] = &nftables.Set{Table: t.table, Name: "watched" + f.name, KeyType: f.key}
		t.wanted[i] = &nftables.Set{Table: t.table, Name: "wanted" + f.name, KeyType: f.key, HasTimeout: true}
		for _, s := range []*nftables.Set{t.watched[i], t.wanted[i]} {
			if err := t.conn.AddSet(s, nil); err != nil {
				return err
			}
		}
	}
	middle := t.conn.AddChain(&nftables.Chain{Table: t.table, Name: "middle"})
	opens := t.conn.AddChain(&nftables.Chain{Table: t.table, Name: "opens"})
	others := t.conn.AddChain(&nftables.Chain{Table: t.table, Name: "others"})
	for i, f := range families {
		for _, c := range []*nftables.Chain{opens, others} {
			t.rule(c, from(f, f.source, t.watched[i]))
			t.rule(c, from(f, f.dest, t.watched[i]))
		}
		for _, c := range []*nftables.Chain{middle, opens, others} {
			t.rule(c, from(f, f.source, t.wanted[i]))
		}
	}
	before := nftables.ChainPriority(-400) // raw is -300
	for name, hook := range map[string]*nftables.ChainHook{"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput} {
		c := t.conn.AddChain(&nftables.Chain{Table: t.table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &before})
		tcp := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		}
		const flags = 0x17 // FIN, SYN, RST, ACK
		notSYN := append(tcp[:2:2],
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flags}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{2}},
		)
		t.add(c, append(notSYN, &expr.Verdict{Kind: expr.VerdictGoto, Chain: middle.Name}))
		t.add(c, append(tcp[:2:2], &expr.Verdict{Kind: expr.VerdictGoto, Chain: opens.Name}))
		t.add(c, []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: others.Name}})
	}
	return nil
}

// from matches packets of the family whose address is in the set.
func from(f family, offset uint32, s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.nfproto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.bytes},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
	}
}

// rule traces what matches, within the rate.
func (t *Tracer) rule(c *nftables.Chain, match []expr.Any) {
	t.add(c, append(match,
		&expr.Limit{Type: expr.LimitTypePkts, Rate: Rate, Unit: expr.LimitTimeSecond, Burst: Burst},
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
	))
}

func (t *Tracer) add(c *nftables.Chain, exprs []expr.Any) {
	t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: exprs})
}
