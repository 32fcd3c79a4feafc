// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Kind says why a connection is reported.
type Kind uint8

// The kinds.
const (
	Counters Kind = iota // it moved
	New                  // it is seen for the first time
	Verdict              // a verdict of it changed
	Closed               // it ended; totals are final
	Dropped              // a sample of what the lease dropped of it
)

// Reopened is the reason of a connection that another one of the same addresses
// and ports stands for already.
const Reopened = "reopened"

// Record is a connection as of now, seen from the endpoint.
type Record struct {
	Kind                Kind
	Reason              string // valid iff Closed: "fin", "rst", "idle", "evicted", "reopened", "pod gone"
	Local, Peer         netip.Addr
	LocalPort, PeerPort uint16 // host order; ICMP echo: the identifier
	Protocol            flow.Protocol
	Time                time.Duration  // boottime of the event
	Conn                bpf.FlowConn   // its stamps are on CLOCK_MONOTONIC; add Skew
	Skew                time.Duration  // boottime less monotonic
	Length              uint32         // valid iff Dropped: of the packet, bytes
	Direction           flow.Direction // valid iff Dropped: of the packet
	Error               *ICMPError     // the last one about it; nil: none, or forgotten
}

// ICMPError is an ICMP or ICMPv6 error about a connection.
type ICMPError struct {
	Type, Code uint8
	From       netip.Addr // whose error it is: of the peer, of a router between, of the endpoint itself
	MTU        uint32     // of "too big"; 0: not said
}

// addError looks the error up if there is one.
func (r *Record) addError(m *ebpf.Map) {
	r.Error = nil
	if !r.Is(bpf.FlowConnFlagsCONN_ICMP_ERROR) {
		return
	}
	var e bpf.FlowIcmpError
	if m.Lookup(r.Conn.Id, &e) == nil { // otherwise newer ones took its place
		r.Error = &ICMPError{Type: e.Type, Code: e.Code, From: netAddr(e.From), MTU: e.Mtu}
	}
}

// Is says whether a flag is set.
func (r *Record) Is(f bpf.FlowConnFlags) bool { return r.Conn.Flags&uint16(f) != 0 }

// How long a connection may be silent before it is forgotten. A TCP
// connection that is forgotten and speaks again is one whose opener isn't
// known any more, so it takes as long as conntrack takes.
const (
	lingerClosed = 2 * time.Second
	idleOpening  = time.Minute
	idleTCP      = 5 * 24 * time.Hour
	idleSCTP     = time.Hour
	idleOther    = 3 * time.Minute
	idleICMP     = 30 * time.Second
	// A table that is this full, in percent, is made room in: whoever has been
	// silent for a minute goes, whatever it is.
	crowded     = 85
	idleCrowded = time.Minute
)

const (
	tcpFin = 0x01
	tcpSyn = 0x02
	tcpRst = 0x04
	tcpAck = 0x10
)

// scanner walks the tables of connections.
type scanner struct {
	seats *seats
	four  table[bpf.FlowConn4Key]
	six   table[bpf.FlowConn6Key]
	last  time.Duration   // monotonic start of the last walk
	late  map[uint64]bool // reported as new by a walk, because the ring was full
	open  atomic.Int64

	errors *ebpf.Map // of connections, by id
}

type table[K comparable] struct {
	m      *ebpf.Map
	keys   []K
	conns  []bpf.FlowConn
	size   int // at the last walk
	fill   func(*Record, *K)
	doomed []doomed[K]
}

type doomed[K comparable] struct {
	key    K
	reason string
}

const batch = 512

func (s *scanner) init(m *bpf.FlowMaps, seats *seats) {
	s.seats = seats
	s.late = make(map[uint64]bool)
	s.errors = m.IcmpErrors
	s.four = table[bpf.FlowConn4Key]{m: m.Conns4, fill: fill4, keys: make([]bpf.FlowConn4Key, batch), conns: make([]bpf.FlowConn, batch)}
	s.six = table[bpf.FlowConn6Key]{m: m.Conns6, fill: fill6, keys: make([]bpf.FlowConn6Key, batch), conns: make([]bpf.FlowConn, batch)}
}

