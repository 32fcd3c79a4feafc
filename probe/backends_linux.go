// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// backends finds who answers for a service: at the pod a connection still has
// the service's address, and the node's own connection tracking knows what
// kube-proxy made of it. An address translated elsewhere (on another node, in
// the pod by a socket program) stays unknown.
//
// Every connection that an endpoint opens is asked about, once if nobody
// translates it: the programs know services only where a policy asks for them.
type backends struct {
	mu    sync.Mutex
	known map[uint64]*backend // by connection; those that are open
	ask   func(tuple) (netip.AddrPort, bool)

	second int64 // of which asked counts
	asked  int
}

type backend struct {
	at      netip.AddrPort // invalid: not found yet, or not translated
	settled bool
	tries   int
}

// untranslated stands for all connections that are settled so; it is never
// written to.
var untranslated = &backend{settled: true}

// tuple is a connection as the pod opened it.
type tuple struct {
	protocol uint8
	from, to netip.AddrPort
}

const (
	// maxTries bounds what a service costs that nobody translates here. The
	// first question may come before the packet has left the node.
	maxTries = 8
	// maxKnown bounds what is kept of connections whose end nobody told.
	maxKnown = 1 << 16
	// maxQuestions bounds the questions of one second, at some 20 µs each. What is
	// not asked about is, at its next message.
	maxQuestions = 2000
)

// newBackends asks the connection tracking of the network namespace at path,
// from the first connection to a service on.
func newBackends(path string) *backends {
	b := &backends{known: map[uint64]*backend{}}
	var once sync.Once
	var table *conntrack
	b.ask = func(t tuple) (netip.AddrPort, bool) {
		once.Do(func() { table = openConntrack(path) })
		return table.reply(t)
	}
	return b
}

// fill adds the backend to a connection that its endpoint opened to a service.
func (b *backends) fill(f *wire.Flow) {
	if b == nil || f.GetDirection() != uint32(flow.Egress) || f.GetPeerPort() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.known[f.GetId()]
	if k == nil {
		if len(b.known) >= maxKnown {
			clear(b.known)
		}
		k = &backend{}
		b.known[f.GetId()] = k
	}
	if !k.settled && k.tries < maxTries && b.may() {
		k.tries++
		t := tuple{
			protocol: uint8(f.GetProtocol()), //nolint:gosec // one byte in every packet
			from:     addrPort(f.GetLocalIp(), f.GetLocalPort()),
			to:       addrPort(f.GetPeerIp(), f.GetPeerPort()),
		}
		if at, ok := b.ask(t); ok {
			if k.settled, k.at = true, at; at == t.to {
				k = untranslated
				b.known[f.GetId()] = k
			}
		}
	}
	if k.at.IsValid() {
		f.BackendIp, f.BackendPort = k.at.Addr().AsSlice(), uint32(k.at.Port())
	}
	if f.GetKind() == wire.Flow_CLOSE {
		delete(b.known, f.GetId())
	}
}

// may counts a question; callers hold the lock.
func (b *backends) may() bool {
	if now := time.Now().Unix(); now != b.second {
		b.second, b.asked = now, 0
	}
	b.asked++
	return b.asked <= maxQuestions
}

func addrPort(ip []byte, port uint32) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), uint16(port)) //nolint:gosec // a port
}

// conntrack is a socket to the connection tracking of one network namespace.
type conntrack struct {
	socket *nl.SocketHandle // nil: it can't be asked
}

func openConntrack(path string) *conntrack {
	c := &conntrack{}
	_ = inside(path, func() error { // no backends are shown then
		s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
		if err == nil {
			c.socket = &nl.SocketHandle{Socket: s}
		}
		return err
	})
	return c
}

// Of linux/netfilter/nfnetlink_conntrack.h; a get by tuple.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3
	ctGet         = 1
)

// reply says who answers the connection.
func (c *conntrack) reply(t tuple) (netip.AddrPort, bool) {
	if c.socket == nil {
		return netip.AddrPort{}, false
	}
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|ctGet, unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: c.socket}
	family, src, dst := uint8(unix.AF_INET), ctaIPv4Src, ctaIPv4Dst
	if t.from.Addr().Is6() {
		family, src, dst = unix.AF_INET6, ctaIPv6Src, ctaIPv6Dst
	}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	orig := nl.NewRtAttr(unix.NLA_F_NESTED|ctaTupleOrig, nil)
	ip := orig.AddRtAttr(unix.NLA_F_NESTED|ctaTupleIP, nil)
	ip.AddRtAttr(src, t.from.Addr().AsSlice())
	ip.AddRtAttr(dst, t.to.Addr().AsSlice())
	proto := orig.AddRtAttr(unix.NLA_F_NESTED|ctaTupleProto, nil)
	proto.AddRtAttr(ctaProtoNum, []byte{t.protocol})
	proto.AddRtAttr(ctaProtoSrc, binary.BigEndian.AppendUint16(nil, t.from.Port()))
	proto.AddRtAttr(ctaProtoDst, binary.BigEndian.AppendUint16(nil, t.to.Port()))
	req.AddData(orig)
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil || len(msgs) == 0 {
		return netip.AddrPort{}, false // none, or not yet
	}
	return replySource(msgs[0])
}

// replySource reads the source of the answers from a connection's message.
func replySource(msg []byte) (netip.AddrPort, bool) {
	if len(msg) < nl.SizeofNfgenmsg {
		return netip.AddrPort{}, false
	}
	answer := nested(msg[nl.SizeofNfgenmsg:], ctaTupleReply)
	addresses := nested(answer, ctaTupleIP)
	raw := nested(addresses, ctaIPv4Src)
	if raw == nil {
		raw = nested(addresses, ctaIPv6Src)
	}
	ip, ok := netip.AddrFromSlice(raw)
	port := nested(nested(answer, ctaTupleProto), ctaProtoSrc)
	if !ok || len(port) != 2 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port)), true
}

// nested gives the value of one attribute; nil if there is none.
func nested(attributes []byte, kind uint16) []byte {
	list, err := nl.ParseRouteAttr(attributes)
	if err != nil {
		return nil
	}
	for _, a := range list {
		if a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return a.Value
		}
	}
	return nil
}
