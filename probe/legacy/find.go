// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Question is a packet that was dropped, and where.
type Question struct {
	Protocol            uint8
	Source, Destination netip.AddrPort
	Flags               byte   // of TCP
	Hook                string // "prerouting", "input", "forward", "output" or "postrouting"
	Device              string // that it came in on, or is to leave by where it leaves; empty: not known
}

// ErrAmbiguous says that several rules, or none, could have dropped it.
var ErrAmbiguous = errors.New("the rules of iptables-legacy leave open which one dropped it")

// Find names the only rule of these tables that drops such a packet and has
// counted one. It must be called inside the namespace.
func Find(tables []string, q *Question) (*Rule, error) {
	hook := slices.Index([]string{"prerouting", "input", "forward", "output", "postrouting"}, q.Hook)
	if hook < 0 {
		return nil, ErrAmbiguous
	}
	v6 := !q.Source.Addr().Is4()
	var found []Rule
	for _, name := range []string{"raw", "mangle", "nat", "filter", "security"} { // in the kernel's order
		if !slices.Contains(tables, name) {
			continue
		}
		t, err := read(name, v6)
		if err != nil {
			continue // of the other family only
		}
		if t.valid&(1<<hook) == 0 {
			continue
		}
		w := walk{table: t, q: q, hook: hook}
		end := w.from(t.entry[hook], true, 0)
		found = append(found, w.found...)
		if end == dropped {
			break
		}
	}
	if len(found) != 1 {
		return nil, ErrAmbiguous
	}
	if found[0].Family = "iptables-legacy"; v6 {
		found[0].Family = "ip6tables-legacy"
	}
	return &found[0], nil
}

type truth int

const (
	no truth = iota
	maybe
	yes
)

type ends int

const (
	returns ends = iota
	accepted
	dropped
)

// walk follows the packet through a table.
type walk struct {
	*table
	q     *Question
	hook  int
	steps int
	found []Rule
}

const (
	maxDepth = 16
	maxSteps = 100_000
	// Verdicts as entries have them; at or above 0 it is where to jump.
	verdictDrop   = -1
	verdictAccept = -2
	verdictReturn = -5
	flagGoto      = 2
)

func (w *walk) from(at uint32, sure bool, depth int) ends {
	for depth <= maxDepth {
		e, err := w.entryAt(at)
		if w.steps++; err != nil || e.target == "ERROR" || w.steps > maxSteps {
			return returns
		}
		m := w.matches(e)
		certain := sure && m == yes
		here := at
		at += e.size
		if m == no {
			continue
		}
		switch {
		case e.target == "REJECT":
			w.drops(here, e, "REJECT")
			if certain {
				return dropped
			}
		case e.target != "" || len(e.data) < 4:
			continue // does something else to it
		default:
			if end, done := w.verdict(here, e, int32(binary.NativeEndian.Uint32(e.data)), certain, depth); done { //nolint:gosec // negative ones are the kernel's
				return end
			}
		}
	}
	return returns
}

// verdict does what an entry says; done: the chain ends here.
func (w *walk) verdict(here uint32, e *entry, v int32, certain bool, depth int) (end ends, done bool) {
	switch {
	case v == verdictDrop:
		w.drops(here, e, "DROP")
		return dropped, certain
	case v == verdictAccept:
		return accepted, certain
	case v == verdictReturn:
		return returns, certain
	case v >= 0 && uint32(v) != here+e.size: // else it falls through
		end = w.from(uint32(v), certain, depth+1)
		return end, certain && (end != returns || e.head[w.flags]&flagGoto != 0)
	}
	return returns, false
}

// drops notes a rule, unless its counter says that it never did.
func (w *walk) drops(at uint32, e *entry, target string) {
	if e.packets == 0 {
		return
	}
	p := w.at[at]
	r := Rule{Table: w.name, Chain: p.chain, Number: p.number, Target: target, Packets: e.packets}
	if at == w.underflow[w.hook] {
		r.Number = 0
	}
	for _, m := range e.matches {
		if m.name == "comment" {
			r.Comment = text(m.data)
		}
	}
	w.found = append(w.found, r)
}

const (
	inverseIn, inverseOut, inverseSource, inverseDest, inverseProto = 0x01, 0x02, 0x08, 0x10, 0x40
	nameLen                                                         = unix.IFNAMSIZ
)

func (w *walk) matches(e *entry) truth {
	inverse := e.head[w.inverse]
	if w.covers(e, 0, w.q.Source.Addr()) == (inverse&inverseSource != 0) || w.covers(e, w.address, w.q.Destination.Addr()) == (inverse&inverseDest != 0) {
		return no
	}
	if p := binary.NativeEndian.Uint16(e.head[w.proto:]); p != 0 && (p == uint16(w.q.Protocol)) == (inverse&inverseProto != 0) {
		return no
	}
	all := min(w.device(e, 0, inverse&inverseIn != 0, w.q.Hook != "postrouting"), w.device(e, nameLen, inverse&inverseOut != 0, w.q.Hook == "postrouting"))
	for _, m := range e.matches {
		all = min(all, w.extension(m))
	}
	return all
}

// device compares the name of one; known: it is the one that the packet has.
func (w *walk) device(e *entry, at int, inverse, known bool) truth {
	want, mask := e.head[w.interfaces+at:][:nameLen], e.head[w.interfaces+2*nameLen+at:][:nameLen]
	if mask[0] == 0 {
		return yes
	}
	if !known || w.q.Device == "" || w.q.Hook == "output" {
		return maybe
	}
	have := make([]byte, nameLen)
	copy(have, w.q.Device)
	same := true
	for i := range have {
		same = same && (have[i]^want[i])&mask[i] == 0
	}
	if same != inverse {
		return yes
	}
	return no
}

// extension knows the matches that are used most.
func (w *walk) extension(m extension) truth {
	tcp := m.name == "tcp" && w.q.Protocol == unix.IPPROTO_TCP
	udp := m.name == "udp" && w.q.Protocol == unix.IPPROTO_UDP
	switch {
	case m.name == "comment":
		return yes
	case (tcp || udp) && len(m.data) >= 12:
	default:
		return maybe
	}
	within := func(at int, port uint16) bool {
		return port >= binary.NativeEndian.Uint16(m.data[at:]) && port <= binary.NativeEndian.Uint16(m.data[at+2:])
	}
	inverse := m.data[8]
	if tcp {
		inverse = m.data[11]
	}
	if within(0, w.q.Source.Port()) == (inverse&1 != 0) || within(4, w.q.Destination.Port()) == (inverse&2 != 0) {
		return no
	}
	if tcp && (w.q.Flags&m.data[9] == m.data[10]) == (inverse&4 != 0) {
		return no
	}
	if tcp && m.data[8] != 0 {
		return maybe // an option of TCP
	}
	return yes
}
