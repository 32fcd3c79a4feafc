// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// FilterName is what a process calls its filters.
var FilterName = filterName

// FindAfter says whether a search finds the address in the namespace of the
// process, if a namespace of the same number was known that had another one
// and has long ended.
func FindAfter(pid int, ended, address netip.Addr) (bool, error) {
	f, err := newFinder()
	if err != nil {
		return false, err
	}
	inode, err := inodeOf(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return false, err
	}
	f.known[inode] = &namespace{inode: inode, path: "/proc/0/ns/net", addresses: map[netip.Addr]device{ended: {}}}
	if err := f.scan(); err != nil {
		return false, err
	}
	ns := f.find([]netip.Addr{address}, "")
	return ns != nil && ns.inode == inode && f.find([]netip.Addr{ended}, "") == nil, nil
}

// HopsEvery is how often the blamer looks after what it holds.
const HopsEvery = hopsEvery

// Tracked is what the conntrack of the thread's namespace knows of addresses.
var Tracked = tracked

// Inside is how namespaces are entered.
var Inside = inside

// SetBlameIdle says how long a namespace is traced in which nothing is dropped.
func (p *Probe) SetBlameIdle(d time.Duration) {
	p.blame.mu.Lock()
	defer p.blame.mu.Unlock()
	p.blame.idle = d
}

// Programs are those that may run for packets and processes.
func (p *Probe) Programs() []*ebpf.Program { return p.meter.programs }

// Listens says whether each datagram that is sent is looked at.
func (p *Probe) Listens() bool {
	p.owners.mu.Lock()
	defer p.owners.mu.Unlock()
	return p.owners.senders.hangs != nil
}

// NobodySpoke is what happens once it was silent for a while, and may have to be
// said twice: somebody may have spoken since the last time.
func (p *Probe) NobodySpoke() error {
	p.owners.mu.Lock()
	defer p.owners.mu.Unlock()
	p.owners.senders.since = time.Now().Add(-restAfter)
	return p.owners.rest()
}
