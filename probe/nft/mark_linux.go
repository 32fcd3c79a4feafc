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

// lay queues the chains and rules. Most packets meet one rule and an empty
// chain: nobody can tell a datagram that opens something from the others, so
// those that aren't questions to DNS are traced once something was dropped.
//
//	prerouting, output: TCP without a lone SYN, UDP but to port 53 → goto middle; → goto opens
//	opens:              from or to a watched address, at most Rate a second → trace; → goto later
//	middle:             UDP → goto opens, while [Tracer.Datagrams]; → goto later, while an address is wanted
//	later:              from a wanted address, at most Rate a second → trace
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
	t.middle = t.conn.AddChain(&nftables.Chain{Table: t.table, Name: "middle"})
	t.opens = t.conn.AddChain(&nftables.Chain{Table: t.table, Name: "opens"})
	for i, f := range families {
		t.rule(t.opens, from(f, f.source, t.watched[i]))
		t.rule(t.opens, from(f, f.dest, t.watched[i]))
	}
	t.later = t.conn.AddChain(&nftables.Chain{Table: t.table, Name: "later"})
	for i, f := range families {
		t.rule(t.later, from(f, f.source, t.wanted[i]))
	}
	t.add(t.opens, []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: t.later.Name}})
	before := nftables.ChainPriority(-400) // raw is -300
	for name, hook := range map[string]*nftables.ChainHook{"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput} {
		c := t.conn.AddChain(&nftables.Chain{Table: t.table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &before})
		const flags = 0x17 // FIN, SYN, RST, ACK
		t.add(c, append(protocol(unix.IPPROTO_TCP),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flags}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{2}},
			&expr.Verdict{Kind: expr.VerdictGoto, Chain: t.middle.Name},
		))
		t.add(c, append(protocol(unix.IPPROTO_UDP),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0, 53}},
			&expr.Verdict{Kind: expr.VerdictGoto, Chain: t.middle.Name},
		))
		t.add(c, []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: t.opens.Name}})
	}
	return nil
}

// search lays middle anew if what is looked for there has changed; callers
// hold the lock and flush.
func (t *Tracer) search(wanted, datagrams bool) {
	if wanted == t.searching && datagrams == t.datagrams {
		return
	}
	t.conn.FlushChain(t.middle)
	if datagrams {
		t.add(t.middle, append(protocol(unix.IPPROTO_UDP), &expr.Verdict{Kind: expr.VerdictGoto, Chain: t.opens.Name}))
	}
	if wanted {
		t.add(t.middle, []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: t.later.Name}})
	}
	t.searching, t.datagrams = wanted, datagrams
}

func protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
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
