// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/ebpol/kubectl-ebpol/pkg/wire" //nolint:depguard // the frames go into a store; the screen sees none
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
	"github.com/ebpol/kubectl-ebpol/tui/terminal"
)

// sessions are the pages as they begin, sorted by another column, and with
// filters of each kind. Connections are one row each: a hundred thousand.
var sessions = []struct{ name, start, sort, filter string }{
	{name: "nothing"},
	{name: "top", start: "top"},
	{name: "flows", start: "flows"},
	{name: "flows-by-rate", start: "flows", sort: "rate"},
	{name: "flows-field", start: "flows", filter: "to=app3 port=443"},
	{name: "flows-regex", start: "flows", filter: "pod-7[0-9] "},
	{name: "flows-inverse", start: "flows", filter: "!pod-77"},
	{name: "flows-close", start: "flows", filter: "type=close"}, // some of a pair's connections, but not all
	{name: "flows-open", start: "flows", filter: "type=flow"},
	{name: "connections", start: "connections"},
	{name: "connections-by-rate", start: "connections", sort: "rate"},
	{name: "connections-by-bytes", start: "connections", sort: "bytes"},
	{name: "connections-by-source", start: "connections", sort: "source"},
	{name: "connections-field", start: "connections", filter: "to=app3 port=443"},
	{name: "connections-regex", start: "connections", filter: "pod-7[0-9] "},
	{name: "connections-inverse", start: "connections", filter: "!pod-77"},
	{name: "connections-inverse-by-bytes", start: "connections", sort: "bytes", filter: "!pod-77"},
	{name: "drops", start: "drops"},
	{name: "policies", start: "policies"},
	{name: "nodes", start: "nodes"},
	{name: "timeline", start: "timeline"},
	{name: "matrix", start: "matrix"},
	{name: "quiet", start: "connections"}, // nothing happens: forty nodes say each second that they are there
}

// BenchmarkSession is a whole busy session in real time: bytes of the wire are
// decoded, 10,000 events a second go into a store of 100,000 flows, and the
// program draws 200x60 cells for a terminal. It reports the processor time of
// the process as a share of one core, all threads and the garbage collector
// included; "nothing" is what is left without a screen. One iteration takes ten seconds: -benchtime 1x.
func BenchmarkSession(b *testing.B) {
	for _, p := range sessions {
		name := p.name
		b.Run(name, func(b *testing.B) {
			const seconds = 10
			defer roomy()()
			st, second := busy(b)
			for i := range 100 {
				second(b, i, st.Apply)
			}
			var stream bytes.Buffer
			w := wire.NewWriter(&stream)
			for i := range b.N * seconds {
				if name == "quiet" {
					heartbeats(b, w, st.Now().Add(time.Duration(i+1)*time.Second))
					continue
				}
				second(b, 100+i, into(b, w))
			}
			m, err := New(Options{StartPage: p.start, Sort: p.sort, Filter: p.filter, Snapshots: st, Actions: fake.New(), Light: new(bool)})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			var sent counter
			painter := terminal.NewPainter(&sent, time.Second/fps)
			defer painter.Close()
			clock := &clock{lasts: lately}
			p := tea.NewProgram(&screen{m, painter, clock}, tea.WithContext(ctx), tea.WithFPS(modes), tea.WithInput(nil), tea.WithOutput(painter.Output()),
				tea.WithWindowSize(200, 60), tea.WithColorProfile(colorprofile.ANSI), tea.WithEnvironment([]string{"TERM=xterm-256color"}))
			clock.program = p
			ended := make(chan error, 1)
			go func() {
				if name == "nothing" {
					ended <- nil
					return
				}
				_, err := p.Run()
				ended <- err
			}()
			time.Sleep(time.Second) // it has drawn its first frames
			b.ResetTimer()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := processor(b)
			sent.Store(0)
			frames := m.renders
			r := wire.NewReader(&stream)
			pace := time.NewTicker(time.Second / 40)
			defer pace.Stop()
			feed(b, r, st, func() { <-pace.C })
			used := processor(b) - begin
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.NumGC-before.NumGC), "collections")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/seconds/float64(b.N)/1e3, "allocated-kB/s")
			b.ReportMetric(100*used.Seconds()/seconds/float64(b.N), "%core")
			b.ReportMetric(float64(m.renders-frames)/seconds/float64(b.N), "frames/s")
			b.ReportMetric(float64(sent.Load())/seconds/float64(b.N)/1e3, "kB/s")
			b.ReportMetric(0, "ns/op")
			stop()
			<-ended
		})
	}
}

// heartbeats are a second's of forty nodes.
func heartbeats(b *testing.B, w *wire.Writer, at time.Time) {
	b.Helper()
	for i := range 40 {
		at := at.Add(time.Duration(i) * time.Second / 40)
		into(b, w)(&wire.Frame{TimeNs: at.UnixNano(), Node: fmt.Sprint("n", i), Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{}}}})
	}
}

// counter counts what is written to a terminal.
type counter struct{ atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.Add(int64(len(b)))
	return len(b), nil
}
