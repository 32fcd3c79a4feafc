// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"errors"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// follower reads events in the background, and says when it falls asleep.
type follower struct {
	k      *kernel.Kernel
	events *kernel.Events
	seen   atomic.Int64
	asleep atomic.Int64  // how many events were read while the reader was said to sleep
	told   chan struct{} // one for each event
	done   chan error
}

func follow(t *testing.T, k *kernel.Kernel) *follower {
	t.Helper()
	e, err := k.Events()
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{k: k, events: e, told: make(chan struct{}, 1<<16), done: make(chan error, 1)}
	go func() {
		f.done <- e.Follow(func(*kernel.Record) {
			f.seen.Add(1)
			if k.Asleep(t) {
				f.asleep.Add(1)
			}
			f.told <- struct{}{}
		}, func() time.Duration { return 0 })
	}()
	t.Cleanup(func() { e.Close() })
	return f
}

func judging(t *testing.T) *kernel.Kernel {
	t.Helper()
	k := open(t, kernel.Options{})
	load(t, k, manyPolicies(1))
	return k
}

// send opens connection number n.
func (f *follower) send(t *testing.T, n int) {
	t.Helper()
	if _, err := f.k.TestRun(flow.Egress, tcp(addresses[0], netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 80, 0x02)); err != nil {
		t.Fatal(err)
	}
}

func (f *follower) wait(t *testing.T, n int64) {
	t.Helper()
	late := time.After(20 * time.Second)
	for f.seen.Load() < n {
		select {
		case <-f.told:
		case <-late:
			t.Fatalf("%d events read of %d that were sent", f.seen.Load(), n)
		}
	}
}

// TestRestedReaderIsWoken sends single events to a reader that sleeps without
// an end: only the program can wake it.
func TestRestedReaderIsWoken(t *testing.T) {
	f := follow(t, judging(t))
	for n := range 20 {
		f.k.AwaitRest(t, f.events)
		f.send(t, n)
		f.wait(t, int64(n+1))
	}
	if n := f.asleep.Load(); n > 0 {
		t.Errorf("%d events were read while the reader was said to sleep: the next ones wake it for nothing", n)
	}
}

// TestFirstOfABurstWakes sends to a reader that is said to sleep, of which there
// is none: the first event takes the word back, or each one would wake.
func TestFirstOfABurstWakes(t *testing.T) {
	f := &follower{k: judging(t)}
	f.k.SaySleeps(t)
	f.send(t, 1)
	if f.k.Asleep(t) {
		t.Error("after an event the reader is still said to sleep: each one of a burst would wake it")
	}
}

// TestNoEventIsLostOnTheWayToSleep sends events at moments that drift through
// those at which the reader falls asleep, one by one: none may stay in the ring.
func TestNoEventIsLostOnTheWayToSleep(t *testing.T) {
	f := follow(t, judging(t))
	for n := range 100 {
		f.k.AwaitFallingAsleep(t, time.Duration(n%50)*time.Microsecond)
		f.send(t, n)
		f.wait(t, int64(n+1))
	}
}

// TestBurstAfterARest sends many events to one that sleeps: the first wakes it,
// all arrive.
func TestBurstAfterARest(t *testing.T) {
	f := follow(t, judging(t))
	const burst = 500
	for round := range 5 {
		f.k.AwaitRest(t, f.events)
		for n := range burst {
			f.send(t, round*burst+n)
		}
		f.wait(t, int64((round+1)*burst))
	}
}

// TestCloseEndsARest closes a ring at work, one that falls asleep, and one that
// sleeps.
func TestCloseEndsARest(t *testing.T) {
	for _, c := range []struct {
		name  string
		reach func(t *testing.T, f *follower)
	}{
		{"at work", func(t *testing.T, f *follower) { f.send(t, 1); f.wait(t, 1) }},
		{"falling asleep", func(t *testing.T, f *follower) { f.k.AwaitFallingAsleep(t, 0) }},
		{"asleep", func(t *testing.T, f *follower) { f.k.AwaitRest(t, f.events) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := judging(t)
			for range 20 {
				f := follow(t, k)
				k.ForgetConns(t) // what is sent is new again
				c.reach(t, f)
				if err := f.events.Close(); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-f.done:
					if err != nil {
						t.Fatal(err)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("a closed ring is followed on")
				}
				if _, err := f.events.Next(); !errors.Is(err, os.ErrClosed) {
					t.Fatalf("read from a closed ring: %v, want %v", err, os.ErrClosed)
				}
			}
		})
	}
}
