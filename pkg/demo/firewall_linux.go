// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// translate installs what kube-proxy would: each service address is
// translated to one of its backends, on the node, before routing.
func translate(n *netbed.Namespace, c *Cast) error {
	return program(n, "demo-services", &nftables.Chain{
		Name: "services", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	}, func(add func(...expr.Any)) {
		for _, s := range c.Services {
			for _, vip := range s.IPs {
				var backends []netip.Addr
				for _, key := range s.Backends {
					for _, ip := range c.Actor(key).IPs {
						if ip.Is4() == vip.Is4() {
							backends = append(backends, ip)
						}
					}
				}
				for i, ip := range backends {
					rule := append(matchAddr(vip, false), matchPort(s.Protocol, s.Port)...)
					if rest := len(backends) - i; rest > 1 {
						rule = append(rule, oneIn(rest)...)
					}
					add(append(rule, translateTo(ip, s.Target)...)...)
				}
			}
		}
	})
}

// firewall drops what the cast's denials name, on the node, as a CNI would.
func firewall(n *netbed.Namespace, c *Cast) error {
	return program(n, "demo-firewall", &nftables.Chain{
		Name: "policies", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	}, func(add func(...expr.Any)) {
		for _, d := range c.Denials {
			for i, from := range c.Actor(d.From).IPs {
				if from.Is6() {
					continue // see Denial
				}
				rule := append(matchAddr(from, true), matchAddr(c.Actor(d.To).IPs[i], false)...)
				rule = append(rule, matchPort(d.Protocol, d.Port)...)
				add(append(rule, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})...)
			}
		}
	})
}

// program makes one table with one chain in the namespace.
func program(n *netbed.Namespace, table string, chain *nftables.Chain, fill func(add func(...expr.Any))) error {
	conn, err := nftables.New(nftables.WithNetNSFd(n.Fd()), nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("nftables table %q: %w", table, err)
	}
	t := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: table})
	chain.Table = t
	conn.AddChain(chain)
	fill(func(e ...expr.Any) {
		conn.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: e})
	})
	err = conn.Flush()
	if err := errors.Join(err, conn.CloseLasting()); err != nil {
		return fmt.Errorf("nftables table %q: %w", table, err)
	}
	return nil
}

// matchAddr compares the packet's family and its source or destination.
func matchAddr(ip netip.Addr, source bool) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(16)
	if ip.Is6() {
		family, offset = unix.NFPROTO_IPV6, 24
	}
	if source {
		offset -= uint32(ip.BitLen() / 8)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(ip.BitLen() / 8)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ip.AsSlice()},
	}
}

// matchPort compares the protocol and the destination port.
func matchPort(p flow.Protocol, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(p)}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}

// oneIn matches one packet in n, at random.
func oneIn(n int) []expr.Any {
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

func translateTo(ip netip.Addr, port uint16) []expr.Any {
	family := uint32(unix.NFPROTO_IPV4)
	if ip.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: ip.AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2},
	}
}
