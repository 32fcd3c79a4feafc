// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// BenchmarkFrame measures what the screen's loop does for one tick at 200x60
// with 100,000 flows: Update with the digested snapshot, and View. Taking the
// snapshot happens outside the loop and is not counted. The 99th percentile
// is of the thread's own processor time, so that a busy machine doesn't count;
// it must stay below 5 ms.
func BenchmarkFrame(b *testing.B) {
	for _, p := range []struct {
		name, start string
		keys        []string
	}{
		{"top", "top", []string{"pgdown"}},
		{"flows", "flows", []string{"pgdown"}},
		{"connections", "connections", []string{"pgdown"}},
		{"drops", "drops", []string{"pgdown"}},
		{"policies", "policies", []string{"pgdown"}},
		{"timeline", "timeline", []string{"pgdown"}},
		{"nodes", "nodes", nil},
		{"matrix", "matrix", nil},
		{"policy", "policies", []string{"enter"}},
		{"why", "connections", []string{"enter"}},
	} {
		b.Run(p.name, func(b *testing.B) {
			w := fake.Many(100_000)
			d := drive(b, w, 200, 60, on(p.start))
			d.keys(p.keys...)
			if got := d.m.page().Name(); got != p.name && p.name != "connections" {
				b.Fatalf("on page %s, want %s", got, p.name)
			}
			times := make([]time.Duration, 0, b.N)
			msgs := make([]snapMsg, 2)
			for i := range msgs {
				w.Step(time.Second)
				msg, ok := d.m.ask()().(snapMsg)
				if !ok {
					b.Fatal("no snapshot")
				}
				msgs[i] = msg
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				begin := used(b)
				d.m.Update(msgs[i%2])
				_ = d.m.View()
				times = append(times, used(b)-begin)
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// used is the processor time that this thread has taken.
func used(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkIdle measures a tick in which nothing has changed.
func BenchmarkIdle(b *testing.B) {
	d := drive(b, fake.New(), 200, 60, nil)
	b.ReportAllocs()
	for b.Loop() {
		d.tick()
	}
}

// BenchmarkKey measures a move of the cursor with its redraw.
func BenchmarkKey(b *testing.B) {
	d := drive(b, fake.Many(100_000), 200, 60, on("flows"))
	down, up := press("down"), press("up")
	b.ReportAllocs()
	for b.Loop() {
		d.m.Update(down)
		_ = d.m.View()
		d.m.Update(up)
		_ = d.m.View()
	}
}
