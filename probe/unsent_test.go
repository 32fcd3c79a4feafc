// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// TestUnsent: what fails inside the pod before there is a packet is told, with
// the cause and the process.
func TestUnsent(t *testing.T) {
	far := netip.MustParseAddrPort("198.51.100.7:80")
	command := filepath.Base(os.Args[0])
	command = command[:min(len(command), 15)]
	for name, c := range map[string]struct {
		plant []string // in the pod
		to    netip.AddrPort
		udp   bool
		size  int // of a datagram that must not be fragmented
		cause string
		prog  bool
	}{
		"no route":        {plant: []string{"ip", "route", "flush", "root", "0/0"}, to: far, cause: "route-none"},
		"no route, IPv6":  {plant: []string{"ip", "-6", "route", "del", "default"}, to: netip.MustParseAddrPort("[2001:db8::7]:80"), cause: "route-none"},
		"blackhole":       {plant: []string{"ip", "route", "add", "blackhole", "198.51.100.0/24"}, to: far, cause: "route-blackhole"},
		"unreachable":     {plant: []string{"ip", "route", "add", "unreachable", "198.51.100.0/24"}, to: far, cause: "route-unreachable"},
		"prohibited":      {plant: []string{"ip", "route", "add", "prohibit", "198.51.100.0/24"}, to: far, cause: "route-prohibit"},
		"prohibited rule": {plant: []string{"ip", "rule", "add", "to", "198.51.100.0/24", "prohibit"}, to: far, cause: "route-prohibit"},
		"no IPv6":         {plant: []string{"sh", "-c", "ip -6 addr flush dev eth0 scope global; ip -6 route flush default"}, to: netip.MustParseAddrPort("[2001:db8::7]:80"), cause: "family"},
		"program":         {plant: []string{"true"}, to: far, cause: "program", prog: true},
		"later program":   {plant: []string{"true"}, to: far, cause: "likely-program", prog: true},
		"MTU":             {plant: []string{"ip", "link", "set", "eth0", "mtu", "1300"}, to: far, udp: true, size: 1400, cause: "size"},
	} {
		t.Run(name, func(t *testing.T) {
			p, s, bed, pods := startBlaming(t, &wire.Options{Blame: true, Owners: true})
			run(t, pods[0].Namespace, c.plant...)
			if c.prog {
				refuse(t, c.cause == "program", far)
			}
			if c.udp {
				testkit.SkipIfNotSupported(t, sendingIsTraced())
				datagram(t, p, bed, pods[0], c.to, c.size)
			} else if err := bed.Try(pods[0], "tcp", c.to, time.Second); err == nil {
				t.Fatal("it connects")
			}
			want := fmt.Sprintf("unsent %s %d %s", c.cause, os.Getpid(), command)
			s.await(t, want, func() bool {
				for _, d := range s.drops {
					if u, _ := d.Tuple(); u.Destination == c.to {
						if d.GetReasonName() != "EBPOL_UNSENT" || d.GetEvidence() != want || d.GetWithin() != 1 {
							t.Fatal(d)
						}
						return !c.prog || slices.Contains(d.GetPrograms(), "refuses")
					}
				}
				return false
			})
		})
	}
}

// TestUnsentForPorts: a pod that has used up its ports towards a destination is
// told so.
func TestUnsentForPorts(t *testing.T) {
	_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true, Owners: true})
	if err := pods[0].Sysctl("net/ipv4/ip_local_port_range", "40000 40003"); err != nil {
		t.Fatal(err)
	}
	to := at(pods[1], 0, 8080)
	bed.Echo(pods[1], to)
	for range 4 {
		bed.Dial(pods[0], "tcp", to)
	}
	const more = 5
	for range more {
		if err := bed.Try(pods[0], "tcp", to, time.Second); err == nil {
			t.Fatal("there was one more port")
		}
	}
	s.await(t, "ports", func() bool {
		for _, d := range s.drops {
			if d.GetReasonName() == "EBPOL_UNSENT" && !strings.HasPrefix(d.GetEvidence(), "unsent ports ") {
				t.Fatal(d)
			}
		}
		return s.counts["EBPOL_UNSENT connect"].GetPackets() > 0
	})
}

