// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// totals are the packets of each connection that a scan finds, by port.
func totals(t *testing.T, k *kernel.Kernel) map[uint16][]uint64 {
	t.Helper()
	out := map[uint16][]uint64{}
	if err := k.Scan(true, func(r *kernel.Record) {
		out[r.LocalPort] = append(out[r.LocalPort], r.Conn.Packets[0]+r.Conn.Packets[1])
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// watched has the rules of isolated(1, 1), which allow port 80 (what they deny is
// never simple), and scans keep its connections.
func watched(t *testing.T, o kernel.Options) *kernel.Kernel {
	t.Helper()
	k := open(t, o)
	load(t, k, isolated(1, 1))
	if err := k.Watch(map[netip.Addr]ruleset.EndpointID{local4: 1}); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSeats has more connections than seats: each is counted once, wherever it
// is, and a seat that was freed is taken again.
func TestSeats(t *testing.T) {
	const flows = 3000
	k := watched(t, kernel.Options{Seats: 2048})
	for range 2 {
		for i := range uint16(flows) {
			run(t, k, flow.Egress, packet(local4, peer4, flow.UDP, datagram(20000+i, 80)))
			for range i % 3 {
				run(t, k, flow.Ingress, packet(peer4, local4, flow.UDP, datagram(80, 20000+i)))
			}
		}
		seated := 0
		for i := range uint16(flows) {
			if k.Seated(kernel.Existing{Local: local4, Peer: peer4, LocalPort: 20000 + i, PeerPort: 80, Protocol: flow.UDP}) {
				seated++
			}
		}
		if seated < 800 || seated > 2048 {
			t.Errorf("%d connections have one of 2,048 seats", seated)
		}
		got := totals(t, k)
		for i := range uint16(flows) {
			if v := got[20000+i]; len(v) != 1 || v[0] != uint64(1+i%3) {
				t.Fatalf("connection %d: packets %v, want %d once", i, v, 1+i%3)
			}
		}
		if k.Open() != flows {
			t.Errorf("%d are open, want %d", k.Open(), flows)
		}
		k.ForgetConns(t)
		if got := totals(t, k); len(got) != 0 || k.Open() != 0 {
			t.Fatalf("%d are left", len(got))
		}
	}
}

// TestSeatOfTwoProcessors has both directions of new connections seen at the
// same time: nothing is counted twice, or lost.
func TestSeatOfTwoProcessors(t *testing.T) {
	const flows = 2000
	k := watched(t, kernel.Options{Ring: 1 << 22})
	var both sync.WaitGroup
	for i := range uint16(flows) {
		start := make(chan bool)
		for _, direction := range []flow.Direction{flow.Egress, flow.Ingress} {
			frame := packet(local4, peer4, flow.UDP, datagram(20000+i, 20000+i))
			if direction == flow.Ingress {
				frame = packet(peer4, local4, flow.UDP, datagram(20000+i, 20000+i))
			}
			both.Go(func() {
				<-start
				for range 4 {
					if _, err := k.TestRun(direction, frame); err != nil {
						t.Error(err)
					}
				}
			})
		}
		close(start)
		both.Wait()
	}
	first := totals(t, k) // in both tables: each of the two is told, one of them as closed
	for port, packets := range totals(t, k) {
		sum := uint64(0)
		for _, n := range first[port] {
			sum += n
		}
		if len(packets) != 1 || sum != 8 {
			t.Errorf("port %d: packets %v, then %v, want 8", port, first[port], packets)
		}
	}
}

// TestSeatCountsNotTheTable puts a connection where it would be if two
// processors had seen it first in the same moment.
func TestSeatCountsNotTheTable(t *testing.T) {
	k := watched(t, kernel.Options{})
	e := kernel.Existing{Local: local4, Peer: peer4, LocalPort: 20000, PeerPort: 53, Protocol: flow.UDP, Endpoint: 1}
	run(t, k, flow.Egress, packet(local4, peer4, flow.UDP, datagram(20000, 53)))
	if !k.Seated(e) {
		t.Fatal("no seat of 4,096 was free")
	}
	k.PutInTable(t, e, bpf.FlowConn{Endpoint: 1, Id: 77, Packets: [2]uint64{1, 2}, LastNs: uint64(kernel.Monotonic())})
	run(t, k, flow.Egress, packet(local4, peer4, flow.UDP, datagram(20000, 53)))
	if got := totals(t, k)[20000]; len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("packets %v, want 2, and 3 for the last time", got)
	}
	if got := totals(t, k)[20000]; len(got) != 1 || got[0] != 2 {
		t.Errorf("packets %v, want 2 once", got)
	}
	if n, err := k.Seed([]kernel.Existing{e}); n != 0 || err != nil {
		t.Errorf("it was added once more: %d, %v", n, err)
	}
}

// TestFreeSeatIsNobodys has a packet whose key is 0 where that of a free seat is:
// it isn't taken for the connection that had the seat before.
func TestFreeSeatIsNobodys(t *testing.T) {
	k := watched(t, kernel.Options{})
	bare := kernel.Existing{Local: local4, Peer: peer4}
	e := kernel.Existing{Local: local4, Peer: peer4, LocalPort: 20000, Protocol: flow.UDP}
	for e.Place() != bare.Place() {
		e.PeerPort++
	}
	run(t, k, flow.Egress, packet(local4, peer4, flow.UDP, datagram(e.LocalPort, e.PeerPort)))
	if !k.Seated(e) {
		t.Fatal("the seat was not free")
	}
	k.ForgetConns(t)
	run(t, k, flow.Egress, packet(local4, peer4, 0, make([]byte, 12)))
	if got := totals(t, k)[0]; len(got) != 1 || got[0] != 1 {
		t.Errorf("packets %v, want 1 of a connection of its own", got)
	}
}

// TestLanes has both directions count at once, with packets in between that move
// what they counted: nothing is lost, and no scan finds more than was sent.
func TestLanes(t *testing.T) {
	const packets, moves = 4000, 400
	k := watched(t, kernel.Options{})
	var sent atomic.Uint64
	send := func(d flow.Direction, flags byte, times int) {
		frame := packet(local4, peer4, flow.TCP, segment(20000, 80, flags))
		if d == flow.Ingress {
			frame = packet(peer4, local4, flow.TCP, segment(80, 20000, flags))
		}
		for range times {
			sent.Add(1)
			if _, err := k.TestRun(d, frame); err != nil {
				t.Error(err)
			}
		}
	}
	send(flow.Egress, syn, 1)
	var all sync.WaitGroup
	done := make(chan bool)
	all.Go(func() { send(flow.Egress, ack, packets) })
	all.Go(func() { send(flow.Ingress, ack, packets) })
	all.Go(func() { send(flow.Egress, syn, moves) })
	go func() { all.Wait(); close(done) }()
	for scanning := true; scanning; {
		select {
		case <-done:
			scanning = false
		default:
		}
		got := totals(t, k)[20000]
		if most := sent.Load(); len(got) != 1 || got[0] > most {
			t.Fatalf("packets %v of %d that were sent", got, most)
		}
	}
	c, err := k.Conn(kernel.Existing{Local: local4, Peer: peer4, LocalPort: 20000, PeerPort: 80, Protocol: flow.TCP})
	if want := [2]uint64{packets, 1 + moves + packets}; err != nil || c.Packets != want {
		t.Errorf("packets %v, %v, want %v", c.Packets, err, want)
	}
	if want := [2]uint64{packets * 40, (1 + moves + packets) * 40}; c.Bytes != want {
		t.Errorf("bytes %v, want %v", c.Bytes, want)
	}
	k.ForgetConns(t)
	send(flow.Egress, syn, 1)
	if got := totals(t, k)[20000]; len(got) != 1 || got[0] != 1 {
		t.Errorf("the next one in the seat has packets %v, want 1", got)
	}
}

// TestLatePacketIsNotTheNextOnes has packets count in a seat after it was freed.
func TestLatePacketIsNotTheNextOnes(t *testing.T) {
	k := watched(t, kernel.Options{})
	e := kernel.Existing{Local: local4, Peer: peer4, LocalPort: 20000, PeerPort: 80, Protocol: flow.TCP, Endpoint: 1}
	for seeded, begin := range []func(){
		func() { run(t, k, flow.Egress, packet(local4, peer4, flow.TCP, segment(20000, 80, syn))) },
		func() {
			if n, err := k.Seed([]kernel.Existing{e}); n != 1 || err != nil {
				t.Errorf("%d were added: %v", n, err)
			}
		},
	} {
		k.ForgetConns(t)
		k.CountLate(e, flow.Egress, 1, 40)
		k.CountLate(e, flow.Ingress, 1, 40)
		begin()
		run(t, k, flow.Egress, packet(local4, peer4, flow.TCP, segment(20000, 80, ack)))
		c, err := k.Conn(e)
		if want := [2]uint64{0, uint64(2 - seeded)}; err != nil || c.Packets != want || c.Bytes != [2]uint64{0, want[1] * 40} {
			t.Errorf("packets %v, bytes %v, %v; want packets %v", c.Packets, c.Bytes, err, want)
		}
	}
}

// TestLaneIsMovedInTime has lanes that are about to be full, of packets or of
// bytes: nothing carries over, and nothing is lost.
func TestLaneIsMovedInTime(t *testing.T) {
	for _, full := range [][2]uint64{{1<<23 - 1, 40 << 23}, {1 << 20, 1<<39 - 1}} {
		k := watched(t, kernel.Options{})
		e := kernel.Existing{Local: local4, Peer: peer4, LocalPort: 20000, PeerPort: 80, Protocol: flow.TCP, Endpoint: 1}
		send := func(times int) {
			for range times {
				run(t, k, flow.Egress, packet(local4, peer4, flow.TCP, segment(20000, 80, ack)))
			}
		}
		run(t, k, flow.Egress, packet(local4, peer4, flow.TCP, segment(20000, 80, syn)))
		for range 3 {
			k.CountLate(e, flow.Egress, full[0], full[1])
			send(2)
		}
		c, err := k.Conn(e)
		if want := 1 + 3*(full[0]+2); err != nil || c.Packets != [2]uint64{0, want} {
			t.Errorf("packets %v, %v, want %d", c.Packets, err, want)
		}
		if want := 40 + 3*(full[1]+80); c.Bytes != [2]uint64{0, want} {
			t.Errorf("bytes %v, want %d", c.Bytes, want)
		}
	}
}
