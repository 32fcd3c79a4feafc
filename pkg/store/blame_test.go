// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

func TestBlame(t *testing.T) {
	drop := func(table, chain, verdict, comment, text string) *flow.NftRule {
		r := &flow.NftRule{Family: "ip", Table: table, Chain: chain, Handle: 7, Verdict: verdict, Comment: comment, Text: text}
		r.Engine = Engine(r)
		return r
	}
	nft := Cause{Reason: "NETFILTER_DROP", Location: "nft_do_chain+0x5"}
	with := func(c Cause, change func(*Cause)) Cause { change(&c); return c }
	for name, c := range map[string]struct {
		cause   Cause
		culprit string
		says    []string
	}{
		"kube-router":   {with(nft, func(c *Cause) { c.Rule = drop("filter", "KUBE-NWPLCY-X", "drop", "rule of shop", "") }), "netfilter rule of kube-router", []string{"KUBE-NWPLCY-X", `"rule of shop"`, "kubectl ebpol explain"}},
		"Calico":        {with(nft, func(c *Cause) { c.Rule = drop("filter", "cali-tw-1", "drop", "", "") }), "netfilter rule of Calico", nil},
		"firewalld":     {with(nft, func(c *Cause) { c.Rule = drop("firewalld", "in", "drop", "", "reject") }), "netfilter rule of firewalld", []string{"rejected it"}},
		"nobody known":  {with(nft, func(c *Cause) { c.Rule = drop("x", "y", "drop", "", "") }), "netfilter rule", []string{"Rule 7 of chain y in table ip x dropped it", "nft -a list chain ip x y"}},
		"queue":         {Cause{Reason: "NOT_SPECIFIED", Location: "nfqnl_reinject+1", Rule: drop("x", "y", "queue 100", "", "")}, "netfilter rule of kube-network-policies", []string{"a program in user space"}},
		"emptied queue": {Cause{Reason: "NOT_SPECIFIED", Location: "nfqnl_reinject+0x95", Stack: []string{"nfqnl_nf_hook_drop+0x8e", "nf_queue_nf_hook_drop+0x26"}, Rule: drop("x", "y", "queue 100", "", "")}, "emptied netfilter queue", []string{"No policy denied it"}},
		"invalid":       {with(nft, func(c *Cause) { c.Rule = drop("x", "y", "drop", "", "ct state invalid drop") }), "netfilter rule, for connection tracking", []string{"asymmetric"}},
		"no endpoints": {with(nft, func(c *Cause) {
			c.Service, c.Rule = "shop/db", drop("kube-proxy", "reject-chain", "drop", "", "reject")
		}), "service without ready endpoints", []string{"shop/db", "endpointslices"}},
		"not kube-proxy's":  {with(nft, func(c *Cause) { c.Service, c.Rule = "shop/db", drop("x", "y", "drop", "", "") }), "netfilter rule", nil},
		"full conntrack":    {Cause{Reason: "NETFILTER_DROP", Location: "nf_hook_slow+1", Evidence: "conntrack-full 9 of 9"}, "connection tracking, table full", []string{"9 of 9", "nf_conntrack_max"}},
		"legacy":            {Cause{Reason: "NETFILTER_DROP", Location: "nf_hook_slow+1", Stack: []string{"ip_forward+2"}, Evidence: "iptables-legacy filter"}, "netfilter (iptables-legacy)", []string{"forward hook", "iptables-legacy-save"}},
		"blackhole":         {Cause{Reason: "NOT_SPECIFIED", Location: "ip_error+1", Evidence: "route-blackhole"}, "blackhole route", nil},
		"no route":          {Cause{Reason: "IP_INNOROUTES", Evidence: "route-none"}, "no route", nil},
		"programs":          {Cause{Reason: "TC_INGRESS", Device: "veth1", Programs: []string{"cil_from_container"}}, "eBPF program on veth1 (Cilium)", []string{"cil_from_container"}},
		"DNS":               {with(nft, func(c *Cause) { c.DNS, c.Rule = true, drop("x", "y", "drop", "", "") }), "netfilter rule", []string{"question to DNS", "allow egress to port 53"}},
		"DNS, nobody there": {Cause{Reason: "NO_SOCKET", DNS: true}, "no socket", []string{"question to DNS"}},
		"kubelet":           {with(nft, func(c *Cause) { c.FromNode, c.Rule = "n1", drop("x", "y", "drop", "", "") }), "netfilter rule", []string{"own node n1", "kubelet"}},
		"TTL":               {Cause{Reason: "IP_INHDR", Location: "ip_forward+1"}, "TTL", []string{"routing loop"}},
		"IP options":        {Cause{Reason: "IP_INHDR", Location: "ip_rcv_finish_core+1"}, "IP options", nil},
		// Kernels without reasons.
		"bare netfilter": {Cause{Location: "nf_hook_slow+1"}, "netfilter", nil},
		"bare neighbour": {Cause{Location: "neigh_invalidate+1"}, "neighbour", nil},
		"bare socket":    {Cause{Location: "__udp4_lib_rcv+1"}, "no socket", nil},
	} {
		got := c.cause.Explain()
		if got.Culprit != c.culprit || got.Benign {
			t.Errorf("%s: %+v", name, got)
		}
		for _, s := range c.says {
			if !strings.Contains(got.Sentence, s) {
				t.Errorf("%s: %q doesn't say %q", name, got.Sentence, s)
			}
		}
	}
}
