// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
)

// processName names what a process of ours makes, so that another can tell
// whether it still runs.
func processName(pid int) (string, error) {
	name, err := filterName(pid)
	return strings.ReplaceAll(strings.TrimPrefix(name, filterPrefix), ":", "-"), err
}

func staleProcess(name string) bool {
	return stale(filterPrefix + strings.ReplaceAll(name, "-", ":"))
}

// pattern matches packets of connections from one list of addresses to another,
// either way. A nil pattern matches none.
type pattern struct {
	from, to []netip.Prefix
	protocol uint32
	port     uint32
}

func newPattern(w *wire.Pattern) *pattern {
	if w == nil {
		return nil
	}
	return &pattern{from: catchPrefixes(w.GetFrom()), to: catchPrefixes(w.GetTo()), protocol: w.GetProtocol(), port: w.GetPort()}
}

func catchPrefixes(list []*wire.Prefix) (out []netip.Prefix) {
	for _, w := range list {
		ip, ok := netip.AddrFromSlice(w.GetIp())
		if p := netip.PrefixFrom(ip.Unmap(), int(w.GetBits())); ok && p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

func (p *pattern) matches(k *nft.Packet) bool {
	if p == nil || p.protocol != 0 && p.protocol != uint32(k.Protocol) || p.port != 0 && p.port != uint32(k.DestinationPort) {
		return false
	}
	return addressIn(p.from, k.Source) && addressIn(p.to, k.Destination)
}

func addressIn(list []netip.Prefix, ip netip.Addr) bool {
	if len(list) == 0 {
		return true
	}
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// device is what the namespace calls an interface. Only the tracer's goroutine
// calls it.
func (s *space) device(index uint32) string {
	if index == 0 {
		return ""
	}
	if n, ok := s.devices[index]; ok {
		return n
	}
	if len(s.devices) >= maxDevices {
		clear(s.devices)
	}
	name := ""
	if h, file, err := handleAt(s.path); err == nil {
		if l, err := h.LinkByIndex(int(index)); err == nil {
			name = l.Attrs().Name
		}
		h.Close()
		file.Close()
	}
	s.devices[index] = name
	return name
}

const maxDevices = 1024

// hooks says which programs of others hang on a device, remembered for a
// moment: a storm of drops asks once.
type hooks struct {
	mu    sync.Mutex
	known map[hookKey]hookPrograms
}

type hookKey struct {
	netns   uint64
	ifindex uint32
	reason  string
}

type hookPrograms struct {
	names []string
	at    time.Time
}

const (
	hooksFor = 5 * time.Second
	maxHooks = 1024
)

// on lists the programs of the hook that a drop's reason speaks of; none if it
// speaks of no such hook. path leads to the device's namespace.
func (h *hooks) on(d *wire.Drop, path func(inode uint64) (string, bool)) []string {
	switch d.GetReasonName() {
	case "TC_INGRESS", "TC_EGRESS", "XDP":
	default:
		return nil
	}
	if d.GetIfindex() == 0 {
		return nil
	}
	k := hookKey{d.GetNetns(), d.GetIfindex(), d.GetReasonName()}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, ok := h.known[k]; ok && time.Since(p.at) < hooksFor {
		return p.names
	}
	if h.known == nil || len(h.known) >= maxHooks {
		h.known = map[hookKey]hookPrograms{}
	}
	var names []string
	if at, ok := path(k.netns); ok {
		_ = inside(at, func() error { // a namespace that has gone has no programs to name
			names = programsOn(int(k.ifindex), k.reason)
			return nil
		})
	}
	h.known[k] = hookPrograms{names, time.Now()}
	return names
}

// programsOn must be called inside the device's namespace.
func programsOn(index int, reason string) (names []string) {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil
	}
	if reason == "XDP" {
		if x := l.Attrs().Xdp; x != nil && x.Attached {
			names = append(names, programName(ebpf.ProgramID(x.ProgId)))
		}
		return names
	}
	at, parent, peer := ebpf.AttachTCXIngress, uint32(netlink.HANDLE_MIN_INGRESS), ebpf.AttachNetkitPeer
	if reason == "TC_EGRESS" {
		at, parent, peer = ebpf.AttachTCXEgress, uint32(netlink.HANDLE_MIN_EGRESS), ebpf.AttachNetkitPrimary
	}
	all := namesOn(index, at)
	if l.Type() == "netkit" {
		all = append(all, namesOn(index, peer)...)
	}
	for _, n := range append(all, filterNames(l, parent)...) {
		if !strings.HasPrefix(n, "ebpol_") && !strings.HasPrefix(n, filterPrefix) {
			names = append(names, n)
		}
	}
	return names
}

// nodePath leads to the node's network namespace.
func (p *Probe) nodePath() string {
	if p.options.Node != "" {
		return p.options.Node
	}
	return "/proc/self/ns/net"
}

// pathOf leads to a namespace of this node: its own or that of a watched pod.
func (p *Probe) pathOf(inode uint64) (string, bool) {
	if inode == p.finder.own {
		return p.nodePath(), true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		if e.ns != nil && e.ns.inode == inode {
			now, err := inodeOf(e.ns.path)
			return e.ns.path, err == nil && now == inode
		}
	}
	return "", false
}

// ruleFeature says whether netfilter's rules can be named here.
func ruleFeature(path string) *wire.Feature {
	f := &wire.Feature{Name: "netfilter-rules"}
	err := traceIsQuiet(path)
	if err == nil {
		err = nft.Supported(path)
	}
	if f.Present = err == nil; err != nil {
		f.Why = "netfilter's drops don't name their rule: " + err.Error()
	}
	return f
}
