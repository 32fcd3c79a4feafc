// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// observed is what a row's packets told, and what follows from it.
type observed struct {
	answer, firstByte time.Duration
	owner             *flow.Owner
	request           *flow.Request
	fault             *fault // the last drop of it that isn't part of ordinary life
	far               *row   // the same connection at its other end, if that is watched: see other
	farSeq            uint64 // its seq; another one: it was let go, and its memory is somebody else's

	arrived stamp // when the store heard of it
	closed  stamp // when it heard of its end; zero: open

	outcome   flow.Outcome
	agreement flow.Agreement
	because   string // what the outcome rests on, in words
	culprit   string
	note      string // of a disagreement: since when
	told      int    // outcome events so far
	waits     bool   // in Store.waiting
	counted   bool   // in the times to isolation
}

// icmpError is an ICMP error that a connection got.
type icmpError struct {
	kind, code uint8
	v6         bool
	mtu        uint32
	from       netip.Addr
	who        *who
}

// observe takes over what a message says of the packets.
func (a *applying) observe(r *row, m *wire.Flow) {
	r.flagsIn |= uint8(m.GetTcpFlagsIn())   //nolint:gosec // eight flags
	r.flagsOut |= uint8(m.GetTcpFlagsOut()) //nolint:gosec // eight flags
	if d := time.Duration(m.GetAnswerNs()); d > 0 {
		r.answer = d
	}
	if d := time.Duration(m.GetFirstByteNs()); d > 0 {
		r.firstByte = d
	}
	r.retransmits = max(r.retransmits, m.GetRetransmits())
	if e := m.GetIcmpError(); e != nil && e.GetType() <= 0xff && e.GetCode() <= 0xff {
		r.icmp = &icmpError{kind: uint8(e.GetType()), code: uint8(e.GetCode()), v6: r.local.Addr().Is6(), mtu: e.GetMtu()} //nolint:gosec // checked
		if from, ok := wire.Addr(e.GetFrom()); ok {
			r.icmp.from, r.icmp.who = from, a.s.names.of(from, a.here(a.at))
		}
	}
	if o := m.GetOwner(); o != nil {
		r.owner = a.s.ownerOf(r, o)
		a.s.rows.reworded(r)
	}
	if q := m.GetRequest(); q != nil {
		a.s.rows.reworded(r)
		r.request = &flow.Request{Kind: clean(q.GetKind()), Host: clean(q.GetHost()), Method: clean(q.GetMethod()), Path: clean(q.GetPath())}
	}
}

// rowState is what outcomes depend on: while it is the same, so are they.
type rowState struct {
	flagsIn, flagsOut uint8
	there, back       bool
	again             bool // more than one packet opened it
	enforced          bool
	icmp              *icmpError
}

func (r *row) state() rowState {
	if r == nil {
		return rowState{}
	}
	there, _ := r.opened()
	back, _ := r.replied()
	return rowState{
		r.flagsIn, r.flagsOut, there > 0, back > 0, there > 1 || r.retransmits > 0, r.enforced && r.enforcedPackets > 0, r.icmp,
	}
}

// ownerOf names the container that a process is in.
func (s *Store) ownerOf(r *row, o *wire.Owner) *flow.Owner {
	out := &flow.Owner{PID: o.GetPid(), Command: clean(o.GetCommand()), Executable: clean(o.GetExecutable()), Container: clean(o.GetContainer())}
	if w := s.names.ledger.World(); w != nil && r.localWho.pod != "" {
		if p := w.Pods[r.localWho.namespace+"/"+r.localWho.pod]; p != nil && p.Containers[out.Container] != "" {
			out.Container = clean(p.Containers[out.Container])
		}
	}
	return out
}

// say writes what was observed into an event.
func (r *row) say(e *flow.Event) {
	e.Observed, e.Agreement, e.Culprit = r.outcome, r.agreement, r.culprit
	e.Owner, e.Request = r.owner, r.request
	e.AnswerSeconds, e.FirstByteSeconds, e.Retransmits = r.answer.Seconds(), r.firstByte.Seconds(), r.retransmits
	if e.Reason == "" {
		e.Reason = r.because
	}
}

// opened and replied are what went each way, seen from the end that opened the
// connection.
func (r *row) opened() (packets uint64, flags uint8) {
	if r.direction == flow.Ingress {
		return r.packetsIn, r.flagsIn
	}
	return r.packetsOut, r.flagsOut
}

func (r *row) replied() (packets uint64, flags uint8) {
	if r.direction == flow.Ingress {
		return r.packetsOut, r.flagsOut
	}
	return r.packetsIn, r.flagsIn
}

// words names an ICMP error and its sender.
func (e *icmpError) words() string {
	s := "ICMP " + icmpName(e.kind, e.code, e.v6)
	if e.mtu > 0 {
		s += " (MTU " + strconv.FormatUint(uint64(e.mtu), 10) + ")"
	}
	if e.from.IsValid() {
		s += " from " + e.from.String()
		if n := nameOf(e.who, func() string { return "" }); n != "" {
			s += " (" + n + ")"
		}
	}
	return s
}

// noPort says whether it stands for nobody listening.
func (e *icmpError) noPort() bool {
	return !e.v6 && e.kind == 3 && e.code == 3 || e.v6 && e.kind == 1 && e.code == 4
}

// tooBig says whether it speaks of the packet's size: the sender tries again
// with smaller ones.
func (e *icmpError) tooBig() bool {
	return !e.v6 && e.kind == 3 && e.code == 4 || e.v6 && e.kind == 2
}

// icmpNames are those that hosts and routers send about connections.
var icmpNames = map[[2]uint8]string{
	{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable", {3, 3}: "port unreachable",
	{3, 4}: "fragmentation needed", {3, 9}: "network prohibited", {3, 10}: "host prohibited", {3, 13}: "administratively prohibited",
	{11, 0}: "time to live exceeded", {11, 1}: "fragment reassembly time exceeded", {12, 0}: "parameter problem",
}

var icmp6Names = map[[2]uint8]string{
	{1, 0}: "no route", {1, 1}: "administratively prohibited", {1, 3}: "address unreachable", {1, 4}: "port unreachable",
	{1, 5}: "source address failed policy", {1, 6}: "route rejected", {2, 0}: "packet too big", {3, 0}: "hop limit exceeded",
}

func icmpName(kind, code uint8, v6 bool) string {
	names := icmpNames
	if v6 {
		names = icmp6Names
	}
	if n := names[[2]uint8{kind, code}]; n != "" {
		return n
	}
	return fmt.Sprintf("type %d code %d", kind, code)
}