// TestSentIsNotUnsent: connections that work, that are refused, and that get no
// answer have sent something.
func TestSentIsNotUnsent(t *testing.T) {
	_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true, Owners: true})
	bed.Echo(pods[1], at(pods[1], 0, 8080))
	run(t, bed.Node.Namespace, "ip", "route", "add", "blackhole", "198.51.100.0/24")
	for range 20 {
		_ = bed.Dial(pods[0], "tcp", at(pods[1], 0, 8080)).Close()
		if bed.Try(pods[0], "tcp", at(pods[1], 1, 8081), time.Second) == nil {
			t.Fatal("somebody listens")
		}
	}
	if bed.Try(pods[0], "tcp", netip.MustParseAddrPort("198.51.100.7:80"), 10*time.Millisecond) == nil {
		t.Fatal("it connects")
	}
	// An error that ICMP left at a datagram socket is of one that was sent.
	run(t, bed.Node.Namespace, "ip", "route", "add", "prohibit", "198.51.100.9")
	c := bed.Dial(pods[0], "udp", netip.MustParseAddrPort("198.51.100.9:53"))
	until(t, "ICMP error", func() bool {
		_, err := c.Write([]byte("x"))
		return err != nil
	})
	run(t, pods[0].Namespace, "ip", "route", "add", "unreachable", "198.51.100.8")
	last := netip.MustParseAddrPort("198.51.100.8:80")
	_ = bed.Try(pods[0], "tcp", last, time.Second)
	s.await(t, "the only one that wasn't sent", func() bool {
		found := false
		for _, d := range s.drops {
			if d.GetReasonName() == "EBPOL_UNSENT" {
				if u, _ := d.Tuple(); u.Destination != last || u.Protocol != flow.TCP {
					t.Fatal(d)
				}
				found = true
			}
		}
		return found
	})
}

// datagram sends one that must not be fragmented, once datagrams are looked at.
func datagram(t *testing.T, p *probe.Probe, bed *testkit.Bed, pod *netbed.Pod, to netip.AddrPort, size int) {
	t.Helper()
	raw, err := bed.Dial(pod, "udp", to).(*net.UDPConn).SyscallConn() //nolint:forcetypeassert // of a UDP dial
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the look at datagrams", p.Listens)
	var sent error
	err = raw.Control(func(fd uintptr) {
		if sent = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO); sent == nil {
			sent = syscall.Sendto(int(fd), make([]byte, size), 0, nil)
		}
	})
	if err != nil || sent == nil {
		t.Fatal("it was sent", err)
	}
}

// refuse hangs a program on connect() that refuses the destination: on the
// cgroup of everybody, after ours, or on one below it that this process moves to.
func refuse(t *testing.T, below bool, to netip.AddrPort) {
	t.Helper()
	const ip4, no, yes = 4, 0, 1
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "refuses", Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, ip4, asm.Word),
			asm.Mov.Imm(asm.R0, no),
			asm.LoadImm(asm.R3, int64(binary.NativeEndian.Uint32(to.Addr().AsSlice())), asm.DWord),
			asm.JEq.Reg(asm.R2, asm.R3, "out"),
			asm.Mov.Imm(asm.R0, yes),
			asm.Return().WithSymbol("out"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	root := "/sys/fs/cgroup/unified"
	var st unix.Statfs_t
	if unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		root = "/sys/fs/cgroup"
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, path, _ := strings.Cut("\n"+string(own), "\n0::")
	path, _, _ = strings.Cut(path, "\n")
	at := filepath.Join(root, path)
	if below {
		home := at
		at = filepath.Join(home, fmt.Sprintf("ebpol-unsent-%d", os.Getpid()))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		move := func(to string) error {
			return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)
		}
		t.Cleanup(func() {
			if err := errors.Join(move(home), os.Remove(at)); err != nil {
				t.Error(err)
			}
		})
		if err := move(at); err != nil {
			t.Fatal(err)
		}
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: at, Attach: ebpf.AttachCGroupInet4Connect, Program: prog})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}
