// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel

import (
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/bpf/bench"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// LoadBench loads the programs for measuring over the maps of k.
func LoadBench(t testing.TB, k *Kernel) *bench.BenchPrograms {
	t.Helper()
	spec, err := bench.LoadBench()
	if err != nil {
		t.Fatal(err)
	}
	shared := k.objects.shared()
	for name, m := range shared {
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	var p bench.BenchPrograms
	if err := spec.LoadAndAssign(&p, &ebpf.CollectionOptions{MapReplacements: shared}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return &p
}

// TestRun gives the frame to the program of the direction, once.
func (k *Kernel) TestRun(direction flow.Direction, frame []byte) (action int32, err error) {
	p := k.objects.EbpolIngress
	if direction == flow.Egress {
		p = k.objects.EbpolEgress
	}
	out, err := p.Run(&ebpf.RunOptions{Data: frame})
	return int32(out), err
}

// JudgeAgain brings the verdicts of silent connections up to date, as a scan does.
func (k *Kernel) JudgeAgain() error { return k.judgeAgain() }

// AgainRuns is how often the program for silent connections ran, and how many
// nanoseconds that took, as the kernel counts them.
func (k *Kernel) AgainRuns(t testing.TB) (runs uint64, took time.Duration) {
	t.Helper()
	s, err := k.objects.EbpolJudgeAgain.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s.RunCount, s.Runtime
}

// ForgetConns empties the tables of connections.
func (k *Kernel) ForgetConns(t testing.TB) {
	t.Helper()
	drop := func(*Record) {}
	defer func() { k.publish(nil) }() // after what follows is undone
	for _, l := range k.tables.local {
		defer func(id uint32) { l.watched = id }(l.watched)
		l.watched = 0 // makes every connection one of a pod that is gone
	}
	k.publish(nil)
	if err := k.Scan(false, drop); err != nil {
		t.Fatal(err)
	}
}

// Forget empties the tables of connections and the ring.
func (k *Kernel) Forget(t testing.TB) {
	t.Helper()
	k.ForgetConns(t)
	r, err := ringbuf.NewReader(k.objects.Events)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var rec ringbuf.Record
	for r.AvailableBytes() > 0 {
		if err := r.ReadInto(&rec); err != nil {
			t.Fatal(err)
		}
	}
}

// Conn finds a connection.
func (k *Kernel) Conn(e Existing) (c bpf.FlowConn, err error) {
	if !e.Local.Is4() {
		return c, k.objects.Conns6.Lookup(e.key6(), &c)
	}
	key := e.key4()
	if seat := k.seats.find(seatKeyOf(&key)); seat != nil {
		return connOf(seat), nil
	}
	return c, k.objects.Conns4.Lookup(key, &c)
}

// Seated says whether a connection has a seat.
func (k *Kernel) Seated(e Existing) bool {
	key := e.key4()
	return k.seats.has(seatKeyOf(&key))
}

// Place is which seat a connection may have.
func (e *Existing) Place() uint32 {
	key := e.key4()
	return placeOf(seatKeyOf(&key))
}

// CountLate counts packets in the seat that e may have, whoever has it: as they
// do that found the seat just before its connection went.
func (k *Kernel) CountLate(e Existing, d flow.Direction, packets, bytes uint64) {
	key := e.key4()
	lane := &k.seats.at(seatKeyOf(&key)).Lanes[0]
	if d == flow.Egress {
		lane = &k.seats.at(seatKeyOf(&key)).Lanes[1]
	}
	lane.Sum, lane.LastNs = lane.Sum+packets<<lanePackets+bytes, uint64(Monotonic())
}

// PutInTable adds a connection to the table, whether it has a seat or not.
func (k *Kernel) PutInTable(t testing.TB, e Existing, c bpf.FlowConn) {
	t.Helper()
	if err := k.objects.Conns4.Update(e.key4(), c, ebpf.UpdateNoExist); err != nil {
		t.Fatal(err)
	}
}

// Tick is how long one is that the programs count, 0 if they ask for the time.
func (k *Kernel) Tick(t testing.TB) time.Duration {
	t.Helper()
	var tick uint64
	if err := k.objects.TickNs.Get(&tick); err != nil {
		t.Fatal(err)
	}
	return time.Duration(tick)
}

// Monotonic is the clock of the programs.
func Monotonic() time.Duration { return monotonic() }

// Asleep is what the reader of the events says of itself.
func (k *Kernel) Asleep(t testing.TB) bool {
	t.Helper()
	var v uint32
	if err := k.objects.Asleep.Lookup(uint32(0), &v); err != nil {
		t.Fatal(err)
	}
	return v != 0
}

// SaySleeps is what the reader would say.
func (k *Kernel) SaySleeps(t testing.TB) {
	t.Helper()
	if err := k.objects.Asleep.Put(uint32(0), uint32(1)); err != nil {
		t.Fatal(err)
	}
}

// AwaitFallingAsleep returns d after the reader has said that it sleeps. It may
// still look.
func (k *Kernel) AwaitFallingAsleep(t testing.TB, d time.Duration) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); !k.Asleep(t); runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatal("the reader never sleeps")
		}
	}
	for end := monotonic() + d; monotonic() < end; { // shorter than any sleep
	}
}

// AwaitRest returns when the reader has looked once more and sleeps without an
// end.
func (k *Kernel) AwaitRest(t testing.TB, e *Events) {
	t.Helper()
	k.AwaitFallingAsleep(t, 0)
	for late := time.Now().Add(20 * time.Second); !e.ring.rests.Load(); runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatal("the reader never rests")
		}
	}
}

// Next reads an event without waiting.
func (e *Events) Next() (bool, error) { return e.ring.Next(&ringbuf.Record{}) }
