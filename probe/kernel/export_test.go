// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel

import (
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
	m, key := k.connKey(e.Local, e.Peer, e.LocalPort, e.PeerPort, e.Protocol)
	err = m.Lookup(key, &c)
	return c, err
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
