// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
	"github.com/ebpol/kubectl-ebpol/probe/serve/servetest"
)

// BenchmarkEvents sends new connections from a probe's sink over a stream to
// whoever reads the session, without a budget that would thin them: the
// number is events per second, and every one of them must arrive.
func BenchmarkEvents(b *testing.B) {
	fake := servetest.New()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve.New(fake, serve.Options{Node: "n1"}).Serve(b.Context(), l) }()
	live, err := NewLive(b.Context(), Config{
		Cluster: &toyCluster{make(chan State)}, NewCompiler: newToy, Options: &wire.Options{BudgetBytes: 1 << 30},
		Probes: []Probe{{Node: "n1", Dialer: DialFunc(func(context.Context) (io.ReadWriteCloser, error) { return net.Dial("tcp", l.Addr().String()) })}},
	})
	if err != nil {
		b.Fatal(err)
	}
	for f := range live.Frames() {
		if f.GetProbeState().GetPhase() == phaseLive {
			break
		}
	}
	fake.Await(func() bool { return fake.OptionsLocked() != nil })
	b.ReportAllocs()
	b.ResetTimer()
	const window = 2000 // what the probe's queue takes at once
	sent, got := 0, 0
	for got < b.N {
		for sent < b.N && sent-got < window {
			sent++
			fake.Sink().Flows([]*wire.Flow{newFlow(uint64(sent), 1)})
		}
		f := <-live.Frames()
		got += len(f.GetFlows().GetFlows())
		if lost := f.GetHeartbeat().GetLoss().GetThinned(); lost != 0 {
			b.Fatalf("%d were left out", lost)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	if err := live.Close(b.Context()); err != nil {
		b.Error(err)
	}
	if err := <-done; err != nil {
		b.Error(err)
	}
}
