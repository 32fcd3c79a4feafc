// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

func echoRequest(v4 bool) byte {
	if v4 {
		return 8
	}
	return 128
}

// Judge lets the loaded program judge a packet that is sent nowhere: the
// kernel's own answer, to compare others with. It leaves no connection behind,
// but an event in the ring.
func (k *Kernel) Judge(p ruleset.Packet) (ruleset.Result, error) {
	const otherPort = 40000
	localPort, peerPort := p.Port, uint16(otherPort)
	prog := k.objects.EbpolIngress
	src, dst := p.Peer, p.Local
	if p.Direction == flow.Egress {
		prog = k.objects.EbpolEgress
		localPort, peerPort = otherPort, p.Port
		src, dst = dst, src
	}
	var payload []byte
	switch v4 := p.Local.Is4(); p.Protocol {
	case flow.TCP:
		payload = make([]byte, 20)
		payload[12], payload[13] = 5<<4, tcpSyn
	case flow.ICMP, flow.ICMPv6:
		payload = []byte{echoRequest(v4), 0, 0, 0, 0, 1, 0, 0}
		localPort, peerPort = 0, 0
		if v4 == (p.Protocol == flow.ICMP) {
			localPort, peerPort = 1, 1
		}
	case flow.UDP, flow.SCTP:
		payload = make([]byte, 12)
	default:
		payload = make([]byte, 12)
		localPort, peerPort = 0, 0
	}
	if p.Protocol.HasPorts() {
		binary.BigEndian.PutUint16(payload, otherPort)
		binary.BigEndian.PutUint16(payload[2:], p.Port)
	}
	frame := make([]byte, 14, 14+40+len(payload))
	if p.Local.Is4() {
		frame[12], frame[13] = 0x08, 0x00
		frame = append(frame, 0x45, 0, 0, byte(20+len(payload)), 0, 0, 0, 0, 64, byte(p.Protocol), 0, 0)
	} else {
		frame[12], frame[13] = 0x86, 0xdd
		frame = append(frame, 0x60, 0, 0, 0, 0, byte(len(payload)), byte(p.Protocol), 64)
	}
	frame = append(append(append(frame, src.AsSlice()...), dst.AsSlice()...), payload...)

	e := Existing{Local: p.Local, Peer: p.Peer, LocalPort: localPort, PeerPort: peerPort, Protocol: p.Protocol}
	var c bpf.FlowConn
	_ = k.takeOut(&e, &c) // it isn't there unless someone talks
	if _, err := prog.Run(&ebpf.RunOptions{Data: frame}); err != nil {
		return ruleset.Result{}, fmt.Errorf("run the flow program: %w", err)
	}
	if err := k.takeOut(&e, &c); err != nil {
		return ruleset.Result{}, fmt.Errorf("the program tracked no connection of %s with %s: is %s in the ruleset? %w", p.Local, p.Peer, p.Local, err)
	}
	j := &c.Judgement
	return ruleset.Result{
		Set:       ruleset.SetID(j.Set),
		Current:   ruleset.Judgement{Verdict: flow.Verdict(j.Verdict), Bit: int(j.Bit) - 1, Alt: flow.Verdict(j.Alt)},
		Candidate: ruleset.Judgement{Verdict: flow.Verdict(j.Candidate), Bit: int(j.CandidateBit) - 1, Alt: flow.Verdict(j.CandidateAlt)},
		Drop:      j.Drop != 0,
		Service:   j.Service != 0,
	}, nil
}