func fill4(r *Record, k *bpf.FlowConn4Key) {
	r.Local = netAddr(bpf.FlowAddr{Word: [4]uint32{2: 0xffff0000, 3: k.Local}})
	r.Peer = netAddr(bpf.FlowAddr{Word: [4]uint32{2: 0xffff0000, 3: k.Peer}})
	r.LocalPort, r.PeerPort, r.Protocol = swap16(k.LocalPort), swap16(k.PeerPort), flow.Protocol(k.Protocol)
}

func fill6(r *Record, k *bpf.FlowConn6Key) {
	r.Local, r.Peer = netAddr(k.Local), netAddr(k.Peer)
	r.LocalPort, r.PeerPort, r.Protocol = swap16(k.LocalPort), swap16(k.PeerPort), flow.Protocol(k.Protocol)
}

// Scan visits each connection that moved, or whose verdict changed, since the
// last scan; all of them if asked, but those of UDP that may be over. It forgets those that are over, and visits
// each of them for the last time. The record is the visitor's until it returns.
//
// One scan runs at a time, but anything else may be called meanwhile: a large
// table takes long, and rules must not wait for it.
func (k *Kernel) Scan(all bool, visit func(*Record)) error {
	if k.stale.Swap(false) {
		if err := k.judgeAgain(); err != nil {
			return err
		}
	}
	s := &k.scanner
	now := monotonic()
	skew := Boottime() - now
	since := s.last - 20*time.Millisecond // the programs' coarse clock is up to one tick late
	if all {
		since = -1
	}
	w := walk{s: s, now: now, since: since, skew: skew, alive: &k.alive, visit: visit}
	err := errors.Join(scanSeats(&w), scan(&s.four, &w), scan(&s.six, &w))
	s.last = now
	s.open.Store(int64(w.open))
	return err
}

// Open is how many connections the last scan found. It may be called at any time.
func (k *Kernel) Open() int { return int(k.scanner.open.Load()) }

type walk struct {
	s           *scanner
	now, since  time.Duration
	skew        time.Duration
	alive       *alive
	open        int
	visit       func(*Record)
	fullPercent int
}

func scan[K comparable](t *table[K], w *walk) error {
	w.fullPercent = t.size * 100 / int(t.m.MaxEntries())
	t.doomed = t.doomed[:0]
	size := 0
	var cursor ebpf.MapBatchCursor
	for {
		n, err := t.m.BatchLookup(&cursor, t.keys, t.conns, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("read the connections: %w", err)
		}
		size += n
		for i := range n {
			c := &t.conns[i]
			if reason := w.over(c, protocolOf(&t.keys[i])); reason != "" {
				t.doomed = append(t.doomed, doomed[K]{t.keys[i], reason})
			} else if w.twice(&t.keys[i]) {
				t.doomed = append(t.doomed, doomed[K]{t.keys[i], Reopened})
			} else {
				tellMoved(w, t.fill, &t.keys[i], c)
			}
		}
		if end {
			break
		}
		runtime.Gosched() // on one processor whoever brings rules doesn't wait for the whole table
	}
	t.size = size - len(t.doomed)
	w.open += t.size
	for i := range t.doomed {
		d := &t.doomed[i]
		var c bpf.FlowConn
		if err := takeOut(t.m, &d.key, &c); err != nil {
			if errors.Is(err, ebpf.ErrKeyNotExist) {
				continue
			}
			return fmt.Errorf("forget a connection: %w", err)
		}
		tellClosed(w, t.fill, &d.key, &c, d.reason)
	}
	return nil
}

