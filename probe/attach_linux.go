// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// Names of the two ways to attach.
const (
	hookTCX    = "tcx"
	hookClsact = "clsact"
)

// attachment is both programs on one device.
type attachment struct {
	hook   string
	others []string // programs of others there, first to last, ingress then egress
	gone   func() bool
	detach func() error
}

// attach must be called inside the namespace, which the path leads to.
func attach(k *kernel.Kernel, path string, d device, hook string) (*attachment, error) {
	in, out, err := k.Programs(!d.bare)
	if err != nil {
		return nil, err
	}
	if hook == hookTCX {
		return attachTCX(d, in, out)
	}
	return attachClsact(path, d, in, out)
}

// attachTCX puts us last on the way in, after all that may drop, and first on
// the way out, before it.
func attachTCX(d device, in, out *ebpf.Program) (*attachment, error) {
	a := &attachment{hook: hookTCX}
	a.others = append(namesOn(d.index, ebpf.AttachTCXIngress), namesOn(d.index, ebpf.AttachTCXEgress)...)
	i, err := link.AttachTCX(link.TCXOptions{Interface: d.index, Program: in, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
	if err != nil {
		return nil, fmt.Errorf("attach to %q: %w", d.name, err)
	}
	e, err := link.AttachTCX(link.TCXOptions{Interface: d.index, Program: out, Attach: ebpf.AttachTCXEgress, Anchor: link.Head()})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to %q: %w", d.name, err), i.Close())
	}
	a.detach = func() error { return errors.Join(i.Close(), e.Close()) }
	a.gone = func() bool {
		info, err := i.Info()
		if err != nil {
			return true
		}
		t := info.TCX()
		return t == nil || t.Ifindex == 0 // the kernel clears it when the device goes
	}
	return a, nil
}

func namesOn(index int, at ebpf.AttachType) []string {
	r, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: at})
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range r.Programs {
		names = append(names, programName(p.ID))
	}
	return names
}

func programName(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return fmt.Sprintf("program %d", id)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil || info.Name == "" {
		return fmt.Sprintf("program %d", id)
	}
	return info.Name
}

// Priorities of our filters: first on the way out, last on the way in.
const (
	firstPrio = 1
	lastPrio  = 0xbfff // above it the kernel numbers those that name none
)

// filterPrefix tells our filters from others'. The process and its start
// follow, so that those of one that was killed are told from those of another
// session at work.
const filterPrefix = "kubectl-ebpol:"

func filterName(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name in parentheses may hold anything; the start is the 20th field after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: too few fields", pid)
	}
	return fmt.Sprintf("%s%d:%s", filterPrefix, pid, fields[19]), nil
}

// stale says whether the filter is of a probe that runs no more.
func stale(name string) bool {
	rest, ours := strings.CutPrefix(name, filterPrefix)
	if !ours {
		return false
	}
	pid, _, _ := strings.Cut(rest, ":")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	now, err := filterName(n)
	return err != nil || now != name
}

// attachClsact is for kernels below 6.6. Filters outlive this process, so
// those of one that was killed are removed first.
func attachClsact(path string, d device, in, out *ebpf.Program) (*attachment, error) {
	l, err := netlink.LinkByIndex(d.index)
	if err != nil {
		return nil, fmt.Errorf("device %q: %w", d.name, err)
	}
	a := &attachment{hook: hookClsact}
	name, err := filterName(os.Getpid())
	if err != nil {
		return nil, err
	}
	old, err := removeFilters(l, "", false)
	if err != nil {
		return nil, err
	}
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: d.index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	err = netlink.QdiscAdd(qdisc)
	ours := err == nil || old > 0 // the qdisc of one that was killed is ours to remove, too
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("add a clsact qdisc to %q: %w", d.name, err)
	}
	for _, f := range []struct {
		parent uint32
		prio   uint16
		prog   *ebpf.Program
	}{{netlink.HANDLE_MIN_INGRESS, lastPrio, in}, {netlink.HANDLE_MIN_EGRESS, firstPrio, out}} {
		a.others = append(a.others, filterNames(l, f.parent)...)
		filter := &netlink.BpfFilter{
			FilterAttrs:  netlink.FilterAttrs{LinkIndex: d.index, Parent: f.parent, Handle: uint32(os.Getpid()), Protocol: unix.ETH_P_ALL, Priority: f.prio},
			Fd:           f.prog.FD(),
			Name:         name,
			DirectAction: true,
		}
		if err := netlink.FilterAdd(filter); err != nil {
			_, undo := removeFilters(l, name, ours)
			return nil, errors.Join(fmt.Errorf("attach to %q: %w", d.name, err), undo)
		}
	}
	inode, err := inodeOf("/proc/thread-self/ns/net")
	if err != nil {
		_, undo := removeFilters(l, name, ours)
		return nil, errors.Join(err, undo)
	}
	// What follows is called from outside the namespace, which isn't held.
	enter := func(fn func() error) error { return reenter(path, inode, fn) }
	a.gone = func() bool {
		return enter(func() error { _, err := netlink.LinkByIndex(d.index); return err }) != nil
	}
	a.detach = func() error {
		err := enter(func() error { _, err := removeFilters(l, name, ours); return err })
		if errors.Is(err, os.ErrNotExist) {
			return nil // went with its namespace
		}
		return err
	}
	return a, nil
}

// reenter runs fn in the namespace if it still is there: at the path that led
// to it before, or with another process if that one has ended.
func reenter(path string, inode uint64, fn func() error) error {
	if now, err := inodeOf(path); err == nil && now == inode {
		return inside(path, fn)
	}
	f, err := newFinder()
	if err != nil {
		return err
	}
	if err := f.scan(); err != nil {
		return err
	}
	ns := f.known[inode]
	if ns == nil {
		return fmt.Errorf("network namespace %d: %w", inode, os.ErrNotExist)
	}
	return inside(ns.path, fn)
}

func filterNames(l netlink.Link, parent uint32) []string {
	list, err := netlink.FilterList(l, parent)
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range list {
		if b, ok := f.(*netlink.BpfFilter); ok {
			names = append(names, b.Name)
		} else {
			names = append(names, f.Type())
		}
	}
	return names
}

// removeFilters deletes those of the name and those of probes that were killed,
// and the qdisc if asked and nobody else uses it. It says how many filters it
// deleted.
func removeFilters(l netlink.Link, name string, qdisc bool) (int, error) {
	n, others := 0, 0
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		list, err := netlink.FilterList(l, parent)
		if err != nil {
			continue // no clsact there
		}
		for _, f := range list {
			b, ok := f.(*netlink.BpfFilter)
			if !ok || b.Name != name && !stale(b.Name) {
				others++
				continue
			}
			if err := netlink.FilterDel(f); err != nil && !errors.Is(err, unix.ENOENT) {
				return n, fmt.Errorf("remove our filter from %q: %w", l.Attrs().Name, err)
			}
			n++
		}
	}
	if qdisc && others == 0 {
		q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
		if err := netlink.QdiscDel(q); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			return n, fmt.Errorf("remove the clsact qdisc from %q: %w", l.Attrs().Name, err)
		}
	}
	return n, nil
}
