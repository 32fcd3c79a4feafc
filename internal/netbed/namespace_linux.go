// SPDX-License-Identifier: Apache-2.0

package netbed

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that an open file keeps alive.
type Namespace struct {
	name string
	file *os.File
	nl   *netlink.Handle // sockets inside it; links are made without entering
}

// New makes an empty namespace with its loopback up. The name is for error
// messages only.
func New(name string) (*Namespace, error) {
	n := &Namespace{name: name}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace %q: %w", name, err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return fmt.Errorf("network namespace %q: %w", name, err)
		}
		n.file = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	return n.ready()
}

// Host is the namespace that this process runs in.
func Host() (*Namespace, error) { return Open("/proc/self/ns/net") }

// Open is the namespace that a path such as /proc/1/ns/net names.
func Open(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace %q: %w", path, err)
	}
	n := &Namespace{name: path, file: f}
	if n.nl, err = netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in namespace %q: %w", path, err), f.Close())
	}
	return n, nil
}

func (n *Namespace) ready() (*Namespace, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in namespace %q: %w", n.name, err), n.file.Close())
	}
	n.nl = h
	if err := n.up("lo"); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Name is the one given to [New].
func (n *Namespace) Name() string { return n.name }

// Fd stays valid until Close.
func (n *Namespace) Fd() int { return int(n.file.Fd()) }

// Path names the namespace for other threads and processes of this user, as
// long as this process lives and holds it.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Inode is what the kernel calls the namespace, in /proc and in events.
func (n *Namespace) Inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(n.Fd(), &st); err != nil {
		return 0, fmt.Errorf("network namespace %q: %w", n.name, err)
	}
	return st.Ino, nil
}

// Netlink talks to the namespace's kernel side. It must not be closed.
func (n *Namespace) Netlink() *netlink.Handle { return n.nl }

// Do runs f in the namespace, on a thread of its own that ends with f. Sockets
// that f opens stay in the namespace. Goroutines that f starts do not run in
// it, and processes that f starts must not ask for a parent-death signal: it
// would reach them when the thread ends ([Spawner] is for those).
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %q: %w", n.name, err)
		}
		return f()
	})
}

// Sysctl writes a setting below /proc/sys, such as "net/ipv4/ip_forward".
func (n *Namespace) Sysctl(name, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s to %s in namespace %q: %w", name, value, n.name, err)
		}
		return nil
	})
}

// Close lets the namespace go. The kernel frees it, and every interface in
// it, once no process and no socket is left inside.
func (n *Namespace) Close() error {
	if n.nl != nil {
		n.nl.Close()
	}
	return n.file.Close()
}

func (n *Namespace) up(link string) error {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("link %q in namespace %q: %w", link, n.name, err)
	}
	if err := n.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("link %q in namespace %q: set up: %w", link, n.name, err)
	}
	return nil
}

// onThread runs f on an operating system thread that nobody else gets to see:
// it is never unlocked, so the runtime ends it together with the goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if leader() {
			done <- onThread(f) // held here meanwhile, so it runs elsewhere
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// leader says whether this is the process's first thread. The runtime can't
// end that one, and /proc/self shows its namespaces as those of the process.
func leader() bool { return unix.Gettid() == unix.Getpid() }