// scanSeats never finds them too full: who finds none free goes to the table.
func scanSeats(w *walk) error {
	w.fullPercent = 0
	return w.s.seats.each(func(seat *bpf.FlowSeat, key *bpf.FlowConn4Key) error {
		c := connOf(seat)
		if reason := w.over(&c, protocolOf(key)); reason != "" {
			c = free(seat)
			tellClosed(w, fill4, key, &c, reason)
			return nil
		}
		w.open++
		tellMoved(w, fill4, key, &c)
		return nil
	})
}

// twice says whether a connection of a table has a seat as well: where packets
// find it from now on.
func (w *walk) twice(key any) bool {
	k, four := key.(*bpf.FlowConn4Key)
	return four && w.s.seats.has(seatKeyOf(k))
}

func tellMoved[K comparable](w *walk, fill func(*Record, *K), key *K, c *bpf.FlowConn) {
	if unheard(c, protocolOf(key)) {
		return
	}
	kind, changed := w.changed(c)
	if !changed {
		return
	}
	r := Record{Kind: kind, Conn: *c, Time: w.now + w.skew, Skew: w.skew}
	fill(&r, key)
	r.addError(w.s.errors)
	w.visit(&r)
}

func tellClosed[K comparable](w *walk, fill func(*Record, *K), key *K, c *bpf.FlowConn, reason string) {
	if unheard(c, protocolOf(key)) {
		return // nobody was told of it
	}
	r := Record{Kind: Closed, Reason: reason, Conn: *c, Time: w.now + w.skew, Skew: w.skew}
	delete(w.s.late, c.Id)
	fill(&r, key)
	if r.addError(w.s.errors); r.Error != nil {
		_ = w.s.errors.Delete(c.Id) // newer ones would take its place anyway
	}
	w.visit(&r)
}

// unheard says whether a connection that was open before has said nothing since,
// and may be over: of UDP, conntrack remembers each question and answer for
// minutes. It is known, for who opened it, and told when it speaks.
func unheard(c *bpf.FlowConn, protocol flow.Protocol) bool {
	return protocol == flow.UDP && c.Flags&uint16(bpf.FlowConnFlagsCONN_PREEXISTING) != 0 && c.Packets == [2]uint64{}
}

func protocolOf(key any) flow.Protocol {
	switch k := key.(type) {
	case *bpf.FlowConn4Key:
		return flow.Protocol(k.Protocol)
	case *bpf.FlowConn6Key:
		return flow.Protocol(k.Protocol)
	}
	return 0
}

// changed says whether there is something to tell, and what.
func (w *walk) changed(c *bpf.FlowConn) (Kind, bool) {
	if c.Flags&uint16(bpf.FlowConnFlagsCONN_ANNOUNCED) == 0 && !w.s.late[c.Id] {
		w.s.late[c.Id] = true
		return New, true
	}
	if int64(c.JudgedNs) > int64(w.since) && c.JudgedNs != c.FirstNs {
		return Verdict, true
	}
	return Counters, int64(c.LastNs) > int64(w.since)
}

// over says why the connection is to be forgotten, or nothing.
func (w *walk) over(c *bpf.FlowConn, protocol flow.Protocol) string {
	if !w.alive.has(c.Endpoint) {
		return "pod gone"
	}
	silent := w.now - time.Duration(c.LastNs)
	limit, reason := idleOther, "idle"
	switch protocol {
	case flow.TCP:
		flags := c.TcpFlags[0] | c.TcpFlags[1]
		switch {
		case flags&tcpRst != 0:
			limit, reason = lingerClosed, "rst"
		case c.TcpFlags[0]&c.TcpFlags[1]&tcpFin != 0:
			limit, reason = lingerClosed, "fin"
		case flags&tcpSyn != 0 && flags&tcpAck == 0, flags&tcpFin != 0:
			limit = idleOpening
		default:
			limit = idleTCP
		}
	case flow.SCTP:
		limit = idleSCTP
	case flow.ICMP, flow.ICMPv6:
		limit = idleICMP
	}
	if w.fullPercent >= crowded && limit > idleCrowded {
		limit, reason = idleCrowded, "evicted"
	}
	if silent > limit {
		return reason
	}
	return ""
}
