// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"math/bits"
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Packet is the packet that opens a connection, seen from the endpoint that
// is judged.
type Packet struct {
	Direction flow.Direction // Ingress: the peer opened it; Egress: the endpoint did
	Protocol  flow.Protocol
	Local     netip.Addr // the endpoint's
	Peer      netip.Addr // as the endpoint sees it: a service's address, if it speaks to one
	Port      uint16     // of the destination, host order; 0 for protocols without ports
}

// Judgement is what one mode mask says.
type Judgement struct {
	Verdict flow.Verdict
	Bit     int          // deciding bit of the reading that enforcement takes; -1: none
	Alt     flow.Verdict // valid iff Verdict is Contested: the reading that enforcement does not take, Allow or Deny
}

// Result is what a set says about a packet, for all three modes.
type Result struct {
	Set       SetID // 0: the endpoint isn't isolated there, or isn't known
	Current   Judgement
	Candidate Judgement
	Drop      bool // the Enforced mask denies, in the reading that enforcement takes
	Service   bool // the peer's address and port are those of a service
}

// undecided is the rule for what the policies' text leaves open, in one place
// for the compiled tables, the kernel (bpf/lib/judge.h) and whoever explains.
//
//   - NetworkPolicy defines nothing outside TCP, UDP and SCTP. If such a packet
//     would be denied by a default deny, that is contested; enforcement allows
//     (SEMANTICS case 36). A deny rule of another tier that matches it stands.
//   - If Bits and Alt of the Match decide otherwise, that is contested;
//     enforcement takes Bits. So it is in the modes that the Match leaves Open:
//     there are readings that no other bitmap says in both modes.
//
// Alt is the reading that enforcement does not take.
// A set of zero, the endpoint's own address, and packets from the endpoint's
// own node are allowed before any of this is asked (cases 21 and 24).
func (q question) undecided(mode Bitmap, open bool) (Judgement, bool) {
	s := q.set
	first, second := s.decide(q.bits, mode), s.decide(q.alt, mode)
	j := Judgement{Verdict: first.verdict, Bit: first.bit}
	switch {
	case first.byDefault(s) && !q.protocol.HasPorts():
		return Judgement{Verdict: flow.Contested, Bit: first.bit, Alt: flow.Deny}, false
	case open, first.verdict != second.verdict:
		j.Verdict, j.Alt = flow.Contested, flow.Deny
		if first.verdict == flow.Deny {
			j.Alt = flow.Allow
		}
	}
	return j, first.verdict == flow.Deny
}

// question is what the look-ups found.
type question struct {
	set       *Set
	protocol  flow.Protocol
	bits, alt Bitmap
	open      Modes
}

type decision struct {
	verdict flow.Verdict
	bit     int // -1: none
}

func (d decision) byDefault(s *Set) bool {
	return d.verdict == flow.Deny && d.bit >= int(s.IsolateStart) && d.bit < int(s.BaselineStart)
}

// decide is the verdict function of Set for one mode mask.
func (s *Set) decide(matches, mode Bitmap) decision {
	from := 0
	for {
		bit := firstBit(matches, s.Always, mode, from)
		switch {
		case bit < 0:
			return decision{flow.Allow, -1}
		case s.Deny.Has(bit):
			return decision{flow.Deny, bit}
		case s.Pass.Has(bit) && bit < int(s.AdminEnd):
			from = int(s.AdminEnd)
		default:
			return decision{flow.Allow, bit}
		}
	}
}

// Decide is the verdict of the set for some matches under one mode mask,
// before the open cases: Allow or Deny, and the deciding bit, -1 if none.
func (s *Set) Decide(matches, mode Bitmap) (flow.Verdict, int) {
	d := s.decide(matches, mode)
	return d.verdict, d.bit
}

func (b Bitmap) meets(other Bitmap) bool {
	for i := range b {
		if b[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

// firstBit finds the lowest bit, from the given one on, of (matches|always)&mode.
func firstBit(matches, always, mode Bitmap, from int) int {
	for w := from / 64; w < Words; w++ {
		word := (matches[w] | always[w]) & mode[w]
		if w == from/64 {
			word &= ^uint64(0) << (from % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// Judge answers for one packet. It never fails: what isn't known isn't
// isolated.
func (t *Table) Judge(p Packet) Result {
	allow := Judgement{Verdict: flow.Allow, Bit: -1}
	r := Result{Current: allow, Candidate: allow}
	e := t.endpoint(p.Local)
	if p.Direction == flow.Egress {
		r.Set = e.Egress
	} else {
		r.Set = e.Ingress
	}
	set := t.set(r.Set)
	if set == nil {
		r.Set = 0
		return r
	}
	if p.Local == p.Peer {
		return r
	}

	class, flags := t.peer(p.Peer)
	if p.Direction == flow.Ingress && flags&PeerLocalNode != 0 {
		return r
	}
	var service Service
	if p.Direction == flow.Egress {
		service, r.Service = t.service(serviceKey{p.Peer, uint8(p.Protocol), p.Port})
	}
	var ports PortClass
	if r.Service {
		class, ports = service.Class, ServicePorts
	} else {
		ports = t.port(set, uint8(p.Protocol), p.Port)
	}

	q := question{set: set, protocol: p.Protocol}
	m := t.match(matchKey{set.ID, class, ports})
	if m == nil {
		m = t.match(matchKey{set.ID, 0, ports})
	}
	if m != nil {
		q.bits, q.alt, q.open = m.Bits, m.Alt, m.Open
	}
	r.Current, _ = q.undecided(set.Current, q.open&Current != 0)
	if r.Candidate = r.Current; set.Candidate != set.Current {
		r.Candidate, _ = q.undecided(set.Candidate, q.open&Candidate != 0)
	}
	_, r.Drop = q.undecided(set.Enforced, false)
	return r
}

// port follows Port and PortRange: the port itself, the longest run it is in,
// the protocol's other ports, everything else.
func (t *Table) port(set *Set, protocol uint8, port uint16) PortClass {
	if c, ok := t.portOf(portKey{set.ID, protocol, port}); ok {
		return c
	}
	if set.Ranges {
		for n := uint8(16); ; n-- {
			start := uint16(uint32(port) >> (16 - n) << (16 - n))
			if c, ok := t.run(rangeKey{portKey{set.ID, protocol, start}, n}); ok {
				return c
			}
			if n == 0 {
				break
			}
		}
	}
	if c, ok := t.portOf(portKey{set.ID, protocol, 0}); ok {
		return c
	}
	c, _ := t.portOf(portKey{set: set.ID})
	return c
}
