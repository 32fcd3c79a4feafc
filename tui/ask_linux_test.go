// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// screens are the pages, as they begin and as they can be sorted.
var screens = []struct{ name, start, sort, filter, keys string }{
	{name: "top", start: "top"},
	{name: "flows", start: "flows"},
	{name: "flows-by-rate", start: "flows", sort: "rate"},
	{name: "connections", start: "connections"},
	{name: "connections-by-rate", start: "connections", sort: "rate"},
	{name: "connections-by-source", start: "connections", sort: "source"},
	{name: "connections-by-bytes", start: "connections", sort: "bytes"},
	{name: "connections-at-the-end", start: "connections", sort: "bytes", keys: "end"},
	{name: "connections-filtered", start: "connections", filter: "pod-7"},
	{name: "connections-field", start: "connections", filter: "to=app3 port=443"},
	{name: "connections-regex", start: "connections", filter: "pod-7[0-9] "},
	{name: "connections-inverse", start: "connections", filter: "!pod-77"},
	{name: "flows-field", start: "flows", filter: "to=app3 port=443"},
	{name: "flows-regex", start: "flows", filter: "pod-7[0-9] "},
	{name: "flows-inverse", start: "flows", filter: "!pod-77"},
	{name: "flows-close", start: "flows", filter: "type=close"},
	{name: "flows-open", start: "flows", filter: "type=flow"},
	{name: "why", start: "connections", keys: "enter"},
	{name: "drops", start: "drops"},
	{name: "policies", start: "policies"},
	{name: "nodes", start: "nodes"},
	{name: "timeline", start: "timeline"},
	{name: "matrix", start: "matrix"},
}

// BenchmarkTick is one frame of a busy session at 200x60, after each 2,500
// events in a store of 100,000 flows: the question to the store with its
// digest, which is asked outside the screen's loop, and Update with View,
// which is the loop. All are processor time of the thread.
func BenchmarkTick(b *testing.B) { ticks(b, 4) }

// BenchmarkChanges is the same where 10,000 connections change in each tick, a
// tenth of them new ones and a tenth that end. draw-p99 must stay below 5 ms.
func BenchmarkChanges(b *testing.B) { ticks(b, 1) }

// ticks measures frames, of which every so many bring another 10,000 events.
func ticks(b *testing.B, frames int) {
	b.Helper()
	for _, p := range screens {
		b.Run(p.name, func(b *testing.B) {
			st, second := busy(b)
			for i := range 100 {
				second(b, i, st.Apply)
			}
			d := drive(b, fake.New(), 200, 60, func(o *Options) { o.StartPage, o.Sort, o.Filter, o.Snapshots = p.start, p.sort, p.filter, st })
			if p.keys != "" {
				d.keys(p.keys)
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var asks, draws []time.Duration
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				if i%frames == 0 {
					second(b, 100+i/frames, st.Apply)
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
