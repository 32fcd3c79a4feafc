// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding"
	"fmt"
	"net/netip"
	"strconv"
)

// Direction is seen from the subject: Ingress judges what arrives at it,
// Egress what leaves it. The zero value means not known.
type Direction uint8

// The numbers are those of the wire and of the kernel program.
const (
	Ingress Direction = 1
	Egress  Direction = 2
)

func (d Direction) String() string {
	switch d {
	case Ingress:
		return "ingress"
	case Egress:
		return "egress"
	}
	return "unknown"
}

// Subject says which end of the flow a direction judges.
func (d Direction) Subject() string {
	switch d {
	case Ingress:
		return "destination"
	case Egress:
		return "source"
	}
	return "unknown"
}

// Verdict is what a set of policies says about a flow. The zero value means
// not judged: no endpoint of ours, or a kind of packet that policies don't cover.
type Verdict uint8

// The numbers are those of the wire and of the kernel program.
const (
	NotJudged Verdict = 0
	Allow     Verdict = 1
	Deny      Verdict = 2
	Contested Verdict = 3
)

func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	case Contested:
		return "contested"
	}
	return "not judged"
}

// Protocol is an IANA protocol number as in the IP header.
type Protocol uint8

// The protocols that policies and drops name.
const (
	ICMP   Protocol = 1
	TCP    Protocol = 6
	UDP    Protocol = 17
	ICMPv6 Protocol = 58
	SCTP   Protocol = 132
)

func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "ICMP"
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case ICMPv6:
		return "ICMPv6"
	case SCTP:
		return "SCTP"
	}
	return strconv.Itoa(int(p))
}

// HasPorts says whether policies can name ports of this protocol.
func (p Protocol) HasPorts() bool { return p == TCP || p == UDP || p == SCTP }

// ParseProtocol reads a protocol's name, in any case, or its number.
func ParseProtocol(s string) (Protocol, error) {
	for _, p := range []Protocol{TCP, UDP, SCTP, ICMP, ICMPv6} {
		if equalFold(s, p.String()) {
			return p, nil
		}
	}
	if n, err := strconv.ParseUint(s, 10, 8); err == nil {
		return Protocol(n), nil
	}
	return 0, fmt.Errorf("protocol %q: use TCP, UDP, SCTP, ICMP, ICMPv6 or a number from 0 to 255", s)
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i]|0x20 != b[i]|0x20 {
			return false
		}
	}
	return true
}

// Tuple names a connection by the addresses of the packet that opened it.
// Ports are 0 for protocols without ports; for ICMP echo both hold the
// identifier. Addresses are never 4-in-6.
type Tuple struct {
	Protocol    Protocol
	Source      netip.AddrPort
	Destination netip.AddrPort
}

func (t Tuple) String() string {
	return fmt.Sprintf("%s %s -> %s", t.Protocol, t.Source, t.Destination)
}

// Reverse is the tuple of the replies.
func (t Tuple) Reverse() Tuple {
	return Tuple{t.Protocol, t.Destination, t.Source}
}

// Enumerations print as their words in JSON.
var (
	_ encoding.TextMarshaler = Direction(0)
	_ encoding.TextMarshaler = Verdict(0)
	_ encoding.TextMarshaler = Protocol(0)
)

// MarshalText implements [encoding.TextMarshaler].
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// MarshalText implements [encoding.TextMarshaler].
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// MarshalText implements [encoding.TextMarshaler].
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
