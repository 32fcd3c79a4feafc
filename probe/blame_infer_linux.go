// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/legacy"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
)

// inferred is what the ruleset said of packets of one kind, for a moment.
type inferred struct {
	rule *wire.NftRule // nil: it leaves that open
	at   time.Time
}

// inferKey is a kind of packets: all but the port that the sender chose.
type inferKey struct {
	netns uint64
	q     nft.Question
}

const (
	inferredFor = 2 * time.Second
	maxInferred = 512
	// inferEvery bounds how often a ruleset is read, which may be a large one.
	inferEvery = 50 * time.Millisecond
)

// infer names the rule that dropped a packet which no trace told of, if the
// ruleset holds only one that can have.
func (b *blamer) infer(d *wire.Drop) {
	b.mu.Lock()
	on := b.on
	b.mu.Unlock()
	tables, old := strings.CutPrefix(d.GetEvidence(), "iptables-legacy ")
	if d.GetRule() != nil || d.GetEvidence() != "" && !old || !on || !byNetfilter(d) || !strings.HasPrefix(d.GetLocation(), "nf_hook_slow") && d.GetReasonName() != "NETFILTER_DROP" {
		return
	}
	q, ok := questionOf(d)
	if !ok {
		return
	}
	k := inferKey{d.GetNetns(), *q}
	k.q.SourcePort = 0
	if known, ok := b.inferred[k]; ok && time.Since(known.at) < inferredFor {
		d.Rule = known.rule
		return
	}
	if time.Since(b.inferredAt) < inferEvery {
		return // its like comes again
	}
	path, there := b.paths(d.GetNetns())
	if !there {
		return
	}
	if b.unable == nil {
		d.Rule = inferNew(path, q)
	}
	if old {
		of := inferOld(path, strings.Split(tables, ", "), q)
		if d.Rule == nil {
			d.Rule = of
		} else if of != nil {
			d.Rule = nil // either
		}
	}
	b.inferredAt = time.Now()
	if len(b.inferred) >= maxInferred {
		clear(b.inferred)
	}
	b.inferred[k] = inferred{d.GetRule(), b.inferredAt}
}

// inferNew asks nftables.
func inferNew(path string, q *nft.Question) *wire.NftRule {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	step, rule, err := nft.Infer(int(file.Fd()), q)
	if err != nil {
		return nil
	}
	r := wireRule(step, rule)
	r.Inferred = true
	return r
}

// inferOld asks the old iptables.
func inferOld(path string, tables []string, q *nft.Question) (r *wire.NftRule) {
	_ = inside(path, func() error { // a namespace that has gone has no rules
		found, err := legacy.Find(tables, &legacy.Question{
			Protocol: q.Protocol, Source: netip.AddrPortFrom(q.Source, q.SourcePort), Destination: netip.AddrPortFrom(q.Destination, q.DestinationPort),
			Flags: q.Flags, Hook: q.Hook, Device: q.Device,
		})
		if err != nil {
			return err
		}
		r = &wire.NftRule{
			Family: found.Family, Table: wire.Clean(found.Table, 256), Chain: wire.Clean(found.Chain, 256), Handle: uint64(found.Number), //nolint:gosec // counted
			Verdict: "drop", Comment: wire.Clean(found.Comment, 400), Text: "-j " + wire.Clean(found.Target, 32), Inferred: true,
		}
		return nil
	})
	return r
}

// netfilterHooks are the functions that call netfilter, by the hook.
var netfilterHooks = []struct {
	symbol, hook string
	bridge       bool
}{
	{"br_nf_pre_routing", "prerouting", true},
	{"br_handle_frame", "prerouting", true},
	{"br_nf_local_in", "input", true},
	{"br_pass_frame_up", "input", true},
	{"br_nf_forward", "forward", true},
	{"__br_forward", "forward", true},
	{"br_nf_post_routing", "postrouting", true},
	{"br_forward_finish", "postrouting", true},
	{"ip_forward", "forward", false},
	{"ip6_forward", "forward", false},
	{"ip_local_deliver", "input", false},
	{"ip6_input", "input", false},
	{"ip_rcv", "prerouting", false},
	{"ipv6_rcv", "prerouting", false},
	{"__ip_local_out", "output", false},
	{"__ip6_local_out", "output", false},
	{"ip6_xmit", "output", false},
	{"ip_output", "postrouting", false},
	{"ip6_output", "postrouting", false},
	{"__netif_receive_skb_core", "ingress", false},
	{"__dev_queue_xmit", "egress", false},
}

// questionOf asks the ruleset about a sample; false if its place tells no hook.
func questionOf(d *wire.Drop) (*nft.Question, bool) {
	t, ok := d.Tuple()
	if !ok {
		return nil, false
	}
	for _, f := range d.GetStack() {
		symbol, _, _ := strings.Cut(f, "+")
		symbol, _, _ = strings.Cut(symbol, ".") // what the compiler made of it
		for _, h := range netfilterHooks {
			if symbol == h.symbol {
				return &nft.Question{
					Packet: packetOf(&t), Flags: byte(d.GetTcpFlags()), Hook: h.hook, Bridge: h.bridge, Device: d.GetDevice(),
				}, true
			}
		}
	}
	return nil, false
}
