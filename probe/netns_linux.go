// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace that some process is in. It is named by
// that process, not held: holding it would outlive the pod.
type namespace struct {
	inode     uint64
	path      string // valid while the process lives
	addresses map[netip.Addr]device
	found     time.Time // it was first seen
	looked    time.Time // its addresses were last listed
}

// A namespace is there before its addresses are: it is entered again while it
// is young, and now and then while it has none. A node has hundreds that are
// neither.
const (
	youngFor    = 10 * time.Second
	lookAgainIn = 2 * time.Second
)

func (ns *namespace) worthALook() bool {
	return time.Since(ns.found) < youngFor || len(ns.addresses) == 0 && time.Since(ns.looked) > lookAgainIn
}

// device carries an address.
type device struct {
	index  int
	name   string
	bare   bool // without a link header
	prefix int  // bits of the address's network
}

// finder knows the namespaces below /proc.
type finder struct {
	proc  string
	own   uint64
	known map[uint64]*namespace
}

func newFinder() (*finder, error) {
	own, err := inodeOf("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("network namespace of this process: %w", err)
	}
	return &finder{proc: "/proc", own: own, known: make(map[uint64]*namespace)}, nil
}

func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// scan walks all processes, and lists the addresses of namespaces that are new
// or may have got some since.
func (f *finder) scan() error {
	entries, err := os.ReadDir(f.proc)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	seen := make(map[uint64]bool)
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		path := filepath.Join(f.proc, e.Name(), "ns/net")
		link, err := os.Readlink(path)
		if err != nil {
			continue // ended meanwhile, or a kernel thread's
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(link, "net:["), "]"), 10, 64)
		if err != nil || inode == f.own || seen[inode] {
			continue
		}
		seen[inode] = true
		old := f.known[inode]
		if old != nil && old.path != path {
			old = nil // numbers are reused: of a pod that ended, by the next one
		}
		if old != nil && !old.worthALook() {
			continue
		}
		ns, err := look(inode, path)
		if err != nil {
			continue // ended meanwhile
		}
		if old != nil {
			ns.found = old.found
		}
		f.known[inode] = ns
	}
	for inode := range f.known {
		if !seen[inode] {
			delete(f.known, inode)
		}
	}
	return nil
}

// look lists the addresses of one namespace.
func look(inode uint64, path string) (*namespace, error) {
	h, file, err := handleAt(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	defer h.Close()
	list, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("addresses in %q: %w", path, err)
	}
	ns := &namespace{inode: inode, path: path, addresses: make(map[netip.Addr]device), found: time.Now(), looked: time.Now()}
	devices := make(map[int]device)
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); !ok || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			continue
		}
		d, ok := devices[a.LinkIndex]
		if !ok {
			l, err := h.LinkByIndex(a.LinkIndex)
			if err != nil {
				continue
			}
			d = device{index: a.LinkIndex, name: l.Attrs().Name, bare: l.Attrs().EncapType != "ether"}
			devices[a.LinkIndex] = d
		}
		d.prefix, _ = a.Mask.Size()
		ns.addresses[ip] = d
	}
	return ns, nil
}

func handleAt(path string) (*netlink.Handle, *os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("network namespace: %w", err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("netlink in %q: %w", path, err)
	}
	return h, file, nil
}

// find looks among what the last scan saw. Two namespaces may have one
// address, of a pod that is going or of another cluster on this machine: the
// one whose process is in the pod's cgroup wins, then the newer one.
func (f *finder) find(ips []netip.Addr, uid string) *namespace {
	var best *namespace
	bestOurs := false
	for _, ns := range f.known {
		if !ns.hasAny(ips) {
			continue
		}
		ours := best != nil && uid != "" && ns.inCgroup(uid)
		if best != nil && !bestOurs && uid != "" {
			bestOurs = best.inCgroup(uid)
		}
		if best == nil || ours && !bestOurs || ours == bestOurs && ns.inode > best.inode {
			best, bestOurs = ns, ours
		}
	}
	return best
}

func (ns *namespace) hasAny(ips []netip.Addr) bool {
	for _, ip := range ips {
		if _, ok := ns.addresses[ip]; ok {
			return true
		}
	}
	return false
}

// inCgroup says whether the namespace's process is in the pod's cgroup. The
// systemd driver writes the UID with underscores.
func (ns *namespace) inCgroup(uid string) bool {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(ns.path)), "cgroup"))
	if err != nil {
		return false
	}
	return strings.Contains(string(b), uid) || strings.Contains(string(b), strings.ReplaceAll(uid, "-", "_"))
}

// inside runs fn on a thread that is in the namespace. fn must not start
// goroutines that need to be there.
func inside(path string, fn func() error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer file.Close()
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network namespace of this thread: %w", err)
	}
	defer own.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %q: %w", path, err)
	}
	err = fn()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread is lost: it stays locked, and ends with its goroutine.
		return fmt.Errorf("leave network namespace %q: %w", path, back)
	}
	runtime.UnlockOSThread()
	return err
}
