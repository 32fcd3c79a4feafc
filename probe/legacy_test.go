// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestLegacyRule: of the old iptables the rule is named if only one can have
// dropped the packet and has counted one.
func TestLegacyRule(t *testing.T) {
	const v4, v6 = 0, 1
	for name, c := range map[string]struct {
		rules []string
		ip    int
		pod   bool // in the receiver's own namespace
		tcp   bool
		want  string // family table chain number comment; empty: none is named
	}{
		"drop":         {rules: []string{"-A FORWARD -p udp --dport 53 -j DROP", "-A FORWARD -p udp --dport 8080 -j DROP"}, want: "iptables-legacy filter FORWARD 2 "},
		"engine":       {rules: []string{"-N KUBE-NWPLCY-X", "-N KUBE-POD-FW-Y", "-A KUBE-NWPLCY-X -s 192.0.2.0/24 -j RETURN", "-A KUBE-NWPLCY-X -p udp -m comment --comment shop/deny -j REJECT", "-A KUBE-POD-FW-Y -d 10.88.0.3 -j KUBE-NWPLCY-X", "-A FORWARD -j KUBE-POD-FW-Y"}, want: "iptables-legacy filter KUBE-NWPLCY-X 2 shop/deny"},
		"policy":       {rules: []string{"-P FORWARD DROP", "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT"}, want: "iptables-legacy filter FORWARD 0 "},
		"raw":          {rules: []string{"-t raw -A PREROUTING -i DEV ! -p tcp -j DROP", "-A FORWARD -j DROP"}, want: "iptables-legacy raw PREROUTING 1 "},
		"IPv6":         {rules: []string{"-A FORWARD -p udp -d fd88::3/128 --dport 8000:9000 -j DROP"}, ip: v6, want: "ip6tables-legacy filter FORWARD 1 "},
		"pod's own":    {rules: []string{"-A INPUT -p tcp --dport 8080 --syn -j REJECT --reject-with tcp-reset"}, ip: v4, pod: true, tcp: true, want: "iptables-legacy filter INPUT 1 "},
		"one of two":   {rules: []string{"-A FORWARD -p udp -m limit --limit 1/minute --limit-burst 1 -j DROP", "-A FORWARD -p udp -j DROP"}},
		"others count": {rules: []string{"-A FORWARD -p udp -m mark --mark 7 -j DROP", "-A FORWARD ! -i lo -j DROP"}, want: "iptables-legacy filter FORWARD 2 "},
	} {
		t.Run(name, func(t *testing.T) {
			_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true})
			in, tool := bed.Node.Namespace, "iptables-legacy"
			if c.pod {
				in = pods[1].Namespace
			}
			if c.ip == v6 {
				tool = "ip6tables-legacy"
			}
			for _, r := range c.rules {
				run(t, in, append([]string{tool}, strings.Fields(strings.ReplaceAll(r, "DEV", pods[0].Device))...)...)
			}
			to := at(pods[1], c.ip, 8080)
			for range 2 { // the first two may be told by different rules
				if c.tcp {
					_ = bed.Try(pods[0], "tcp", to, 100*time.Millisecond)
				} else {
					_, _ = bed.Dial(pods[0], "udp", to).Write([]byte("x"))
				}
			}
			s.await(t, "the drop", func() bool {
				n := 0
				for _, d := range s.drops {
					if u, _ := d.Tuple(); u.Destination != to || d.GetReasonName() != "NETFILTER_DROP" {
						continue
					}
					n++
					r, got := d.GetRule(), ""
					if r != nil {
						got = fmt.Sprintf("%s %s %s %d %s", r.GetFamily(), r.GetTable(), r.GetChain(), r.GetHandle(), r.GetComment())
					}
					if got != c.want || r != nil && !r.GetInferred() {
						t.Fatalf("%q, of %v", got, d)
					}
				}
				return n > 0
			})
		})
	}
}
