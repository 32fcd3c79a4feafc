// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"math/bits"
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// writeSets brings each address up to date whose sets are new or have changed.
// What the sets refer to is there already.
func (t *tables) writeSets(d *ruleset.Delta) error {
	changed := make(map[ruleset.SetID]bool)
	for i := range d.PutSets {
		v := setValue(&d.PutSets[i])
		if old := t.sets[d.PutSets[i].ID]; old != nil {
			v.Other = old.Other
		}
		t.sets[d.PutSets[i].ID] = &v
		changed[d.PutSets[i].ID] = true
	}
	// A set knows the classes of the ports that nothing names: those of port 0.
	// A whole ruleset may have come in place of one with other such entries.
	others := make(map[ruleset.SetID]bool)
	for _, list := range [][]ruleset.Port{d.PutPorts, d.DelPorts} {
		for _, p := range list {
			if p.Port == 0 {
				others[p.Set] = true
			}
		}
	}
	if d.From == 0 {
		others = changed
	}
	gone := make(map[ruleset.Port]bool)
	for _, p := range d.DelPorts {
		gone[ruleset.Port{Set: p.Set, Protocol: p.Protocol, Port: p.Port}] = true
	}
	put := make(map[ruleset.Port]bool)
	for _, p := range d.PutPorts {
		put[ruleset.Port{Set: p.Set, Protocol: p.Protocol, Port: p.Port}] = true
	}
	for id := range others {
		set := t.sets[id]
		if set == nil {
			continue
		}
		set.Other = t.others(id, func(p ruleset.Port) bool { return d.From == 0 && !put[p] || gone[p] })
		changed[id] = true
	}
	for _, e := range d.PutEndpoints {
		t.at(e.IP).rule = e
	}
	fresh := make(map[netip.Addr]bool, len(d.PutEndpoints))
	for _, e := range d.PutEndpoints {
		fresh[e.IP] = true
	}
	for ip, l := range t.local {
		if fresh[ip] || changed[l.rule.Ingress] || changed[l.rule.Egress] {
			if err := t.putLocal(ip, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// others are the classes of a set's entries for port 0, but of those that are
// about to go.
func (t *tables) others(id ruleset.SetID, gone func(ruleset.Port) bool) (other [4]uint16) {
	class := func(protocol flow.Protocol) (uint16, bool) {
		var c uint32
		p := ruleset.Port{Set: id, Protocol: uint8(protocol)}
		if gone(p) || t.maps.Ports.Lookup(portKey(p), &c) != nil {
			return 0, false
		}
		return uint16(c), true
	}
	all, _ := class(0)
	other = [...]uint16{all, all, all, all}
	for i, p := range []flow.Protocol{flow.TCP, flow.UDP, flow.SCTP} {
		if c, ok := class(p); ok {
			other[i] = c
		}
	}
	return other
}

func setValue(s *ruleset.Set) bpf.FlowSet {
	v := bpf.FlowSet{
		Id: uint32(s.ID), AdminEnd: s.AdminEnd, IsolateStart: s.IsolateStart, BaselineStart: s.BaselineStart,
		Always: bpf.FlowBitmap{Word: s.Always}, Deny: bpf.FlowBitmap{Word: s.Deny}, Pass: bpf.FlowBitmap{Word: s.Pass},
		Current: bpf.FlowBitmap{Word: s.Current}, Candidate: bpf.FlowBitmap{Word: s.Candidate}, Enforced: bpf.FlowBitmap{Word: s.Enforced},
	}
	set := func(f bpf.FlowSetFlags, on bool) {
		if on {
			v.Flags |= uint16(f)
		}
	}
	denies := func(mode ruleset.Bitmap) bool {
		n := 0
		for i := range mode {
			n += bits.OnesCount64(mode[i] & s.Deny[i])
		}
		return n > 0
	}
	set(bpf.FlowSetFlagsSET_RANGES, s.Ranges)
	set(bpf.FlowSetFlagsSET_SAME, s.Current == s.Candidate)
	set(bpf.FlowSetFlagsSET_ENFORCED, denies(s.Enforced))
	return v
}
