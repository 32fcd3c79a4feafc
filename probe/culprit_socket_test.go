// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// reluctant listens in the pod with room for one connection, each with the
// smallest buffer, and accepts none until the test ends.
func reluctant(t *testing.T, pod *netbed.Pod, at netip.AddrPort) {
	t.Helper()
	to := &syscall.SockaddrInet4{Port: int(at.Port()), Addr: [4]byte(at.Addr().AsSlice())}
	var fd int
	err := pod.Do(func() (err error) {
		if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0); err != nil {
			return err
		}
		return errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2304), syscall.Bind(fd, to), syscall.Listen(fd, 0))
	})
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err != nil {
		t.Fatal(err)
	}
}

func (s *sink) awaitDrop(t *testing.T, reason, evidence string, to netip.AddrPort) {
	t.Helper()
	s.await(t, reason+" "+evidence, func() bool {
		for _, d := range s.drops {
			if u, _ := d.Tuple(); u.Destination == to && d.GetReasonName() == reason && strings.HasPrefix(d.GetEvidence(), evidence) {
				return d.GetWithin() == 2 && d.GetEndpoint() != 0
			}
		}
		return false
	})
}

// TestFullListenQueue: what a full queue keeps out is blamed on it, though the
// kernel doesn't call it a drop.
func TestFullListenQueue(t *testing.T) {
	_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true})
	to := at(pods[1], 0, 8080)
	reluctant(t, pods[1], to)
	bed.Dial(pods[0], "tcp", to)
	if err := bed.Try(pods[0], "tcp", to, 1500*time.Millisecond); err == nil {
		t.Fatal("the second got in")
	}
	s.awaitDrop(t, "TCP_LISTEN_OVERFLOW", "listen-full 1 of 0", to)
}

// TestUnread: what comes to a socket whose application doesn't read is no
// ordinary duplicate.
func TestUnread(t *testing.T) {
	_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true})
	to := at(pods[1], 0, 8080)
	reluctant(t, pods[1], to)
	c := bed.Dial(pods[0], "tcp", to)
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.Write(make([]byte, 8<<20)) // nobody takes all of it
	}()
	s.awaitDrop(t, outOfWindow(t), "unread ", to)
	_ = c.Close()
	<-done
}

// outOfWindow is the reason by which this kernel turns away what it has already.
func outOfWindow(t *testing.T) string {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var reasons *btf.Enum
	if err := spec.TypeByName("skb_drop_reason", &reasons); err != nil {
		t.Fatal(err)
	}
	for _, v := range reasons.Values {
		if v.Name == "SKB_DROP_REASON_TCP_OLD_SEQUENCE" {
			return "TCP_OLD_SEQUENCE"
		}
	}
	return "TCP_INVALID_SEQUENCE"
}

// TestRefusedAtOnce: a connection that ends before anybody can look has its
// process all the same.
func TestRefusedAtOnce(t *testing.T) {
	_, s, bed, pods := startBlaming(t, &wire.Options{Owners: true})
	for i := range 2 {
		for port := range uint16(20) {
			var refused *net.OpError
			if err := bed.Try(pods[0], "tcp", at(pods[1], i, 7000+port), time.Second); !errors.As(err, &refused) || !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatal(err)
			}
		}
	}
	s.await(t, "owner of each", func() bool {
		seen := map[string]bool{}
		for _, f := range s.flows {
			if f.GetEndpoint() == 1 && f.GetDirection() == uint32(flow.Egress) && f.GetPeerPort() >= 7000 && f.GetPeerPort() < 7020 && f.GetOwner().GetPid() != 0 {
				ip, _ := netip.AddrFromSlice(f.GetPeerIp())
				seen[netip.AddrPortFrom(ip, uint16(f.GetPeerPort())).String()] = true
			}
		}
		return len(seen) == 40
	})
}
