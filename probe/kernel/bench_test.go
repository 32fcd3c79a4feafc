// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// manyPolicies is one endpoint that n allow-policies and as many default
// denies (as far as bits go) judge, among 5,000 peers.
func manyPolicies(n int) *ruleset.Ruleset {
	bits := min(n, 120)
	s := ruleset.Set{ID: 1, IsolateStart: uint16(bits), BaselineStart: uint16(2 * bits), Current: ruleset.Bitmap{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}}
	for i := bits; i < 2*bits; i++ {
		s.Deny.Add(i)
		s.Always.Add(i)
	}
	s.Candidate = s.Current
	s.Candidate[0] &^= 1 // a dry-run without the first policy: both verdicts are computed
	r := &ruleset.Ruleset{Generation: 1, Sets: []ruleset.Set{s}}
	r.Endpoints = []ruleset.Endpoint{{IP: netip.MustParseAddr("10.0.0.1"), ID: 1, Ingress: 1, Egress: 1}, {IP: netip.MustParseAddr("fd00::1"), ID: 1, Ingress: 1, Egress: 1}}
	for i := range 5000 {
		class := ruleset.ClassID(1 + i%n)
		r.Peers = append(r.Peers,
			ruleset.Peer{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32), Class: class},
			ruleset.Peer{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 1, 14: byte(i >> 8), 15: byte(i)}), 128), Class: class})
	}
	for i := range n {
		m := ruleset.Match{Set: 1, Peer: ruleset.ClassID(1 + i), Ports: 1}
		m.Bits.Add(i % bits)
		m.Alt = m.Bits
		r.Matches = append(r.Matches, m)
		r.Ports = append(r.Ports, ruleset.Port{Set: 1, Protocol: 6, Port: uint16(80 + i), Class: 1})
	}
	r.Sort()
	return r
}

func tcp(local, peer netip.Addr, port uint16, flags byte) []byte {
	segment := []byte{0x9c, 0x40, byte(port >> 8), byte(port), 0, 0, 0, 0, 0, 0, 0, 0, 5 << 4, flags, 0, 0, 0, 0, 0, 0}
	return packet(local, peer, flow.TCP, segment)
}

// packet is an Ethernet frame without link addresses.
func packet(src, dst netip.Addr, protocol flow.Protocol, payload []byte) []byte {
	f := make([]byte, 14, 128)
	if src.Is4() {
		f[12], f[13] = 0x08, 0
		f = append(f, 0x45, 0, 0, byte(20+len(payload)), 0, 1, 0, 0, 64, byte(protocol), 0, 0)
	} else {
		f[12], f[13] = 0x86, 0xdd
		f = append(f, 0x60, 0, 0, 0, 0, byte(len(payload)), byte(protocol), 64)
	}
	return append(append(append(f, src.AsSlice()...), dst.AsSlice()...), payload...)
}

func load(b testing.TB, k *kernel.Kernel, r *ruleset.Ruleset) {
	b.Helper()
	d, err := ruleset.Diff(nil, r)
	if err != nil {
		b.Fatal(err)
	}
	d.Generation = max(r.Generation, k.Generation()+1)
	if err := k.Apply(d); err != nil {
		b.Fatal(err)
	}
}

// pin keeps this goroutine on one processor, so that caches and clocks are its
// own as far as they can be.
func pin(b testing.TB) {
	b.Helper()
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		b.Fatal(err)
	}
	for cpu := range 1024 {
		if old.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	})
}

