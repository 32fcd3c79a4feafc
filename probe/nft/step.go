// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
)

// Step is one message of the kernel's tracing: a packet met a rule, or came to
// the end of a base chain.
type Step struct {
	Trace    uint32 // same number: same packet
	Family   Family // of the table
	Table    string
	Chain    string
	Handle   uint64 // of the rule; 0: the chain's policy
	Verdict  string // "drop", "accept", "jump CHAIN", "queue 100", "continue", ...
	Ended    bool   // the packet goes no further here: it was dropped or queued
	Returned bool   // the end of a chain without a rule that decided
	In, Out  uint32 // interfaces; 0: none
	Packet   Packet // zero if the message repeats none: only the first one of each base chain has it
}

// Packet is a packet's head as it was when it came to a base chain.
type Packet struct {
	Protocol            uint8
	Source, Destination netip.Addr
	SourcePort          uint16
	DestinationPort     uint16
}

// Family of a table, as the kernel numbers them.
type Family uint8

func (f Family) String() string {
	switch f {
	case 1:
		return "inet"
	case 2:
		return "ip"
	case 3:
		return "arp"
	case 5:
		return "netdev"
	case 7:
		return "bridge"
	case 10:
		return "ip6"
	}
	return strconv.Itoa(int(f))
}

// Attributes of a trace message, of include/uapi/linux/netfilter/nf_tables.h.
const (
	attrTable     = 1
	attrChain     = 2
	attrHandle    = 3
	attrType      = 4
	attrVerdict   = 5
	attrID        = 6
	attrNetwork   = 8
	attrTransport = 9
	attrIn        = 10
	attrOut       = 12
	attrPolicy    = 16

	typePolicy = 1
	typeReturn = 2

	verdictCode  = 1
	verdictChain = 2
)

var errShort = errors.New("a trace message that is too short")

// ParseStep reads the payload of a trace message: what follows the netlink header.
func ParseStep(b []byte) (Step, error) {
	var s Step
	if len(b) < 4 {
		return s, errShort
	}
	s.Family = Family(b[0])
	var network, transport []byte
	var kind, policy uint32
	verdict := int32(-1) // continue
	err := attributes(b[4:], func(kindOf uint16, v []byte) {
		switch kindOf {
		case attrTable:
			s.Table = text(v)
		case attrChain:
			s.Chain = text(v)
		case attrHandle:
			if len(v) >= 8 {
				s.Handle = binary.BigEndian.Uint64(v)
			}
		case attrType:
			kind = number(v)
		case attrVerdict:
			verdict, s.Verdict = readVerdict(v)
		case attrID:
			s.Trace = number(v)
		case attrNetwork:
			network = v
		case attrTransport:
			transport = v
		case attrIn:
			s.In = number(v)
		case attrOut:
			s.Out = number(v)
		case attrPolicy:
			policy = number(v)
		}
	})
	if err != nil {
		return s, err
	}
	switch kind {
	case typePolicy:
		s.Handle, verdict = 0, int32(policy)
		s.Verdict = verdictName(verdict, "")
	case typeReturn:
		s.Returned = true
	default:
		s.Returned = s.Handle == 0 && verdict < 0 // the end of a chain, as newer kernels tell it
	}
	s.Ended = verdict >= 0 && (verdict&0xff == 0 || verdict&0xff == 3)
	s.Packet = readPacket(network, transport)
	return s, nil
}

// attributes walks netlink attributes; the values aren't copied.
func attributes(b []byte, each func(kind uint16, value []byte)) error {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return errShort
		}
		each(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[4:n])
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil
}

func number(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}

func text(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}

func readVerdict(v []byte) (code int32, name string) {
	var chain string
	_ = attributes(v, func(kind uint16, v []byte) { // what was read until an error is what there is
		switch kind {
		case verdictCode:
			code = int32(number(v))
		case verdictChain:
			chain = text(v)
		}
	})
	return code, verdictName(code, chain)
}

func verdictName(code int32, chain string) string {
	switch code {
	case -1:
		return "continue"
	case -2:
		return "break"
	case -3:
		return "jump " + chain
	case -4:
		return "goto " + chain
	case -5:
		return "return"
	}
	switch code & 0xff {
	case 0:
		return "drop"
	case 1:
		return "accept"
	case 2:
		return "stolen"
	case 3:
		return "queue " + strconv.Itoa(int(uint32(code)>>16))
	case 4:
		return "repeat"
	}
	return strconv.Itoa(int(code))
}

func readPacket(network, transport []byte) (p Packet) {
	switch {
	case len(network) >= 20 && network[0]>>4 == 4:
		p.Protocol = network[9]
		p.Source, p.Destination = netip.AddrFrom4([4]byte(network[12:])), netip.AddrFrom4([4]byte(network[16:]))
		if binary.BigEndian.Uint16(network[6:])&0x1fff != 0 {
			return p // not the first fragment
		}
	case len(network) >= 40 && network[0]>>4 == 6:
		p.Protocol = network[6]
		p.Source, p.Destination = netip.AddrFrom16([16]byte(network[8:])), netip.AddrFrom16([16]byte(network[24:]))
	default:
		return p
	}
	if len(transport) >= 4 && (p.Protocol == 6 || p.Protocol == 17 || p.Protocol == 132) {
		p.SourcePort, p.DestinationPort = binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])
	}
	return p
}
