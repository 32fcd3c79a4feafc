// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"runtime"
	"slices"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/wire" //nolint:depguard // the frames go into a store; the screen sees none
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// BenchmarkFreeze is space on a screen of 100,000 flows. freeze-ms is how long
// it takes, and held-ms how long nothing can be fed meanwhile, by the clock;
// key-p99-µs is what the screen's loop does for a key while it is under way, in
// the thread's own processor time. It must stay below 5 ms.
func BenchmarkFreeze(b *testing.B) {
	for _, start := range []string{"connections", "flows"} {
		b.Run(start, func(b *testing.B) {
			st, second := busy(b)
			for i := range 110 {
				second(b, i, st.Apply)
			}
			d := drive(b, fake.New(), 200, 60, func(o *Options) { o.StartPage, o.Snapshots = start, freezing{st} })
			down, up := press("down"), press("up")
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var took, held, keys []time.Duration
			for b.Loop() {
				done, fed := make(chan time.Duration), make(chan time.Duration)
				stop := make(chan struct{})
				go func() {
					begin := time.Now()
					f := st.Freeze()
					done <- time.Since(begin)
					runtime.KeepAlive(f)
				}()
				go func() {
					var longest time.Duration
					beat := &wire.Frame{Node: "n1", TimeNs: st.Now().UnixNano(), Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{}}}}
					for {
						select {
						case <-stop:
							fed <- longest
							return
						default:
						}
						begin := time.Now()
						st.Apply(beat)
						longest = max(longest, time.Since(begin))
						time.Sleep(time.Millisecond)
					}
				}()
				for wait := true; wait; {
					select {
					case t := <-done:
						took = append(took, t)
						wait = false
					default:
						for _, k := range [2]tea.KeyPressMsg{down, up} {
							begin := used(b)
							d.m.Update(k)
							_ = d.m.View()
							keys = append(keys, used(b)-begin)
						}
						time.Sleep(time.Millisecond)
					}
				}
				close(stop)
				held = append(held, <-fed)
			}
			for what, list := range map[string][]time.Duration{"freeze": took, "held": held} {
				slices.Sort(list)
				b.ReportMetric(float64(list[len(list)/2].Microseconds())/1e3, what+"-ms")
			}
			slices.Sort(keys)
			b.ReportMetric(float64(keys[len(keys)*99/100].Microseconds()), "key-p99-µs")
		})
	}
}
