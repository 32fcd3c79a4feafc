// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// row is a [FlowRow] in the form that a hundred thousand of are kept in. What
// every event of a connection reads and writes stands first, in four lines of
// memory: hardly any row is in the processor's cache, and each line is waited for.
type row struct {
	id   FlowID
	last stamp // packet
	slot int32 // in rows; noSlot: let go

	verdict, candidate, alt             flow.Verdict
	direction                           flow.Direction
	protocol                            flow.Protocol
	flags                               uint8
	enforced, service, guessed, preex   bool
	done                                bool
	inOpen, inClosed, judged, wouldDrop bool

	faults uint64

	packetsIn, packetsOut, bytesIn, bytesOut, enforcedPackets uint64

	rate    float64
	account *account
	updated stamp // of the frame that last changed the counters

	localWho, peerWho *who
	sum               summed

	icmp              *icmpError
	flagsIn, flagsOut uint8 // TCP, towards and from the endpoint
	retransmits       uint32

	// From here on what is asked for less often.
	seq                    uint64 // order of arrival: the tie-break of every sort
	set, bit, candidateBit uint32
	altered                int

	observed

	first                time.Time
	since                time.Time // first, by the clock that tells who had which address when
	local, peer, backend netip.AddrPort
	backendWho           *who

	rule, candidateRule           *flow.Rule
	isolatedBy, candidateIsolated []flow.Rule

	drops       uint64
	closeReason string

	_ [8]byte // rows begin with a line of memory
}

// stamp is a time in a third of the room: nanoseconds since 1970; 0: never.
type stamp int64

func stampOf(t time.Time) stamp {
	if t.IsZero() {
		return 0
	}
	return stamp(t.UnixNano())
}

func (t stamp) time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t)).UTC()
}
