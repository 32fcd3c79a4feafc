// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
)

// space is one namespace that is traced.
type space struct {
	inode   uint64
	path    string
	tracer  *nft.Tracer
	traces  map[uint32]*trace // newest ones, by the kernel's number
	devices map[uint32]string
	used    time.Time
}

// trace is what was said of one packet so far.
type trace struct {
	packet nft.Packet
	hook   string
	caught bool
}

// end is a packet that went no further, as it then was.
type end struct {
	netns  uint64
	packet nft.Packet
}

type ending struct {
	rule *wire.NftRule
	at   time.Time
}

// step takes one message. Only the tracer's goroutine calls it.
func (b *blamer) step(s *space, step *nft.Step) {
	if step.Ours() {
		if step.Packet.Source.IsValid() {
			b.first(s, step)
		}
		return
	}
	t := b.first(s, step)
	caught := t != nil && t.caught
	if t == nil || step.Returned || !step.Ended && !caught {
		return
	}
	rule := s.rule(step)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	token(b.caught)
	if step.Ended {
		s.used = now
		if len(b.ends) >= maxEnds {
			clear(b.ends)
		}
		b.ends[end{s.inode, t.packet}] = ending{rule, now}
	}
	if caught && len(b.hops) < maxHops {
		b.hops = append(b.hops, &wire.Hop{
			TimeNs: kernel.Boottime().Nanoseconds(), Trace: step.Trace, Netns: s.inode, Protocol: uint32(t.packet.Protocol),
			Src: t.packet.Source.AsSlice(), Dst: t.packet.Destination.AsSlice(), Sport: uint32(t.packet.SourcePort), Dport: uint32(t.packet.DestinationPort),
			Rule: rule, Hook: t.hook, DeviceIn: s.device(step.In), DeviceOut: s.device(step.Out),
		})
	}
}

// first finds what is known of the step's packet, and notes how it looks now.
func (b *blamer) first(s *space, step *nft.Step) *trace {
	t := s.traces[step.Trace]
	if t == nil {
		if !step.Packet.Source.IsValid() {
			return nil // its beginning was lost
		}
		if len(s.traces) >= maxTraces {
			clear(s.traces)
		}
		t = &trace{}
		s.traces[step.Trace] = t
	}
	if step.Packet.Source.IsValid() {
		t.packet, t.hook = step.Packet, s.tracer.Hook(step)
		if !t.caught {
			b.mu.Lock()
			t.caught = b.catch.matches(&t.packet)
			b.mu.Unlock()
		}
	}
	return t
}

func (s *space) rule(step *nft.Step) *wire.NftRule {
	return wireRule(step, s.tracer.Rule(step))
}

func wireRule(step *nft.Step, r nft.Rule) *wire.NftRule {
	return &wire.NftRule{
		Family: step.Family.String(), Table: wire.Clean(step.Table, 256), Chain: wire.Clean(step.Chain, 256), Handle: step.Handle,
		Verdict: wire.Clean(step.Verdict, 256), Comment: wire.Clean(r.Comment, 400), Text: wire.Clean(r.Text, 400),
	}
}

// device is what the namespace calls an interface. Only the tracer's goroutine
// calls it.
func (s *space) device(index uint32) string {
	if index == 0 {
		return ""
	}
	if n, ok := s.devices[index]; ok {
		return n
	}
	if len(s.devices) >= maxDevices {
		clear(s.devices)
	}
	name := ""
	if h, file, err := handleAt(s.path); err == nil {
		if l, err := h.LinkByIndex(int(index)); err == nil {
			name = l.Attrs().Name
		}
		h.Close()
		file.Close()
	}
	s.devices[index] = name
	return name
}

const maxDevices = 1024

// byNetfilter says whether a sample is of a packet that a rule may have ended.
func byNetfilter(d *wire.Drop) bool {
	switch d.GetReasonName() {
	case "NETFILTER_DROP":
		return true
	case "", "NOT_SPECIFIED":
	default:
		return false
	}
	for _, f := range append([]string{d.GetLocation()}, d.GetStack()...) {
		for _, by := range []string{"nf_hook_slow", "nft_do_chain", "nfqnl_", "nf_reinject"} {
			if strings.HasPrefix(f, by) {
				return true
			}
		}
	}
	return false
}

// explain adds the rule that ended a packet. It says false if it may still
// become known, and traces what else its sender sends.
func (b *blamer) explain(d *wire.Drop) bool {
	b.mu.Lock()
	on := b.on
	b.mu.Unlock()
	if !on || !byNetfilter(d) {
		return true
	}
	s := b.arm(d.GetNetns())
	if s == nil {
		return true
	}
	t, ok := d.Tuple()
	if !ok {
		return true
	}
	p := packetOf(&t)
	b.mu.Lock()
	s.used = time.Now()
	found, ok := b.ends[end{s.inode, p}]
	b.mu.Unlock()
	if ok && time.Since(found.at) < endsFor {
		d.Rule = found.rule
		return true
	}
	_ = s.tracer.Want(p.Source) // without it only fewer drops name their rule
	return false
}

func packetOf(t *flow.Tuple) nft.Packet {
	return nft.Packet{
		Protocol: uint8(t.Protocol), Source: t.Source.Addr().Unmap(), Destination: t.Destination.Addr().Unmap(),
		SourcePort: t.Source.Port(), DestinationPort: t.Destination.Port(),
	}
}
