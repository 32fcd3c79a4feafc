// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// packetPort is where the packets of these tests go.
const packetPort = 7777

// traffic sends packets from within pods and notes which of them arrive.
type traffic struct {
	t     testing.TB
	every time.Duration   // between two packets of a stream
	ctx   context.Context // of those who send
	stop  context.CancelFunc
	wait  sync.WaitGroup
	heard context.Context // of those who listen
	deaf  context.CancelFunc
	ears  sync.WaitGroup

	mu      sync.Mutex
	streams []*stream
}

// stream is the packets from one pod to an address of another. Each is a new
// connection, as each has another source port.
type stream struct {
	name string
	id   uint64
	to   netip.AddrPort

	mu      sync.Mutex
	packets []packet
	err     error
}

type packet struct {
	sent    time.Time
	arrived bool
}

func newTraffic(t testing.TB, every time.Duration) *traffic {
	onMachine(t)
	x := &traffic{t: t, every: every}
	x.ctx, x.stop = context.WithCancel(t.Context())
	x.heard, x.deaf = context.WithCancel(t.Context())
	t.Cleanup(x.end)
	return x
}

// end stops the streams, and reads what has arrived until nothing comes for a
// tenth of a second.
func (x *traffic) end() {
	x.stop()
	x.wait.Wait()
	x.deaf()
	x.ears.Wait()
}

// podSpace opens the network namespace of a pod as soon as it has a process.
func podSpace(t testing.TB, uid types.UID, limit time.Duration) *os.File {
	t.Helper()
	theirs := map[uint64]bool{inode("/proc/self/ns/net"): true} // a process may be in a pod's cgroup a moment before it is in its namespace
	for _, node := range env.nodes {
		pid, err := os.ReadFile(filepath.Join(env.state, node+".pid"))
		if err != nil {
			t.Fatal(err)
		}
		theirs[inode("/proc/"+strings.TrimSpace(string(pid))+"/ns/net")] = true
	}
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range groups {
			b, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(b), "/pod"+string(uid)) {
				continue
			}
			ns := filepath.Join(filepath.Dir(path), "ns/net")
			if n := inode(ns); n == 0 || theirs[n] {
				continue
			}
			if f, err := os.Open(ns); err == nil {
				t.Cleanup(func() { f.Close() })
				return f
			}
		}
	}
	t.Fatalf("pod %s has no process within %s", uid, limit)
	return nil
}

func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// inside runs f on a thread of its own in a network namespace; the thread ends
// with it.
func inside(ns *os.File, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// space is the network namespace of a pod that runs.
func (x *traffic) space(w *world, pod string) *os.File {
	x.t.Helper()
	p, err := env.client.CoreV1().Pods(w.ns).Get(x.t.Context(), pod, metav1.GetOptions{})
	if err != nil {
		x.t.Fatal(err)
	}
	return podSpace(x.t, p.UID, 30*time.Second)
}

// listen notes what arrives at a pod, over IPv4 and IPv6.
func (x *traffic) listen(ns *os.File) {
	x.t.Helper()
	fd := -1
	err := inside(ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20) // a busy machine reads late
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet6{Port: packetPort})
	})
	if err != nil {
		x.t.Fatalf("listen in a pod: %v", err)
	}
	x.ears.Go(func() {
		defer unix.Close(fd)
		b := make([]byte, 64)
		for {
			n, _, err := unix.Recvfrom(fd, b, 0)
			if err != nil && x.heard.Err() != nil {
				return
			}
			if err != nil || n != 16 {
				continue
			}
			x.arrived(binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]))
		}
	})
}

func (x *traffic) arrived(id, seq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if id >= uint64(len(x.streams)) {
		return
	}
	s := x.streams[id]
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq < uint64(len(s.packets)) {
		s.packets[seq].arrived = true
	}
}

// send begins a stream. It goes on until the test's end or the pod's. With an
// address to come from it begins when the pod has that.
func (x *traffic) send(name string, ns *os.File, to string, from netip.Addr) *stream {
	x.mu.Lock()
	s := &stream{name: name, id: uint64(len(x.streams)), to: netip.AddrPortFrom(netip.MustParseAddr(to), packetPort)}
	x.streams = append(x.streams, s)
	x.mu.Unlock()
	x.wait.Go(func() {
		err := inside(ns, func() error {
			tick := time.NewTicker(x.every)
			defer tick.Stop()
			for {
				if err := s.one(from); err != nil {
					return err
				}
				select {
				case <-x.ctx.Done():
					return nil
				case <-tick.C:
				}
			}
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err
	})
	return s
}

// one sends one packet from a new port. Packets that the kernel wouldn't even
// take from the socket, as there is no address or no way yet, aren't counted.
func (s *stream) one(from netip.Addr) error {
	family, to, any4 := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: packetPort, Addr: s.to.Addr().As16()}), false
	if s.to.Addr().Is4() {
		family, to, any4 = unix.AF_INET, &unix.SockaddrInet4{Port: packetPort, Addr: s.to.Addr().As4()}, true
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if from.IsValid() {
		var at unix.Sockaddr = &unix.SockaddrInet6{Addr: from.As16()}
		if any4 {
			at = &unix.SockaddrInet4{Addr: from.As4()}
		}
		if unix.Bind(fd, at) != nil {
			return nil
		}
	}
	s.mu.Lock()
	seq := uint64(len(s.packets))
	s.packets = append(s.packets, packet{sent: time.Now()})
	s.mu.Unlock()
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.id), seq)
	if unix.Sendto(fd, b, 0, to) != nil {
		s.mu.Lock()
		s.packets = slices.Delete(s.packets, int(seq), int(seq)+1)
		s.mu.Unlock()
	}
	return nil
}

// between are the packets that were sent in a span of time.
func (s *stream) between(a, b time.Time) []packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := func(t time.Time) int {
		i, _ := slices.BinarySearchFunc(s.packets, t, func(p packet, t time.Time) int { return p.sent.Compare(t) })
		return i
	}
	i, j := at(a), at(b)
	return slices.Clone(s.packets[i:max(i, j)])
}

// grace is how long a packet is given to arrive and be read before it counts as
// denied, while a test waits; at its end a test counts all that came.
const grace = 150 * time.Millisecond

// await waits until n packets in a row, sent after since, went as wanted and
// none that came after them otherwise.
func (s *stream) await(since time.Time, allowed bool, n int, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		list, run := s.between(since, time.Now().Add(-grace)), 0
		for i := len(list) - 1; i >= 0 && list[i].arrived == allowed; i-- {
			run++
		}
		if run >= n {
			return nil
		}
		if time.Now().After(deadline) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return fmt.Errorf("%s: not %d packets in a row with allowed=%t within %s; the last %d of %d were; stream: %w", s.name, n, allowed, limit, run, len(list), s.err)
		}
	}
}
