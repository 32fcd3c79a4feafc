// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// BenchmarkRoundTrip is a request of one byte and its answer between two pods
// of a node, over one TCP connection: two packets, and both pods pay for each.
// One kind of session comes after the other, in turns, so that whatever else the
// machine does befalls all. cpu-ns is what both ends take of the processor
// without us, at best; what is told of a session is how much more. Names of
// programs tell what the kernel's own statistics say of each, for one round
// trip with everything asked for; 60 ns of each run are the statistics'.
func BenchmarkRoundTrip(b *testing.B) {
	bed := testkit.NewBed(b)
	pods := [2]*netbed.Pod{bed.Pod("a"), bed.Pod("b")}
	p, err := probe.Open(probe.Options{Node: bed.Node.Path()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if err := p.Start(newSink()); err != nil {
		b.Fatal(err)
	}
	trips := roundTrips(b, bed, pods)
	both := []*wire.Endpoint{asEndpoint(1, pods[0]), asEndpoint(2, pods[1])}
	sessions := []struct {
		name    string
		options *wire.Options
		watched []*wire.Endpoint
		took    []float64
	}{
		{name: "cpu-ns", options: &wire.Options{}},
		{name: "flows", options: &wire.Options{}, watched: both},
		{name: "names", options: &wire.Options{Names: true}, watched: both},
		{name: "drops", options: &wire.Options{Drops: true}, watched: both},
		{name: "blame", options: &wire.Options{Drops: true, Blame: true}, watched: both},
		{name: "owners", options: &wire.Options{Owners: true}, watched: both},
		{name: "everything", options: &wire.Options{Drops: true, Blame: true, Names: true, Owners: true}, watched: both},
	}
	const round = 500
	for b.Loop() {
		for i := range sessions {
			s := &sessions[i]
			if err := errors.Join(p.SetOptions(s.options), p.SetEndpoints(s.watched)); err != nil {
				b.Fatal(err)
			}
			trips(round / 2)
			before := processorTime(b)
			trips(round)
			s.took = append(s.took, float64(processorTime(b)-before)/round)
		}
	}
	without := 0.0
	for _, s := range sessions {
		slices.Sort(s.took)
		best := s.took[len(s.took)/20]
		b.ReportMetric(best-without, s.name)
		if without == 0 {
			without = best
		}
	}
	b.ReportMetric(0, "ns/op")
	byProgram(b, p.Programs(), trips)
}

// roundTrips is a way to make so many of them.
func roundTrips(b *testing.B, bed *testkit.Bed, pods [2]*netbed.Pod) func(n int) {
	l := bed.Listen(pods[1], "tcp4", at(pods[1], 0, 7))
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) // without splice, as most processes do
	}()
	c := bed.Dial(pods[0], "tcp4", at(pods[1], 0, 7))
	one := []byte("x")
	return func(n int) {
		for range n {
			if _, err := c.Write(one); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, one); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// byProgram comes last: the statistics slow every program down.
func byProgram(b *testing.B, all []*ebpf.Program, trips func(int)) {
	const n = 10000
	on, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = on.Close() }()
	read := func() (list []*ebpf.ProgramStats) {
		for _, prog := range all {
			s, err := prog.Stats()
			if err != nil {
				b.Fatal(err)
			}
			list = append(list, s)
		}
		return list
	}
	before := read()
	trips(n)
	after := read()
	for i, prog := range all {
		runs := float64(after[i].RunCount-before[i].RunCount) / n
		if info, err := prog.Info(); err == nil && runs > 0.1 {
			b.ReportMetric(float64(after[i].Runtime-before[i].Runtime)/n, info.Name+"-ns")
			b.ReportMetric(runs, info.Name+"-runs")
		}
	}
}

// processorTime is what this process took so far, in nanoseconds.
func processorTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
