// SPDX-License-Identifier: Apache-2.0

package store

import "testing"

func TestCulprits(t *testing.T) {
	for _, c := range []struct {
		cause  Cause
		want   string
		benign bool
	}{
		{Cause{Enforced: true, Reason: "TC_EGRESS"}, "this session's lease", false},
		{Cause{Reason: "SKB_DROP_REASON_NETFILTER_DROP", Location: "nft_do_chain+0x5"}, "netfilter (nftables)", false},
		{Cause{Reason: "NETFILTER_DROP", Location: "nf_hook_slow+0xb1", Stack: []string{"ipt_do_table+3"}}, "netfilter (iptables)", false},
		{Cause{Reason: "NETFILTER_DROP", Location: "nf_hook_slow+0xb1"}, "netfilter", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "nfqnl_reinject+0x20"}, "policy engine in user space (NFQUEUE)", false},
		{Cause{Reason: "NO_SOCKET", Location: "tcp_v4_rcv+0x1"}, "no socket", false},
		{Cause{Reason: "TC_INGRESS", Device: "veth12"}, "eBPF program on veth12", false},
		{Cause{Reason: "TC_INGRESS"}, "eBPF program", false},
		{Cause{Reason: "IP_RPFILTER"}, "reverse-path filter", false},
		{Cause{Reason: "NEIGH_FAILED"}, "neighbour", false},
		{Cause{Reason: "PKT_TOO_BIG"}, "MTU", false},
		{Cause{Reason: "SOCKET_RCVBUFF"}, "socket buffer full", false},
		{Cause{Reason: "TCP_OLD_SEQUENCE"}, "TCP housekeeping", true},
		{Cause{Reason: "OTHERHOST"}, "not for this host", true},
		{Cause{Location: "ipt_do_table+0x4"}, "netfilter (iptables)", false},
		{Cause{Reason: "SOMETHING_NEW", Location: "foo+1"}, "kernel", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "tcp_v4_rcv+0x9"}, "TCP housekeeping", true},
		{Cause{Reason: "NOT_SPECIFIED", Location: "foo+0x9", Stack: []string{"tcp_v4_rcv+1"}}, "kernel", false},
		{Cause{}, "kernel", false},
	} {
		got := c.cause.Explain()
		if got.Culprit != c.want || got.Benign != c.benign || got.Sentence == "" {
			t.Errorf("%+v: %+v, want %q", c.cause, got, c.want)
		}
	}
}
