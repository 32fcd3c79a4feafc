// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire" //nolint:depguard // the frames go into a store; the screen sees none
)

// BenchmarkFeed is what every page pays: the bytes of a second with 10,000
// events are decoded and go into a store of 100,000 flows. Nothing is drawn.
// It also tells what a collection of garbage takes beside such a store.
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
			second(b, n, into(b, w))
			n++
		}
		r := wire.NewReader(&stream)
		b.StartTimer()
		begin := processor(b)
		feed(b, r, st, func() {})
		used += int64(processor(b) - begin)
	}
	b.ReportMetric(float64(used)/float64(b.N)/seconds/10_000, "ns/event")
	b.ReportMetric(float64(used)/float64(b.N)/seconds/1e7, "%core")
	collection := time.Hour
	for range 5 {
		begin := processor(b)
		runtime.GC()
		collection = min(collection, processor(b)-begin)
	}
	b.ReportMetric(float64(collection.Microseconds())/1e3, "collection-ms")
	runtime.KeepAlive(st)
}

// into writes frames instead of applying them.
func into(b *testing.B, w *wire.Writer) func(*wire.Frame) []flow.Event {
	b.Helper()
	return func(f *wire.Frame) []flow.Event {
		if err := w.Write(f); err != nil {
			b.Fatal(err)
		}
		return nil
	}
}

// feed applies what r reads until its end, and rests after each frame.
func feed(b *testing.B, r *wire.Reader, st *store.Store, rest func()) {
	b.Helper()
	for {
		f, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		st.Apply(f)
		wire.Release(f)
		rest()
	}
}
