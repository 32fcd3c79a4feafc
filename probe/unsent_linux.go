// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// unsentReason is the reason of what a process wanted to send and no packet was
// made for; the kernel has no word for it.
const unsentReason = "EBPOL_UNSENT"

const (
	maxUnsent       = 256 // between two looks; more are counted only
	maxUnsentCounts = 4096
)

// unsent is one of them.
type unsent struct {
	at       time.Duration // boottime
	netns    uint64
	to       netip.AddrPort
	protocol flow.Protocol
	errno    syscall.Errno // 0: not known
	count    uint64
	process  *process
}

// unsentCount is where exact totals are told under.
type unsentCount struct {
	endpoint uint32
	location string
}

// failed notes one; callers hold the lock.
func (o *owners) failed(e *bpf.WhoWhoEvent, to netip.AddrPort, p *process) {
	if to.Addr().IsLoopback() || to.Addr().IsUnspecified() {
		return // what stays in the pod is no flow
	}
	u := unsent{
		at: time.Duration(e.TimeNs) + kernel.Skew(), netns: uint64(e.Netns), to: to, protocol: flow.Protocol(e.Protocol),
		errno: syscall.Errno(max(0, -e.Error)), count: max(1, uint64(e.Count)), process: p,
	}
	defer token(o.failures)
	if len(o.unsent) < maxUnsent {
		o.unsent = append(o.unsent, u)
		return
	}
	o.unsent[len(o.unsent)-1].count += u.count // of the wrong kind, and in the total all the same
}

func (o *owners) takeUnsent() (list []unsent) {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	list, o.unsent = o.unsent, nil
	return list
}

// followUnsent tells of them as they come, until the probe stops.
func (p *Probe) followUnsent() {
	for {
		select {
		case <-p.stop:
			return
		case <-p.owners.failures:
			p.tellUnsent()
		}
	}
}

// tellUnsent tells what processes of the pods could not send since.
func (p *Probe) tellUnsent() {
	list := p.owners.takeUnsent()
	if len(list) == 0 || p.drops == nil || !p.drops.enabled() {
		return
	}
	var samples []*wire.Drop
	counts := map[unsentCount]uint64{}
	for i := range list {
		d := p.unsentDrop(&list[i])
		if d == nil {
			continue
		}
		samples = append(samples, d)
		k := unsentCount{d.GetEndpoint(), d.GetLocation()}
		if _, known := p.unsentSums[k]; !known && len(p.unsentSums) >= maxUnsentCounts {
			clear(p.unsentSums)
		}
		p.unsentSums[k] += list[i].count
		counts[k] = p.unsentSums[k]
	}
	var sums []*wire.DropCount
	for k, n := range counts {
		sums = append(sums, &wire.DropCount{ReasonName: unsentReason, Location: k.location, Packets: n, Endpoint: k.endpoint})
	}
	if len(samples) > 0 {
		p.sink.Drops(samples, sums)
	}
}

// unsentDrop is a sample of it; nil if it isn't one, or not of a watched pod's
// own namespace.
func (p *Probe) unsentDrop(u *unsent) *wire.Drop {
	id, uid := p.podIn(u.netns)
	if id == 0 {
		return nil
	}
	to := netip.AddrPortFrom(u.to.Addr().Unmap(), u.to.Port())
	d := &wire.Drop{
		TimeNs: u.at.Nanoseconds(), ReasonName: unsentReason, Location: "connect", Netns: u.netns, Protocol: uint32(u.protocol),
		Dst: to.Addr().AsSlice(), Dport: uint32(to.Port()), Src: p.addressOf(id, to.Addr()).AsSlice(), Endpoint: id, Within: id, Weight: u.count,
	}
	if u.protocol == flow.UDP && u.errno != unix.EPERM {
		d.Location = "sendmsg"
	}
	var cause string
	switch {
	case u.errno == unix.EPERM:
		cause = "program"
		d.Programs = connectPrograms(uid, u.process, to.Addr())
	case u.protocol == flow.TCP && u.errno == unix.EADDRNOTAVAIL:
		cause = "ports"
	case u.errno == unix.EMSGSIZE:
		cause = "size"
	default:
		cause = p.drops.found.once(evidenceKey{netns: u.netns, reason: unsentReason, to: netip.AddrPortFrom(to.Addr(), 0)}, p.drops.path, func() string { return unsentEvidence(to.Addr()) })
	}
	switch {
	case cause == "" && u.protocol == flow.UDP:
		return nil // the error speaks of an earlier datagram, to which ICMP answered
	case cause == "":
		// One that runs after ours, or a kernel that doesn't say what those before
		// it answered (below 5.18).
		cause, d.Programs = "unknown", connectPrograms(uid, u.process, to.Addr())
		if len(d.Programs) > 0 {
			cause = "likely-program"
		}
	}
	d.Evidence = "unsent " + cause
	if u.process != nil {
		d.Evidence += fmt.Sprintf(" %d %s", u.process.pid, wire.Clean(u.process.command, 16))
	}
	return d
}

// connectPrograms names the programs of others that decide on connect().
func connectPrograms(uid string, p *process, to netip.Addr) []string {
	at := ebpf.AttachCGroupInet4Connect
	if to.Is6() {
		at = ebpf.AttachCGroupInet6Connect
	}
	if names := cgroupPrograms(uid, at); len(names) > 0 {
		return names
	}
	root := cgroupRoot()
	if p == nil || root == "" {
		return nil
	}
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.pid))
	if err != nil {
		return programsOf(root, at, nil) // it has ended
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return programsOf(filepath.Join(root, path), at, nil)
		}
	}
	return nil
}

// unsentEvidence says what is missing to send to the address; it must be called
// inside the namespace.
func unsentEvidence(to netip.Addr) string {
	route := routeEvidence(netip.Addr{}, to, "", false)
	if route != "" && route != "route-none" {
		return route
	}
	family := netlink.FAMILY_V6
	if to.Is4() {
		family = netlink.FAMILY_V4
	}
	list, err := netlink.AddrList(nil, family)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return route
	}
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ok && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			return route
		}
	}
	if to.Is6() {
		return "family"
	}
	return "address"
}

// addressOf is the pod's address of the family of the one that it speaks to.
func (p *Probe) addressOf(id uint32, to netip.Addr) netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.endpoints[id]; e != nil {
		for _, ip := range e.ips {
			if ip.Unmap().Is4() == to.Is4() {
				return ip.Unmap()
			}
		}
	}
	if to.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
