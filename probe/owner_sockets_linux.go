// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Bounds of one look at the sockets that are there already.
const (
	maxDescriptors = 200_000
	maxSockets     = 32_768
)

// existing looks up who has the sockets that are in these namespaces now: the
// sockets' inodes by sock_diag, the inodes' processes below /proc.
func (o *owners) existing(spaces map[uint32]bool) error {
	if len(spaces) == 0 {
		return nil
	}
	inside, holders, err := o.holders(spaces)
	if err != nil {
		return err
	}
	var errs []error
	for netns, pid := range inside {
		errs = append(errs, o.existingIn(netns, pid, holders))
	}
	return errors.Join(errs...)
}

// holders finds a process in each of the namespaces, and whose socket each inode is.
func (o *owners) holders(spaces map[uint32]bool) (inside map[uint32]uint32, holders map[uint64]uint32, err error) {
	entries, err := os.ReadDir(o.processes.proc)
	if err != nil {
		return nil, nil, fmt.Errorf("list processes: %w", err)
	}
	inside, holders = map[uint32]uint32{}, map[uint64]uint32{}
	left := maxDescriptors
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil || left <= 0 {
			continue
		}
		pid := uint32(n)
		netns, ok := linkInode(o.processes.path(pid, "ns/net"), "net:[")
		if !ok || !spaces[uint32(netns)] {
			continue
		}
		inside[uint32(netns)] = pid
		descriptors, err := os.ReadDir(o.processes.path(pid, "fd"))
		if err != nil {
			continue // ended meanwhile
		}
		for _, d := range descriptors[:min(len(descriptors), left)] {
			left--
			if inode, ok := linkInode(filepath.Join(o.processes.path(pid, "fd"), d.Name()), "socket:["); ok {
				if _, known := holders[inode]; !known { // the parent of those that share it comes first
					holders[inode] = pid
				}
			}
		}
	}
	return inside, holders, nil
}

// linkInode reads a link such as "net:[4026531840]".
func linkInode(path, prefix string) (uint64, bool) {
	link, err := os.Readlink(path)
	if err != nil {
		return 0, false
	}
	rest, ok := strings.CutPrefix(link, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 64)
	return n, err == nil
}

func (o *owners) existingIn(netns, pid uint32, holders map[uint64]uint32) error {
	return inside(o.processes.path(pid, "ns/net"), func() error {
		left := maxSockets
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			list, err := netlink.SocketDiagTCP(family)
			if err != nil {
				return fmt.Errorf("list the pod's sockets: %w", err)
			}
			for _, s := range list[:min(len(list), left)] {
				o.existingTCP(netns, s, o.holder(s, holders))
			}
			left -= min(len(list), left)
			list, err = netlink.SocketDiagUDP(family)
			if err != nil {
				continue // UDP's diagnosis is a module of its own
			}
			if len(list) > 0 {
				o.listen()
			}
			for _, s := range list[:min(len(list), left)] {
				if p := o.holder(s, holders); p != nil {
					k := portKey{netns, flow.UDP, s.ID.SourcePort}
					if _, known := o.ports[k]; !known {
						o.port(k, &portOwner{process: p})
					}
				}
			}
			left -= min(len(list), left)
		}
		return nil
	})
}

func (o *owners) holder(s *netlink.Socket, holders map[uint64]uint32) *process {
	if pid, ok := holders[uint64(s.INode)]; ok && s.INode != 0 {
		return o.processes.byPID(pid)
	}
	return nil
}

func (o *owners) existingTCP(netns uint32, s *netlink.Socket, p *process) {
	if p == nil {
		return
	}
	local := netip.AddrPortFrom(address(s.ID.Source), s.ID.SourcePort)
	if s.State == tcpListen {
		k := portKey{netns, flow.TCP, s.ID.SourcePort}
		if _, known := o.ports[k]; !known {
			o.port(k, &portOwner{process: p, ip: local.Addr(), listens: true})
		}
		return
	}
	k := connOf(netns, local, netip.AddrPortFrom(address(s.ID.Destination), s.ID.DestinationPort))
	if _, ok := o.opened[k]; !ok {
		o.put(k, p, 0)
	}
}
