// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// evidence is what a drop's reason leaves open and the namespace can tell at
// that moment. What was found counts for a while, so that a storm asks once.
type evidence struct {
	mu    sync.Mutex
	known map[evidenceKey]evidenceFound
}

type evidenceKey struct {
	netns  uint64
	reason string
	to     netip.AddrPort // of routes and sockets only
}

type evidenceFound struct {
	text string
	at   time.Time
}

const (
	evidenceFor = time.Second
	maxEvidence = 512
)

// of says what speaks for one cause of a drop; "" if nothing does.
func (v *evidence) of(d *wire.Drop, path func(inode uint64) (string, bool)) string {
	k := evidenceKey{netns: d.GetNetns(), reason: d.GetReasonName()}
	var ask func() string
	symbol, _, _ := strings.Cut(d.GetLocation(), "+")
	switch k.reason {
	case "NETFILTER_DROP":
		if symbol != "nf_hook_slow" { // nft says so itself
			return ""
		}
		ask = hookEvidence
	case "IP_INNOROUTES", "IP_OUTNOROUTES", "NOT_SPECIFIED", "":
		if k.reason != "IP_INNOROUTES" && k.reason != "IP_OUTNOROUTES" && symbol != "ip_error" && symbol != "ip6_pkt_drop" && !strings.HasPrefix(symbol, "dst_discard") {
			return ""
		}
		to, ok := netip.AddrFromSlice(d.GetDst())
		from, _ := netip.AddrFromSlice(d.GetSrc())
		if !ok {
			return ""
		}
		k.to = netip.AddrPortFrom(to.Unmap(), 0)
		ask = func() string {
			return routeEvidence(from.Unmap(), to.Unmap(), d.GetDevice(), k.reason != "IP_OUTNOROUTES")
		}
	default:
		t, ok := d.Tuple()
		if !ok || !asksAgain[k.reason] || d.GetWithin() == 0 || t.Protocol != flow.TCP {
			return ""
		}
		k.to = t.Destination
		ask = func() string { return unreadEvidence(t.Destination, t.Source) }
	}
	return v.once(k, path, ask)
}

// hookEvidence must be called inside the namespace.
func hookEvidence() string {
	count, max := readNumber("/proc/sys/net/netfilter/nf_conntrack_count"), readNumber("/proc/sys/net/netfilter/nf_conntrack_max")
	// A little room may have come free since.
	if max > 0 && count >= max-max/50 {
		return fmt.Sprintf("conntrack-full %d of %d", count, max)
	}
	if tables := legacyTables(); len(tables) > 0 {
		return "iptables-legacy " + strings.Join(tables, ", ")
	}
	return ""
}

func readNumber(file string) (n int) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(b), &n); err != nil {
		return 0
	}
	return n
}

// routeEvidence asks the kernel for the route of such a packet; it must be
// called inside the namespace.
func routeEvidence(from, to netip.Addr, device string, in bool) string {
	o := &netlink.RouteGetOptions{}
	if in {
		o.SrcAddr, o.Iif = net.IP(from.AsSlice()), device
	}
	list, err := netlink.RouteGetWithOptions(net.IP(to.AsSlice()), o)
	switch {
	case errors.Is(err, unix.EINVAL):
		return "route-blackhole"
	case errors.Is(err, unix.EHOSTUNREACH):
		return "route-unreachable"
	case errors.Is(err, unix.EACCES):
		return "route-prohibit"
	case errors.Is(err, unix.ENETUNREACH):
		return "route-none"
	}
	for _, r := range list { // IPv6 answers with the route itself
		switch r.Type {
		case unix.RTN_BLACKHOLE:
			return "route-blackhole"
		case unix.RTN_UNREACHABLE:
			return "route-unreachable"
		case unix.RTN_PROHIBIT:
			return "route-prohibit"
		}
	}
	return ""
}