// BenchmarkPacket measures the programs in the kernel's own repeat loop, in
// turns with an empty one: whatever else this machine does befalls both. What
// is told are medians of many short rounds, and the least.
func BenchmarkPacket(b *testing.B) {
	const repeat = 500
	k := open(b, kernel.Options{Ring: 1 << 20})
	progs := kernel.LoadBench(b, k)
	frame := tcp(addresses[0], netip.MustParseAddr("10.1.0.0"), 80, 0x10)
	once := func(b *testing.B, p *ebpf.Program, frame []byte) float64 {
		_, took, err := p.Benchmark(frame, repeat, nil)
		if err != nil {
			b.Fatal(err)
		}
		return float64(took.Nanoseconds())
	}
	measure := func(b *testing.B, p *ebpf.Program, f []byte, after func()) {
		pin(b)
		var all, more []float64
		for b.Loop() {
			empty := once(b, progs.BenchEmpty, frame)
			took := once(b, p, f)
			all, more = append(all, took), append(more, took-empty)
			after()
		}
		slices.Sort(all)
		slices.Sort(more)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(all[len(all)/2], "ns/packet")
		b.ReportMetric(more[len(more)/2], "over-empty")
		b.ReportMetric(more[len(more)/20], "over-empty-p5")
	}
	nothing := func() {}
	b.Run("empty", func(b *testing.B) { measure(b, progs.BenchEmpty, frame, nothing) })
	b.Run("port", func(b *testing.B) { measure(b, progs.BenchPort, frame, nothing) })
	for _, n := range []int{1, 100, 1000, 13678} {
		load(b, k, manyPolicies(n))
		for _, peer := range []netip.Addr{netip.MustParseAddr("10.1.0.0"), netip.MustParseAddr("fd01::")} {
			local, name := addresses[0], "IPv4"
			if peer.Is6() {
				local, name = addresses[1], "IPv6"
			}
			for _, heads := range []bool{false, true} {
				what := "established"
				if heads {
					what = "established-heads"
				}
				b.Run(fmt.Sprintf("%s/%s/policies=%d", what, name, n), func(b *testing.B) {
					if err := k.ReadHeads(heads); err != nil {
						b.Fatal(err)
					}
					defer func() { _ = k.ReadHeads(false) }()
					k.Forget(b)
					for _, f := range [][]byte{tcp(local, peer, 80, 0x02), tcp(local, peer, 80, 0x10)} {
						if _, err := k.TestRun(flow.Egress, f); err != nil {
							b.Fatal(err)
						}
					}
					_, egress, _ := k.Programs(true)
					measure(b, egress, tcp(local, peer, 80, 0x10), nothing)
				})
			}
			b.Run(fmt.Sprintf("new/%s/policies=%d", name, n), func(b *testing.B) {
				k.Forget(b)
				measure(b, progs.BenchNew, tcp(local, peer, 80, 0x02), func() { k.Forget(b) })
			})
			b.Run(fmt.Sprintf("new-peer/%s/policies=%d", name, n), func(b *testing.B) {
				k.Forget(b)
				measure(b, progs.BenchNewPeer, tcp(local, peer, 80, 0x02), func() { k.Forget(b) })
			})
		}
	}
}

// BenchmarkEvents measures how fast events are read: what comes faster than
// that for longer than the ring holds is lost, and counted.
func BenchmarkEvents(b *testing.B) {
	const burst = 6000 // of 168 bytes: as many as a ring of 1 MiB holds
	k := open(b, kernel.Options{})
	load(b, k, manyPolicies(1))
	progs := kernel.LoadBench(b, k)
	events, err := k.Events()
	if err != nil {
		b.Fatal(err)
	}
	var last time.Time
	seen, full := 0, make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- events.Follow(func(*kernel.Record) {
			if seen++; seen == burst {
				last = time.Now()
				full <- struct{}{}
			}
		}, func() time.Duration { return 0 })
	}()
	var took time.Duration
	total := 0
	for b.Loop() {
		// As fast as one processor can make new flows, while the other reads.
		start := time.Now()
		if _, _, err := progs.BenchNew.Benchmark(tcp(addresses[0], netip.MustParseAddr("10.1.0.0"), 80, 0x02), burst, nil); err != nil {
			b.Fatal(err)
		}
		<-full
		took += last.Sub(start)
		total, seen = total+burst, 0
		k.ForgetConns(b)
	}
	if c, err := k.Counts(); err != nil || c.RingFull != 0 {
		b.Errorf("%d events lost, %v", c.RingFull, err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(total)/took.Seconds(), "events/s")
	if err := events.Close(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkScan measures a walk over 20,000 connections, all of which moved.
func BenchmarkScan(b *testing.B) {
	const flows = 20000
	k := open(b, kernel.Options{})
	load(b, k, manyPolicies(1))
	if err := k.Watch(map[netip.Addr]ruleset.EndpointID{addresses[0]: 1}); err != nil {
		b.Fatal(err)
	}
	progs := kernel.LoadBench(b, k)
	if _, _, err := progs.BenchNew.Benchmark(tcp(addresses[0], netip.MustParseAddr("10.1.0.0"), 80, 0x02), flows, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		if err := k.Scan(true, func(*kernel.Record) { n++ }); err != nil || n != flows {
			b.Fatalf("%d connections, %v", n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/flows, "ns/connection")
}
