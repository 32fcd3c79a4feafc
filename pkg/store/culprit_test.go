// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

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
		// What the sockets themselves told the probe.
		{Cause{Reason: "TCP_LISTEN_OVERFLOW", Location: "tcp_conn_request", Evidence: "listen-full 129 of 128"}, "listen queue full", false},
		{Cause{Reason: "TCP_OLD_SEQUENCE", Location: "tcp_validate_incoming+1", Evidence: "unread 2896"}, "socket buffer full", false},
		// kube-proxy says by its names what it refuses.
		{Cause{Reason: "NETFILTER_DROP", Asked: "shop/db", Rule: &flow.NftRule{Table: "kube-proxy", Chain: "service-endpoints-check", Handle: 45, Engine: "kube-proxy"}}, "service without local endpoints", false},
		{Cause{Reason: "NETFILTER_DROP", Rule: &flow.NftRule{Table: "filter", Chain: "KUBE-EXTERNAL-SERVICES", Comment: "shop/db:http has no local endpoints", Engine: "kube-proxy"}}, "service without local endpoints", false},
		{Cause{Reason: "NETFILTER_DROP", Asked: "shop/db", Rule: &flow.NftRule{Table: "kube-proxy", Chain: "cluster-ips-check", Handle: 38, Engine: "kube-proxy"}}, "service without that port", false},
		{Cause{Reason: "NETFILTER_DROP", Rule: &flow.NftRule{Table: "kube-proxy", Chain: "filter-forward", Handle: 3, Engine: "kube-proxy"}}, "netfilter rule of kube-proxy", false},
		// The same reason, in the pod that it was for.
		{Cause{Reason: "OTHERHOST", Within: "shop/db", Own: true}, "hardware address", false},
		{Cause{Reason: "OTHERHOST", Within: "shop/web"}, "not for this host", true},
		// A filter of an application that captures is ordinary life, one on the way to a socket isn't.
		{Cause{Reason: "SOCKET_FILTER", Location: "tcp_v4_rcv+0x91"}, "socket filter", false},
		{Cause{Reason: "SOCKET_FILTER", Location: "packet_rcv+0x1"}, "socket filter", true},
		{Cause{Reason: "SOCKET_FILTER", Location: "tcp_v6_rcv+0x91", Programs: []string{"sd_fw_ingress"}}, "eBPF program of a cgroup", false},
		// Where the kernel says nothing, the place does, not who called it.
		{Cause{Reason: "NOT_SPECIFIED", Location: "do_xdp_generic+0x284", Stack: []string{"__netif_receive_skb_core.constprop.0+1"}, Device: "veth1"}, "XDP program on veth1", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "__dev_forward_skb2+0x87", Stack: []string{"__dev_queue_xmit+1", "neigh_resolve_output+2"}}, "MTU", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "br_dev_queue_push_xmit+1", Stack: []string{"__netif_receive_skb_core+1"}}, "bridge", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "neigh_invalidate+0x7e"}, "neighbour", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "foo+1", Stack: []string{"neigh_resolve_output+2"}}, "kernel", false},
		{Cause{Reason: "IP_INADDRERRORS", Location: "ip6_forward+0x642"}, "forwarding off", false},
		{Cause{Reason: "UNHANDLED_PROTO", Location: "ip6_tlvopt_unknown+0x79"}, "IP options", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "ip_defrag+1"}, "fragments", false},
		{Cause{Reason: "TCP_MD5NOTFOUND", Location: "tcp_v4_rcv+0x91"}, "TCP signature", false},
		{Cause{Reason: "SOMETHING_NEW", Location: "foo+1"}, "kernel", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "tcp_v4_rcv+0x9"}, "TCP housekeeping", true},
		{Cause{Reason: "NOT_SPECIFIED", Location: "foo+0x9", Stack: []string{"tcp_v4_rcv+1"}}, "kernel", false},
		{Cause{}, "kernel", false},
		// A packet without an IP header, known by its socket.
		{Cause{Reason: "NOT_SPECIFIED", Location: "inet6_csk_xmit+0x135"}, "no route", false},
		// Kernels without reasons.
		{Cause{Location: "nf_hook_slow+0xb1"}, "netfilter", false},
		{Cause{Location: "__udp4_lib_rcv+0xb1"}, "no socket", false},
		{Cause{Location: "__udp6_lib_rcv+0xb1"}, "no socket", false},
		{Cause{Location: "ip_rcv_finish_core.isra.0+0xb1"}, "routing of what comes in", false},
		{Cause{Location: "ip_forward+0x1"}, "forwarding", false},
		{Cause{Location: "__ip_queue_xmit+0x1"}, "no route", false},
		{Cause{Location: "arp_error_report+0x1"}, "neighbour", false},
		{Cause{Location: "tcp_v4_rcv+0x9"}, "TCP", true},
		{Cause{Location: "something_else+0x9"}, "kernel", false},
		// Nodes that hide where: who can't be known by the reason alone isn't blamed.
		{Cause{Reason: "NO_SOCKET", Location: "0xffffffff81"}, "no socket", false},
		{Cause{Reason: "NETFILTER_DROP", Location: "0xffffffff81"}, "netfilter", false},
		{Cause{Reason: "IP_INHDR", Location: "0xffffffff81"}, "kernel", false},
		{Cause{Reason: "NOT_SPECIFIED", Location: "0xffffffff81"}, "kernel", false},
		{Cause{Location: "0xffffffff81"}, "kernel", false},
	} {
		got := c.cause.Explain()
		if got.Culprit != c.want || got.Benign != c.benign || got.Sentence == "" {
			t.Errorf("%+v: %+v, want %q", c.cause, got, c.want)
		}
	}
}

