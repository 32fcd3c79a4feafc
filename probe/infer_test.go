// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestInferredRule: where the kernel's tracing can't see a drop, or came too
// late for it, the rule is the only one of the ruleset that can have dropped the
// packet, and is marked as inferred; where several can have, none is named.
func TestInferredRule(t *testing.T) {
	const others = `chain calm { type filter hook forward priority 10; ct state established,related accept; tcp dport 22 drop; ip saddr 192.0.2.0/24 drop; };`
	for name, c := range map[string]struct {
		rules string // of the node; DEV is a's device on it
		pod   bool   // they are the sender's own
		tcp   bool
		table string // of the rule; empty: none is named
		chain string
	}{
		"netdev ingress":     {rules: `table netdev engine { chain in { type filter hook ingress device "DEV" priority 0; udp dport 8080 drop; }; }`, table: "netdev engine", chain: "in"},
		"other device":       {rules: `table netdev engine { chain in { type filter hook ingress device "DEV" priority 0; jump on; }; chain on { udp dport { 53, 8080 } drop; }; chain elsewhere { type filter hook ingress device "lo" priority 0; drop; }; }`, table: "netdev engine", chain: "on"},
		"netdev egress":      {rules: `table netdev engine { chain out { type filter hook egress device "FAR" priority 0; udp dport 8080 drop; }; }`, table: "netdev engine", chain: "out"},
		"inet ingress":       {rules: `table inet engine { set bad { type ipv4_addr; flags interval; elements = { 10.88.0.0/24 }; }; chain in { type filter hook ingress device "DEV" priority 0; ip saddr @bad udp dport 8000-9000 drop; }; }`, table: "inet engine", chain: "in"},
		"before our own":     {rules: `table ip engine { chain pre { type filter hook prerouting priority -450; udp dport 8080 drop; }; }; table inet other { ` + others + ` };`, table: "ip engine", chain: "pre"},
		"single datagram":    {rules: `table inet engine { ` + others + ` chain forward { type filter hook forward priority 0; iifname "DEV" udp dport vmap { 53 : accept, 8080 : jump deny }; }; chain deny { counter reject with icmpx admin-prohibited; }; }`, table: "inet engine", chain: "deny"},
		"policy":             {rules: `table inet engine { ` + others + ` chain forward { type filter hook forward priority 0; policy drop; udp dport 53 accept; ct state established accept; }; }`, table: "inet engine", chain: "forward"},
		"one of two":         {rules: `table inet engine { chain forward { type filter hook forward priority 0; limit rate 1/day burst 1 packets udp dport 8080 drop; ip daddr 10.88.0.0/16 drop; }; }`},
		"pod's output":       {rules: `table inet sidecar { chain out { type filter hook output priority 0; ct state established accept; udp dport 8080 reject; }; }`, pod: true, table: "inet sidecar", chain: "out"},
		"pod's output, TCP":  {rules: `table inet sidecar { chain out { type filter hook output priority 0; ct state established accept; ip daddr 10.88.0.0/24 tcp dport 8080 reject with tcp reset; }; }`, pod: true, tcp: true, table: "inet sidecar", chain: "out"},
		"counters tell":      {rules: `table inet engine { chain forward { type filter hook forward priority 0; meta mark 0x7 counter drop; ip daddr 10.88.0.0/16 counter drop; }; }`, table: "inet engine", chain: "forward"},
		"pod's iptables":     {rules: `table ip filter { chain OUTPUT { type filter hook output priority 0; ip protocol udp udp dport 8080 counter drop comment "by hand"; }; }`, pod: true, table: "ip filter", chain: "OUTPUT"},
		"connection's state": {rules: `table inet engine { chain forward { type filter hook forward priority 0; ct state established,related accept; ct state new tcp dport 8080 drop; }; }`, tcp: true, table: "inet engine", chain: "forward"},
	} {
		t.Run(name, func(t *testing.T) {
			_, s, bed, pods := startBlaming(t, &wire.Options{Blame: true})
			in := bed.Node.Namespace
			if c.pod {
				in = pods[0].Namespace
			}
			run(t, in, "nft", strings.NewReplacer("DEV", pods[0].Device, "FAR", pods[1].Device).Replace(c.rules))
			to := at(pods[1], 0, 8080)
			if c.tcp {
				if bed.Try(pods[0], "tcp", to, 100*time.Millisecond) == nil {
					t.Fatal("it connects")
				}
			} else {
				_, _ = bed.Dial(pods[0], "udp", to).Write([]byte("x")) // once; a reject in the pod fails it at once
			}
			s.await(t, "the drop", func() bool {
				for _, d := range s.drops {
					u, _ := d.Tuple()
					if u.Destination != to || d.GetReasonName() != "NETFILTER_DROP" {
						continue
					}
					r := d.GetRule()
					got := r.GetFamily() + " " + r.GetTable()
					switch {
					case c.table == "" && r == nil:
					case r == nil || got != c.table || r.GetChain() != c.chain || !r.GetInferred():
						t.Fatalf("%v, of %v", r, d)
					}
					return true
				}
				return false
			})
		})
	}
}
