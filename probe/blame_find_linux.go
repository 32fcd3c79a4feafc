// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

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
