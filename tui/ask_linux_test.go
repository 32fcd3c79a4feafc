// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// BenchmarkTick is one frame of a busy session at 200x60, after each 2,500
// events in a store of 100,000 flows: the question to the store with its
// digest, which is asked outside the screen's loop, and Update with View,
// which is the loop. All are processor time of the thread.
func BenchmarkTick(b *testing.B) {
	for _, p := range []struct{ name, start, sort string }{
		{"top", "top", ""},
		{"flows", "flows", ""},
		{"flows-by-rate", "flows", "rate"},
		{"connections", "connections", ""},
		{"connections-by-rate", "connections", "rate"},
		{"connections-by-source", "connections", "source"},
		{"drops", "drops", ""},
		{"policies", "policies", ""},
		{"nodes", "nodes", ""},
		{"timeline", "timeline", ""},
		{"matrix", "matrix", ""},
	} {
		b.Run(p.name, func(b *testing.B) {
			st, second := busy(b)
			for i := range 100 {
				second(b, i, st.Apply)
			}
			d := drive(b, fake.New(), 200, 60, func(o *Options) { o.StartPage, o.Sort, o.Snapshots = p.start, p.sort, st })
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var asks, draws []time.Duration
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				if i%4 == 0 {
					second(b, 100+i/4, st.Apply)
				}
				b.StartTimer()
				begin := used(b)
				msg := d.m.ask()()
				asked := used(b)
				d.m.Update(msg)
				_ = d.m.View()
				drawn := used(b)
				asks, draws = append(asks, asked-begin), append(draws, drawn-asked)
				d.m.fresh = false // four frames of a second are asked for anew
			}
			for what, list := range map[string][]time.Duration{"ask": asks, "draw": draws} {
				slices.Sort(list)
				b.ReportMetric(float64(list[len(list)/2].Microseconds()), what+"-µs")
				b.ReportMetric(float64(list[len(list)*99/100].Microseconds()), what+"-p99-µs")
			}
		})
	}
}
