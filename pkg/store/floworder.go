// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// flowOrder compares rows by a column; ties by arrival, newest first.
func (s *Store) flowOrder(by string) func(a, b *row) int {
	var c func(a, b *row) int
	switch by {
	case "rate":
		c = func(a, b *row) int { return cmp.Compare(s.rateOf(b), s.rateOf(a)) }
	case "bytes":
		c = func(a, b *row) int { return cmp.Compare(b.bytesIn+b.bytesOut, a.bytesIn+a.bytesOut) }
	case "packets":
		c = func(a, b *row) int { return cmp.Compare(b.packetsIn+b.packetsOut, a.packetsIn+a.packetsOut) }
	case "drops":
		c = func(a, b *row) int { return cmp.Compare(b.drops+b.enforcedPackets, a.drops+a.enforcedPackets) }
	case "verdict":
		c = func(a, b *row) int { return cmp.Compare(s.gravityOf(b.plight()), s.gravityOf(a.plight())) }
	case "name", "source", "from":
		c = byEnd((*row).source)
	case "destination", "to":
		c = byEnd((*row).destination)
	case "port":
		c = func(a, b *row) int { return cmp.Compare(a.port(), b.port()) }
	case "protocol":
		c = func(a, b *row) int { return cmp.Compare(a.protocol, b.protocol) }
	case "node":
		c = func(a, b *row) int { return strings.Compare(a.id.Node, b.id.Node) }
	case "last":
		c = func(a, b *row) int { return cmp.Compare(b.last, a.last) }
	case "direction":
		c = func(a, b *row) int { return cmp.Compare(a.direction, b.direction) }
	case "rule":
		c = func(a, b *row) int { return strings.Compare(a.ruleName(), b.ruleName()) }
	case "agreement":
		c = func(a, b *row) int { return cmp.Compare(doubt(a), doubt(b)) }
	case "observed":
		c = func(a, b *row) int { return cmp.Compare(fate(a), fate(b)) }
	default: // arrival
		return func(a, b *row) int { return cmp.Compare(b.seq, a.seq) }
	}
	return func(a, b *row) int {
		if n := c(a, b); n != 0 {
			return n
		}
		return cmp.Compare(b.seq, a.seq)
	}
}

// doubts are agreements in the order in which they ask to be looked at; what
// isn't known yet comes last.
var doubts = []flow.Agreement{flow.AllowedButDropped, flow.DeniedButDelivered, flow.ContestedButSettled, flow.Agrees}

func doubt(r *row) int { return placeIn(doubts, r.agreement) }

// fates are outcomes, from what never arrived to what was answered; what isn't
// known yet comes last.
var fates = []flow.Outcome{
	flow.Dropped, flow.NotArrived, flow.Rejected, flow.Refused, flow.Unanswered, flow.Retransmitting, flow.HalfOpen, flow.Reset, flow.Answered,
}

func fate(r *row) int { return placeIn(fates, r.outcome) }

func placeIn[T comparable](list []T, v T) int {
	if i := slices.Index(list, v); i >= 0 {
		return i
	}
	return len(list)
}

// compareEnds compares by name; who has none but an address comes after all
// who have, by its number.
func compareEnds(a *who, ip netip.Addr, b *who, other netip.Addr) int {
	x, y := a.called(), b.called()
	if x != "" && y != "" {
		return strings.Compare(x, y)
	}
	if n := order(x == "", y == ""); n != 0 {
		return n
	}
	p, q := ip.As16(), other.As16()
	return bytes.Compare(p[:], q[:])
}

// port is the destination's; 0: the protocol has none, whatever number of an
// echo stands there.
func (r *row) port() uint16 {
	if !r.protocol.HasPorts() {
		return 0
	}
	if r.direction == flow.Ingress {
		return r.local.Port()
	}
	return r.peer.Port()
}

func (r *row) ruleName() string {
	switch {
	case r.rule != nil:
		return r.rule.String()
	case len(r.isolatedBy) > 0:
		return r.isolatedBy[0].String()
	}
	return ""
}

func byEnd(end func(*row) (*who, netip.Addr)) func(a, b *row) int {
	return func(a, b *row) int {
		w, ip := end(a)
		v, other := end(b)
		return compareEnds(w, ip, v, other)
	}
}

func nameOf(w *who, address func() string) string {
	if name := w.called(); name != "" {
		return name
	}
	return address()
}

// called is who has a name; "": an address is all that is known.
func (w *who) called() string {
	switch {
	case w.full != "":
		return w.full
	case w.pod != "":
		return w.namespace + "/" + w.pod
	case w.service != "":
		return w.service
	case w.name != "":
		return w.name
	}
	return ""
}
