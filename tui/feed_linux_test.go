// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire" //nolint:depguard // the frames go into a store; the screen sees none
)

// BenchmarkFeed is what every page pays: the bytes of a second with 10,000
// events are decoded and go into a store of 100,000 flows. Nothing is drawn.
func BenchmarkFeed(b *testing.B) {
	defer roomy()()
	const seconds = 20
	st, second := busy(b)
	for i := range 100 {
		second(b, i, st.Apply)
	}
	n := 100
	var stream bytes.Buffer
	b.ReportAllocs()
	var used int64
	for b.Loop() {
		b.StopTimer()
		stream.Reset()
		w := wire.NewWriter(&stream)
		for range seconds {
			second(b, n, func(f *wire.Frame) []flow.Event {
				if err := w.Write(f); err != nil {
					b.Fatal(err)
				}
				return nil
			})
			n++
		}
		r := wire.NewReader(&stream)
		b.StartTimer()
		begin := processor(b)
		for {
			f, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			st.Apply(f)
			wire.Release(f)
		}
		used += int64(processor(b) - begin)
	}
	b.ReportMetric(float64(used)/float64(b.N)/seconds/10_000, "ns/event")
	b.ReportMetric(float64(used)/float64(b.N)/seconds/1e7, "%core")
}
