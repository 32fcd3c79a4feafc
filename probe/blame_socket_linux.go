// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// suspect notes a connection whose first packets come in, again and again, and
// nobody answers. It never waits.
func (d *drops) suspect(f *wire.Flow) {
	if d == nil || d.path == nil || f.GetProtocol() != uint32(flow.TCP) || f.GetDirection() != uint32(flow.Ingress) || f.GetPacketsIn() < 2 || f.GetPacketsOut() > 0 || f.GetPreexisting() {
		return
	}
	select {
	case d.quiet <- f:
	default: // there are enough to find the one that they all wait for
	}
}

// unaccepted is a sample of what the kernel doesn't call a drop: a connection
// that a full listen queue keeps out; nil if none does.
func (d *drops) unaccepted(f *wire.Flow) *wire.Drop {
	inode, ok := d.home(f.GetEndpoint())
	if !ok {
		return nil
	}
	port := uint16(f.GetLocalPort())
	text := d.found.once(evidenceKey{netns: inode, reason: "listen", to: netip.AddrPortFrom(netip.Addr{}, port)}, d.path, func() string { return listenEvidence(port) })
	if text == "" {
		return nil
	}
	return &wire.Drop{
		TimeNs: f.GetLastNs(), ReasonName: "TCP_LISTEN_OVERFLOW", Location: "tcp_conn_request", Device: "eth0", Netns: inode, Protocol: f.GetProtocol(),
		Src: f.GetPeerIp(), Dst: f.GetLocalIp(), Sport: f.GetPeerPort(), Dport: f.GetLocalPort(), TcpFlags: f.GetTcpFlagsIn(),
		Endpoint: f.GetEndpoint(), Within: f.GetEndpoint(), Weight: 1, Evidence: text,
	}
}

// listenEvidence looks for a full queue of a listener on the port; it must be
// called inside the namespace.
func listenEvidence(port uint16) string {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.SocketDiagTCP(family)
		if err != nil {
			continue // without the kernel's diagnosis nothing is said
		}
		for _, s := range list {
			// A queue takes one more than it was made for.
			if s.State == tcpListen && s.ID.SourcePort == port && s.RQueue > s.WQueue {
				return fmt.Sprintf("listen-full %d of %d", s.RQueue, s.WQueue)
			}
		}
	}
	return ""
}

// asksAgain are reasons by which a socket may turn away what its peer sends to
// ask whether there is room yet. Ordinary duplicates have them too. Old kernels
// (6.1) call any number that is out of the window invalid.
var asksAgain = map[string]bool{"TCP_OLD_SEQUENCE": true, "TCP_INVALID_SEQUENCE": true, "TCP_ZEROWINDOW": true, "TCP_OVERWINDOW": true, "TCP_OLD_DATA": true}

// unreadEvidence says how much waits in the socket that a TCP packet was for, if
// that is more than half of what it takes; it must be called inside the
// namespace.
func unreadEvidence(local, peer netip.AddrPort) string {
	family := uint8(unix.AF_INET6)
	if local.Addr().Is4() {
		family = unix.AF_INET
	}
	const memory = 7 // INET_DIAG_SKMEMINFO
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
	req.AddData(&diagRequest{family: family, local: local, peer: peer, extensions: 1 << (memory - 1)})
	answers, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	const head = 72 // struct inet_diag_msg; its queue stands at 56
	if err != nil || len(answers) != 1 || len(answers[0]) < head {
		return ""
	}
	unread := binary.NativeEndian.Uint32(answers[0][56:])
	attrs, err := nl.ParseRouteAttr(answers[0][head:])
	if err != nil || unread == 0 {
		return ""
	}
	for _, a := range attrs {
		if a.Attr.Type&^unix.NLA_F_NESTED != memory || len(a.Value) < 8 {
			continue
		}
		taken, room := binary.NativeEndian.Uint32(a.Value), binary.NativeEndian.Uint32(a.Value[4:])
		if taken >= room/2 {
			return fmt.Sprintf("unread %d", unread)
		}
	}
	return ""
}

// diagRequest asks for one TCP socket: struct inet_diag_req_v2.
type diagRequest struct {
	family      uint8
	extensions  uint8
	local, peer netip.AddrPort
}

func (r *diagRequest) Len() int { return 56 }

func (r *diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1], b[2] = r.family, unix.IPPROTO_TCP, r.extensions
	binary.NativeEndian.PutUint32(b[4:], 0xffffffff) // in any state
	binary.BigEndian.PutUint16(b[8:], r.local.Port())
	binary.BigEndian.PutUint16(b[10:], r.peer.Port())
	copy(b[12:28], r.local.Addr().AsSlice())
	copy(b[28:44], r.peer.Addr().AsSlice())
	binary.NativeEndian.PutUint64(b[48:], ^uint64(0)) // no cookie
	return b
}

// once asks inside a namespace, and remembers the answer for a while.
func (v *evidence) once(k evidenceKey, path func(inode uint64) (string, bool), ask func() string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f, ok := v.known[k]; ok && time.Since(f.at) < evidenceFor {
		return f.text
	}
	if v.known == nil || len(v.known) >= maxEvidence {
		v.known = map[evidenceKey]evidenceFound{}
	}
	found := ""
	if at, ok := path(k.netns); ok {
		_ = inside(at, func() error { // a namespace that has gone tells nothing more
			found = ask()
			return nil
		})
	}
	v.known[k] = evidenceFound{found, time.Now()}
	return found
}
