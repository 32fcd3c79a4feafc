// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// connections opens connections from..to, each from an address and port of its
// own.
func connections(s *Store, at time.Time, from, to int) {
	list := make([]*wire.Flow, 0, to-from)
	for i := from; i < to; i++ {
		list = append(list, &wire.Flow{
			Id: uint64(i + 1), Kind: wire.Flow_NEW, Endpoint: 1, Direction: 2, Protocol: 6, LocalIp: []byte{10, 0, byte(i >> 8), byte(i)}, PeerIp: []byte{10, 9, 9, 9}, //nolint:gosec // small
			LocalPort: uint32(1000 + i), PeerPort: 5432, Verdict: 1, BytesIn: uint64(i), //nolint:gosec // small
		})
	}
	s.Apply(&wire.Frame{TimeNs: at.UnixNano(), Node: "n1", Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}}})
}

// What was handed out stays what it was, whoever has its memory now.
func TestSnapshotsOutliveWhatIsLetGo(t *testing.T) {
	s := New(Options{Limits: Limits{Flows: 20, Events: 30}, Quiet: true})
	connections(s, t0, 0, 20)
	q := Query{Flows: true, Timeline: true, Pairs: true, Selected: &FlowID{"n1", 3}}
	had := s.Snapshot(q)
	text := func(x *Snapshot) (out string) {
		for _, f := range x.Flows {
			out += fmt.Sprintf("%v %+v %+v\n", f.ID, *f.Event.Source, *f.Event.Destination)
		}
		for _, e := range append(x.FlowEvents[:len(x.FlowEvents):len(x.FlowEvents)], x.Selected.Event) {
			out += fmt.Sprintf("%v %+v %+v\n", e.Time, *e.Source, *e.Destination)
		}
		for _, e := range x.Timeline {
			out += fmt.Sprintf("%d %v %+v %+v\n", e.Number, e.Time, *e.Source, *e.Destination)
		}
		return out
	}
	was := text(had)
	for i := range 10 {
		connections(s, t0.Add(time.Duration(i+1)*time.Second), 20+20*i, 40+20*i)
	}
	if now := text(had); now != was {
		t.Errorf("an old snapshot says\n%s\nand said\n%s", now, was)
	}
	now := s.Snapshot(Query{Flows: true, Timeline: true})
	if n := len(now.Timeline); n != 30 {
		t.Errorf("%d events are kept, want 30", n)
	}
	for i, e := range now.Timeline {
		if want := uint16(1000 + 219 - i); e.Source.Port != want { //nolint:gosec // small
			t.Errorf("event %d is of port %d, want %d", i, e.Source.Port, want)
		}
	}
	if len(now.Flows) != 20 || s.letGo != 200 {
		t.Fatalf("%d connections, %d let go, want 20 and 200", len(now.Flows), s.letGo)
	}
	for i, f := range now.Flows {
		if want := uint64(220 - i); f.ID.ID != want || f.BytesIn != want-1 || f.Event.Source.Port != uint16(999+want) { //nolint:gosec // small
			t.Errorf("row %d is %v of port %d with %d bytes, want connection %d", i, f.ID, f.Event.Source.Port, f.BytesIn, want)
		}
	}
}

// The memory of a row that was let go is another connection's: whoever pointed
// to it must not take that for its own.
func TestAnotherRowInItsPlace(t *testing.T) {
	s := New(Options{Limits: Limits{Flows: 2}, Quiet: true})
	ends := func(node string, id uint64, direction uint32, kind wire.Flow_Kind) {
		f := &wire.Flow{
			Id: id, Kind: kind, Endpoint: 1, Direction: direction, Protocol: 6, LocalIp: []byte{10, 0, 0, 1}, PeerIp: []byte{10, 0, 0, 2},
			LocalPort: 4000, PeerPort: 5432, Verdict: 1, PacketsIn: 1,
		}
		if direction == uint32(flow.Ingress) {
			f.LocalIp, f.PeerIp, f.LocalPort, f.PeerPort = f.PeerIp, f.LocalIp, f.PeerPort, f.LocalPort
		}
		s.Apply(&wire.Frame{TimeNs: t0.UnixNano(), Node: node, Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{f}}}})
	}
	ends("n1", 1, uint32(flow.Egress), wire.Flow_NEW)
	ends("n2", 1, uint32(flow.Ingress), wire.Flow_NEW)
	egress := s.rows.get(FlowID{"n1", 1})
	if far := egress.other(); far == nil || far.id.Node != "n2" {
		t.Fatalf("the other end is %v", far)
	}
	// A second connection of the same addresses takes the far end over, which
	// then goes; its memory is the third one's.
	ends("n1", 2, uint32(flow.Egress), wire.Flow_NEW)
	if s.rows.get(FlowID{"n1", 1}) != nil {
		t.Fatal("the first row was to go")
	}
	far := s.rows.get(FlowID{"n2", 1})
	ends("n2", 1, uint32(flow.Ingress), wire.Flow_CLOSE)
	connections(s, t0, 7, 8)
	if again := s.rows.get(FlowID{"n1", 8}); again != far {
		t.Fatal("its memory was to be used again")
	}
	if other := s.rows.get(FlowID{"n1", 2}).other(); other != nil {
		t.Errorf("the other end is %v, want none", other.id)
	}
	// The order in which they came is that of the connections, not of their memory.
	connections(s, t0, 8, 9)
	var left []uint64
	for _, f := range s.Snapshot(Query{Flows: true}).Flows {
		left = append(left, f.ID.ID)
	}
	if want := []uint64{9, 8}; !reflect.DeepEqual(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
}

// Who looks at all rows lets the feeder in between. What it has seen isn't
// written over meanwhile.
func TestRowsInHandAreNotReused(t *testing.T) {
	s := New(Options{Limits: Limits{Flows: 5}, Quiet: true})
	connections(s, t0, 0, 5)
	s.looking.Add(1)
	first := s.rows.get(FlowID{"n1", 1})
	connections(s, t0, 5, 8)
	if first.id.ID != 1 || len(s.gone) != 3 {
		t.Errorf("the row in hand is of connection %d, and %d wait to be used again, want 1 and 3", first.id.ID, len(s.gone))
	}
	s.looking.Add(-1)
	connections(s, t0, 8, 9)
	if len(s.gone) != 0 || first.id.ID == 1 {
		t.Errorf("connection %d is still there, and %d wait", first.id.ID, len(s.gone))
	}
}

// What an event touches lies within four lines of memory, and rows begin with a line.
func TestRowLayout(t *testing.T) {
	var r row
	if at := unsafe.Offsetof(r.seq); at > 256 {
		t.Errorf("what every event needs takes %d bytes, want 256", at)
	}
	if size := unsafe.Sizeof(r); size%64 != 0 || size > 768 {
		t.Errorf("a row takes %d bytes, want full lines of 64, twelve at most", size)
	}
}
