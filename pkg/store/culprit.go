// SPDX-License-Identifier: Apache-2.0

package store

import (
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Cause is what the kernel tells of a drop.
type Cause struct {
	Reason   string // name as in the running kernel's BTF, with or without SKB_DROP_REASON_
	Location string // symbol+offset
	Stack    []string
	Device   string
	Enforced bool // our own lease

	Rule     *flow.NftRule // the very rule, where netfilter dropped it and the packet was traced
	Programs []string      // BPF programs on the hook that dropped it
	Evidence string        // what the probe found out beside

	Within string // namespace/name of the pod in whose own network namespace it was; empty: the node's, or not known
	Own    bool   // that pod is the one it was for

	Asked    string // namespace/name of a service that the packet was for
	Service  string // that service, if it has no ready endpoint
	DNS      bool   // it is a question to a name server
	FromNode string // the node that the destination pod is on, if it sent the packet
}

// Explanation is a cause in words.
type Explanation struct {
	Culprit  string
	Sentence string
	Benign   bool

	policy bool // a rule or program that may stand for a network policy
	inside bool // it had come to the pod that it was for
}

// Explain says who dropped a packet and why. What it doesn't know it calls by
// the kernel's own name and blames nobody.
func (c Cause) Explain() Explanation {
	e := c.explain()
	e.inside = c.Within != "" && c.Own
	if e.Benign {
		return e
	}
	c.there(&e)
	if c.DNS {
		e.Sentence += " It is a question to DNS, without which the pod finds no names"
		if e.policy {
			e.Sentence += ": allow egress to port 53, UDP and TCP"
		}
		e.Sentence += "."
	}
	if c.FromNode != "" && e.policy {
		e.Sentence += " It comes from the pod's own node " + c.FromNode + ", most likely a probe of the kubelet: let the node in, or the pod will be restarted or taken out of its services."
	}
	return e
}

func (c *Cause) explain() Explanation {
	netfilter := c.netfilter()
	switch {
	case c.Own && strings.TrimPrefix(c.Reason, "SKB_DROP_REASON_") == "OTHERHOST":
		return wrongMAC
	case strings.TrimPrefix(c.Reason, "SKB_DROP_REASON_") == "SOCKET_FILTER" && len(c.Programs) > 0:
		e := cgroupIn
		c.byPrograms(&e)
		return e
	case c.Enforced:
		return Explanation{
			Culprit:  "this session's lease",
			Sentence: "A policy that you enforce with this session denies it; it is free again when the lease ends. Set the policy to dry-run, or end the session, to let it through now.",
			policy:   true,
		}
	case slices.ContainsFunc(c.Stack, func(f string) bool { return strings.HasPrefix(f, "nfqnl_nf_hook_drop") }):
		return emptied
	case c.Service != "" && netfilter && (c.Rule == nil || c.Rule.Engine == "kube-proxy"):
		return c.noEndpoints()
	case c.Rule != nil:
		if c.Rule.Engine == "kube-proxy" {
			if e, ok := c.byProxy(); ok {
				return e
			}
		}
		e := c.byRule()
		e.policy = true
		return e
	}
	if e, ok := c.byUnsent(); ok {
		return e
	}
	if e, ok := c.byEvidence(); ok {
		return e
	}
	e := c.byTable()
	reason := strings.TrimPrefix(c.Reason, "SKB_DROP_REASON_")
	e.policy = netfilter || reason == "XDP" || strings.HasPrefix(reason, "TC_")
	c.byPrograms(&e)
	return e
}

var (
	wrongMAC = Explanation{Culprit: "hardware address", Sentence: "It came to the pod with another machine's hardware address (MAC): whoever sent it to the pod's interface remembers an old one. Look at ip neigh on the pod's node."}
	cgroupIn = Explanation{Culprit: "eBPF program of a cgroup", Sentence: "A cgroup program refused to let it in: usually a runtime's or the CNI's policy. List it with bpftool cgroup tree on the pod's node.", policy: true}
)

// emptied: nfqnl_nf_hook_drop of net/netfilter/nfnetlink_queue.c, which the
// kernel calls whenever a hook is unregistered, whoever's it is.
var emptied = Explanation{Culprit: "emptied netfilter queue", Sentence: "It waited for the verdict of a program in user space (NFQUEUE) when somebody took a chain away from the node's nftables, or failed to add one: the kernel then drops all that waits. No policy denied it, and a packet that is sent again gets through. Look in the log of the network policy agent for how often it changes its rules."}

// there says where to look, if it isn't on the node but in a pod's own network
// namespace.
func (c *Cause) there(e *Explanation) {
	if c.Within == "" {
		return
	}
	namespace, pod, _ := strings.Cut(c.Within, "/")
	was := e.Sentence
	at := " in the network namespace of pod " + c.Within
	e.Sentence = strings.NewReplacer(" in the pod and on the node", at, " on the node", at).Replace(was)
	if e.Sentence != was {
		e.Sentence += " (kubectl debug -it -n " + namespace + " " + pod + " --profile=netadmin --image=... enters it)"
		e.Sentence = strings.Replace(e.Sentence, ". (kubectl", " (kubectl", 1) + "."
	}
}

// netfilter says whether one of its rules or hooks dropped the packet.
func (c *Cause) netfilter() bool {
	switch strings.TrimPrefix(c.Reason, "SKB_DROP_REASON_") {
	case "NETFILTER_DROP":
		return true
	case "", "NOT_SPECIFIED":
		return c.at(c.Location, "nf_hook_slow") || c.at(c.Location, "nfqnl_") || c.at(c.Location, "nft_do_chain")
	}
	return false
}

// byTable explains by what the kernel says of every drop.
func (c *Cause) byTable() Explanation {
	reason := strings.TrimPrefix(c.Reason, "SKB_DROP_REASON_")
	symbol, _, _ := strings.Cut(c.Location, "+")
	hidden, open := strings.HasPrefix(symbol, "0x"), false
	for i := range culprits {
		k := &culprits[i]
		if !k.fits(reason) {
			continue
		}
		if k.symbol != "" && hidden {
			open = open || k.reason == reason // the place would have decided
			continue
		}
		if k.symbol != "" && !c.at(symbol, k.symbol) {
			continue
		}
		if open {
			return c.placeHidden(reason)
		}
		e := k.Explanation
		if h := c.hook(); h != "" {
			e.Sentence = strings.Replace(e.Sentence, "dropped or rejected it:", "dropped or rejected it at the "+h+" hook:", 1)
		}
		if c.Device != "" {
			e.Culprit = strings.ReplaceAll(e.Culprit, "DEVICE", c.Device)
			e.Sentence = strings.ReplaceAll(e.Sentence, "DEVICE", c.Device)
		} else {
			e.Culprit = strings.TrimSuffix(e.Culprit, " on DEVICE")
			e.Sentence = strings.ReplaceAll(e.Sentence, " on DEVICE", "")
		}
		return e
	}
	if hidden {
		return c.placeHidden(reason)
	}
	name := reason
	if name == "" || name == "NOT_SPECIFIED" {
		name = "no reason given"
	}
	if symbol != "" {
		name += " at " + symbol
	}
	return Explanation{Culprit: "kernel", Sentence: "The kernel freed the packet: " + name + ". Look the name up in the kernel's sources (include/net/dropreason-core.h)."}
}

// placeHidden is all that can be said where the place of a drop would tell who
// did it, and the node keeps it from us.
func (c *Cause) placeHidden(reason string) Explanation {
	const hides = "the node hides the names of its kernel's functions (kernel.kptr_restrict), so who dropped it isn't known."
	switch reason {
	case "NETFILTER_DROP":
		return Explanation{Culprit: "netfilter", Sentence: "Netfilter dropped it, by a rule or a hook of its own; " + hides + " Look at nft list ruleset, iptables-save -c and conntrack -S on the node."}
	case "", "NOT_SPECIFIED":
		return Explanation{Culprit: "kernel", Sentence: "The kernel freed the packet and gave no reason; " + hides}
	}
	return Explanation{Culprit: "kernel", Sentence: "The kernel freed the packet: " + reason + "; " + hides}
}

func (k *culprit) fits(reason string) bool {
	switch k.reason {
	case none:
		return reason == ""
	case "":
		return reason == "" || reason == "NOT_SPECIFIED"
	}
	start, any := strings.CutSuffix(k.reason, "*")
	return reason == k.reason || any && strings.HasPrefix(reason, start)
}

// at: the symbol, or one of the callers if the location itself is only the
// function that frees, starts with prefix.
func (c *Cause) at(symbol, prefix string) bool {
	prefix, itself := strings.CutPrefix(prefix, "=")
	if strings.HasPrefix(symbol, prefix) || itself {
		return strings.HasPrefix(symbol, prefix)
	}
	for _, f := range c.Stack {
		if strings.HasPrefix(f, prefix) {
			return true
		}
	}
	return false
}
