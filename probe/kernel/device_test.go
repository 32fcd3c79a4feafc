// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// TestCutShortOnADevice sends frames that end inside their IP header, which
// the kernel's harness refuses to run, over a device that the program is
// attached to: each is counted as cut short, and none makes a connection.
func TestCutShortOnADevice(t *testing.T) {
	bed := testkit.NewBed(t)
	pod := bed.Pod("pod")
	k := open(t, kernel.Options{})
	r := isolated(1, 1)
	load(t, k, r)
	if err := k.SetLease(time.Hour); err != nil {
		t.Fatal(err)
	}
	ingress, _, err := k.Programs(true)
	if err != nil {
		t.Fatal(err)
	}
	var inner, outer *net.Interface
	err = pod.Do(func() (err error) {
		if inner, err = net.InterfaceByName("eth0"); err != nil {
			return err
		}
		return attachIngress(t, inner.Index, ingress)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = bed.Node.Do(func() (err error) {
		outer, err = net.InterfaceByName(pod.Device)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		frame  []byte
		header int
		kind   uint16
	}{
		{"IPv4", packet(peer4, local4, flow.TCP, segment(1000, 81, syn)), 20, unix.ETH_P_IP},
		{"IPv6", packet(peer6, local6, flow.TCP, segment(1000, 81, syn)), 40, unix.ETH_P_IPV6},
	} {
		t.Run(c.name, func(t *testing.T) {
			copy(c.frame, inner.HardwareAddr)
			before := counts(t, k)
			sent := uint64(0)
			err := bed.Node.Do(func() error {
				fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				for n := 14 + 1; n < 14+c.header; n++ {
					to := &unix.SockaddrLinklayer{Ifindex: outer.Index, Protocol: c.kind<<8 | c.kind>>8}
					if err := unix.Sendto(fd, c.frame[:n], 0, to); err != nil {
						return err
					}
					sent++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			after := counts(t, k)
			for end := time.Now().Add(5 * time.Second); after.CutShort < before.CutShort+sent && time.Now().Before(end); after = counts(t, k) {
				runtime.Gosched() // the device delivers in its own time
			}
			if after.CutShort != before.CutShort+sent || after.EnforcedPackets != before.EnforcedPackets {
				t.Errorf("%d frames, cut short %d, dropped %d", sent, after.CutShort-before.CutShort, after.EnforcedPackets-before.EnforcedPackets)
			}
		})
	}
}

func counts(t *testing.T, k *kernel.Kernel) kernel.Counts {
	t.Helper()
	c, err := k.Counts()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// attachIngress goes by clsact where TCX isn't, below Linux 6.6. Its filter goes
// with the device.
func attachIngress(t *testing.T, device int, p *ebpf.Program) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: device, Program: p, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return err
	}
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: device, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	filter := &netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: device, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:           p.FD(),
		Name:         "test",
		DirectAction: true,
	}
	if err := netlink.QdiscAdd(qdisc); err != nil {
		return err
	}
	return netlink.FilterAdd(filter)
}
