// SPDX-License-Identifier: Apache-2.0

package netbed_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var (
	node4, node6 = netip.MustParseAddr("10.88.0.1"), netip.MustParseAddr("fd88::1")
	a4, a6       = netip.MustParseAddr("10.88.0.2"), netip.MustParseAddr("fd88::2")
	b4, b6       = netip.MustParseAddr("10.88.0.3"), netip.MustParseAddr("fd88::3")
)

func TestPodsReachEachOther(t *testing.T) {
	bed := testkit.NewBed(t, node4, node6)
	a, b := bed.Pod("a", a4, a6), bed.Pod("b", b4, b6)
	for _, ip := range []netip.Addr{b4, b6} {
		t.Run(ip.String(), func(t *testing.T) {
			l := bed.Listen(b, "tcp", netip.AddrPortFrom(ip, 80))
			c := bed.Dial(a, "tcp", netip.AddrPortFrom(ip, 80))
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			c.Close()
			got, err := io.ReadAll(s)
			if err != nil || string(got) != "hello" {
				t.Errorf("got %q, %v", got, err)
			}
			if from := s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); from != a4 && from != a6 {
				t.Errorf("came from %s: the node must not translate", from)
			}
		})
	}
}

func TestNoWayOut(t *testing.T) {
	bed := testkit.NewBed(t, node4, node6)
	a := bed.Pod("a", a4, a6)
	err := a.Do(func() error {
		c, err := net.Dial("tcp4", "192.0.2.1:80")
		if err == nil {
			c.Close()
		}
		return err
	})
	if err == nil {
		t.Error("a pod of a bed reached an address outside")
	}
}

// TestChildrenDieWithTheirThread stands for kill -9 of the process: the
// kernel treats the end of the thread that started a child the same.
func TestChildrenDieWithTheirThread(t *testing.T) {
	bed := testkit.NewBed(t, node4, node6)
	a := bed.Pod("a", a4, a6)
	s := netbed.NewSpawner()
	cmd := exec.Command("sleep", "600")
	if err := s.Start(a.Namespace, cmd); err != nil {
		t.Fatal(err)
	}
	want, err := a.Inode()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(cmd.Process.Pid)+"/ns/net", &st); err != nil || st.Ino != want {
		t.Errorf("the child is in namespace %d (%v), want %d", st.Ino, err, want)
	}
	s.Close()
	state, err := cmd.Process.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if state.String() != "signal: killed" {
		t.Errorf("the child ended with %q, want it killed", state)
	}
}

// TestLeaderStays: entering many namespaces must never move the thread that
// /proc/self shows.
func TestLeaderStays(t *testing.T) {
	bed := testkit.NewBed(t, node4, node6)
	a := bed.Pod("a", a4, a6)
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := a.Do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	after, err := os.Readlink("/proc/self/ns/net")
	if err != nil || before != after {
		t.Errorf("the process moved from %s to %s (%v)", before, after, err)
	}
}
