// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// TestClock: the programs count ticks, and what they stamp is the time of the
// last one.
func TestClock(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	var want unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &want); err != nil {
		t.Fatal(err)
	}
	tick := k.Tick(t)
	if tick != time.Duration(want.Nano()) {
		t.Fatalf("a tick of %v, the kernel's is %v", tick, time.Duration(want.Nano()))
	}
	id := kernel.Existing{Local: local4, Peer: peer4, LocalPort: 40000, PeerPort: 80, Protocol: flow.TCP}
	for _, flags := range []byte{0x02, 0x10, 0x10} { // the first one's stamp is exact, whatever ticks say
		before := kernel.Monotonic()
		if _, err := k.TestRun(flow.Egress, packet(local4, peer4, flow.TCP, segment(40000, 80, flags))); err != nil {
			t.Fatal(err)
		}
		after := kernel.Monotonic()
		c, err := k.Conn(id)
		if err != nil {
			t.Fatal(err)
		}
		// A machine that sleeps may be late with its ticks, but never early.
		if last := time.Duration(c.LastNs); last > after+tick || last < before-5*tick {
			t.Errorf("flags %#x: the packet came between %v and %v, the stamp is %v", flags, before, after, last)
		}
	}
}
