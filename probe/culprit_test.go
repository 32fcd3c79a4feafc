// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestFaults plants one fault at a time on a node and looks at what the probe
// says of the drops, and that it speaks of no other connection.
func TestFaults(t *testing.T) {
	type fault struct {
		plant    func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod)
		reason   string
		evidence string // its beginning
		within   uint32 // the endpoint in whose own namespace it is dropped; 0: the node's
		send     func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod)
	}
	sysctl := func(t *testing.T, in *netbed.Namespace, name, value string) {
		t.Helper()
		if err := in.Sysctl(name, value); err != nil {
			t.Fatal(err)
		}
	}
	datagram := func(size int) func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
		return func(_ *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
			c := bed.Dial(pods[0], "udp", at(pods[1], 0, 8080))
			_, _ = c.Write(make([]byte, size)) // what comes of it is what is looked at
		}
	}
	for name, f := range map[string]fault{
		"reverse-path filter": {
			plant: func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				bed.Echo(pods[1], at(pods[1], 0, 9090))
				bed.Dial(pods[0], "tcp", at(pods[1], 0, 9090)) // so that neighbours know each other: ARP is filtered too
				sysctl(t, bed.Node.Namespace, "net/ipv4/conf/all/rp_filter", "1")
				run(t, bed.Node.Namespace, "ip", "route", "replace", pods[0].IPs[0].String(), "dev", pods[1].Device)
			},
			reason: "IP_RPFILTER",
		},
		"blackhole": {
			plant: func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				run(t, bed.Node.Namespace, "ip", "route", "replace", "blackhole", pods[1].IPs[0].String())
			},
			reason: "NOT_SPECIFIED", evidence: "route-blackhole",
		},
		"no route": {
			plant: func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				run(t, bed.Node.Namespace, "ip", "route", "del", pods[1].IPs[0].String())
			},
			reason: "IP_INNOROUTES", evidence: "route-",
		},
		"neighbour": {
			plant: func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				run(t, bed.Node.Namespace, "ip", "link", "set", pods[1].Device, "arp", "on")
				sysctl(t, bed.Node.Namespace, "net/ipv4/neigh/"+pods[1].Device+"/retrans_time_ms", "100")
				sysctl(t, pods[1].Namespace, "net/ipv4/conf/eth0/arp_ignore", "8")
			},
			reason: "NEIGH_FAILED",
		},
		"MTU": {
			plant: func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				run(t, bed.Node.Namespace, "ip", "link", "set", pods[1].Device, "mtu", "1000")
			},
			send: func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				c := bed.Dial(pods[0], "udp", at(pods[1], 0, 8080)).(*net.UDPConn) //nolint:forcetypeassert // of a UDP dial
				raw, err := c.SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				if err := raw.Control(func(fd uintptr) {
					_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO)
				}); err != nil {
					t.Fatal(err)
				}
				_, _ = c.Write(make([]byte, 1200))
			},
			reason: "PKT_TOO_BIG",
		},
		"MTU of the pod": {
			plant: func(t *testing.T, _ *testkit.Bed, pods [2]*netbed.Pod) {
				run(t, pods[1].Namespace, "ip", "link", "set", "eth0", "mtu", "1000")
			},
			send: datagram(1200), reason: "NOT_SPECIFIED",
		},
		"hardware address": {
			plant: func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				run(t, bed.Node.Namespace, "ip", "neigh", "replace", pods[1].IPs[0].String(), "dev", pods[1].Device, "lladdr", "02:00:00:00:00:99", "nud", "permanent")
			},
			reason: "OTHERHOST", within: 2,
		},
		"no forwarding": {
			plant: func(t *testing.T, bed *testkit.Bed, _ [2]*netbed.Pod) {
				sysctl(t, bed.Node.Namespace, "net/ipv4/ip_forward", "0")
			},
			reason: "IP_INADDRERRORS",
		},
		"no socket": {plant: func(*testing.T, *testkit.Bed, [2]*netbed.Pod) {}, reason: "NO_SOCKET", within: 2},
		"full socket": {
			plant: func(t *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				c := bed.ListenPacket(pods[1], "udp", at(pods[1], 0, 8080))
				if err := c.(*net.UDPConn).SetReadBuffer(2048); err != nil { //nolint:forcetypeassert // of a UDP listener
					t.Fatal(err)
				}
			},
			send: func(_ *testing.T, bed *testkit.Bed, pods [2]*netbed.Pod) {
				c := bed.Dial(pods[0], "udp", at(pods[1], 0, 8080))
				for range 64 {
					_, _ = c.Write(make([]byte, 1000))
				}
			},
			reason: "SOCKET_RCVBUFF", within: 2,
		},
		"TTL": {
			plant: func(t *testing.T, _ *testkit.Bed, pods [2]*netbed.Pod) {
				sysctl(t, pods[0].Namespace, "net/ipv4/ip_default_ttl", "1")
			},
			reason: "IP_INHDR",
		},
		"legacy iptables": {
			plant: func(t *testing.T, bed *testkit.Bed, _ [2]*netbed.Pod) {
				run(t, bed.Node.Namespace, "iptables-legacy", "-A", "FORWARD", "-p", "udp", "--dport", "8080", "-j", "DROP")
			},
			reason: "NETFILTER_DROP", evidence: "iptables-legacy filter",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true})
			f.plant(t, bed, pods)
			send := f.send
			if send == nil {
				send = datagram(10)
			}
			send(t, bed, pods)
			s.await(t, f.reason+" "+f.evidence, func() bool {
				for _, d := range s.drops {
					if from(d) == pods[0].IPs[0] && d.GetProtocol() == 17 && d.GetReasonName() == f.reason && strings.HasPrefix(d.GetEvidence(), f.evidence) && d.GetWithin() == f.within {
						return true
					}
				}
				return false
			})
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, d := range s.drops {
				if from(d) != pods[0].IPs[0] && d.GetReasonName() != "NO_SOCKET" {
					t.Errorf("blames another: %v", d)
				}
			}
		})
	}
}