// TestHiddenPlace: where the node hides the names of functions no sentence
// claims what only they could tell.
func TestHiddenPlace(t *testing.T) {
	for _, reason := range []string{"NETFILTER_DROP", "IP_INHDR", "NOT_SPECIFIED", "", "SOMETHING_NEW"} {
		e := (Cause{Reason: reason, Location: "0xffffffff81abcdef"}).Explain()
		if !strings.Contains(e.Sentence, "kptr_restrict") || !strings.Contains(e.Sentence, "isn't known") || strings.Contains(e.Sentence, "0xffff") {
			t.Errorf("%q: %+v", reason, e)
		}
	}
	rule := &flow.NftRule{Family: "inet", Table: "engine", Chain: "pods", Handle: 7, Verdict: "drop"}
	if e := (Cause{Reason: "NETFILTER_DROP", Location: "0xffffffff81abcdef", Rule: rule}).Explain(); e.Culprit != "netfilter rule" || strings.Contains(e.Sentence, "kptr") {
		t.Errorf("with its rule: %+v", e)
	}
}

// TestWhereToLook: what a pod's own network namespace dropped isn't to be looked
// for on the node.
func TestWhereToLook(t *testing.T) {
	rule := &flow.NftRule{Family: "inet", Table: "sidecar", Chain: "in", Handle: 7, Verdict: "drop"}
	for _, c := range []Cause{
		{Reason: "NETFILTER_DROP", Location: "nft_do_chain+1", Rule: rule},
		{Reason: "NETFILTER_DROP", Location: "nft_do_chain+1"},
		{Reason: "IP_RPFILTER"},
		{Reason: "NEIGH_FAILED"},
		{Reason: "NETFILTER_DROP", Evidence: "iptables-legacy filter"},
		{Reason: "IP_OUTNOROUTES"},
	} {
		if s := c.Explain().Sentence; !strings.Contains(s, "node") || strings.Contains(s, "kubectl debug") {
			t.Errorf("%+v: %s", c, s)
		}
		c.Within = "shop/db"
		if s := c.Explain().Sentence; strings.Contains(s, "on the node") || !strings.Contains(s, "in the network namespace of pod shop/db") || !strings.Contains(s, "kubectl debug -it -n shop db ") {
			t.Errorf("%+v: %s", c, s)
		}
	}
}

// TestHookOfAnUnknownRule: where the rule isn't known, at least its hook is.
func TestHookOfAnUnknownRule(t *testing.T) {
	for _, c := range []struct{ hook, stack string }{
		{"ingress", "nft_do_chain_netdev+1 nf_hook_slow+1 __netif_receive_skb_core.constprop.0+1 __netif_receive_skb_one_core+1"},
		{"egress", "nft_do_chain_netdev+1 nf_hook_slow+1 __dev_queue_xmit+1 ip_finish_output2+1 ip_output+1"},
		{"prerouting", "nft_do_chain_ipv4+1 nf_hook_slow+1 ip_rcv+1 __netif_receive_skb_one_core+1"},
		{"input", "nft_do_chain_inet+1 nf_hook_slow+1 ip_local_deliver+1 __netif_receive_skb_one_core+1"},
	} {
		e := (Cause{Reason: "NETFILTER_DROP", Location: "nft_do_chain+0x3e8", Stack: strings.Fields(c.stack)}).Explain()
		if !strings.Contains(e.Sentence, "at the "+c.hook+" hook") {
			t.Errorf("%s: %s", c.hook, e.Sentence)
		}
	}
}
