// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"net"
	"testing"

	"golang.org/x/net/ipv4"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

// BenchmarkDropStorm floods a port that nobody listens on. ns/drop is what our
// program takes for one of them: a million drops a second cost as many
// milliseconds of one core each second, as this has nanoseconds.
func BenchmarkDropStorm(b *testing.B) {
	bed := testkit.NewBed(b)
	pods := [2]*netbed.Pod{bed.Pod("a"), bed.Pod("b")}
	p, err := probe.Open(probe.Options{Node: bed.Node.Path()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	s := newSink()
	if err := p.Start(s); err != nil {
		b.Fatal(err)
	}
	if err := p.SetOptions(&wire.Options{Drops: true, Blame: true}); err != nil {
		b.Fatal(err)
	}
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0]), asEndpoint(2, pods[1])}); err != nil {
		b.Fatal(err)
	}
	c := bed.ListenPacket(pods[0], "udp4", at(pods[0], 0, 0))
	flood := ipv4.NewPacketConn(c)
	batch := make([]ipv4.Message, 256)
	for i := range batch {
		batch[i] = ipv4.Message{Buffers: [][]byte{[]byte("x")}, Addr: net.UDPAddrFromAddrPort(at(pods[1], 0, uint16(9+i%7)))}
	}
	before := dropCost(p)
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		n, err := flood.WriteBatch(batch, 0)
		if err != nil {
			continue // an ICMP error comes back now and then
		}
		sent += n
	}
	b.StopTimer()
	after := dropCost(p)
	if n := after.GetRunCount() - before.GetRunCount(); n > 0 {
		b.ReportMetric(float64(after.GetRunTimeNs()-before.GetRunTimeNs())/float64(n), "ns/drop")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.ReportMetric(float64(len(s.drops))/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "drops/s")
}

func dropCost(p *probe.Probe) *wire.ProgramStats {
	for _, s := range p.Stats().GetPrograms() {
		if s.GetName() == "ebpol_drop" {
			return s
		}
	}
	return nil
}

// TestRareDropBesideAStorm: one packet to another port is told of, however many
// of the same reason are dropped at that moment.
func TestRareDropBesideAStorm(t *testing.T) {
	p, s, bed, pods := start(t, probe.Options{})
	needDrops(t, p)
	storm, rare := bed.Dial(pods[0], "udp", at(pods[1], 0, 9)), bed.Dial(pods[0], "udp", at(pods[1], 0, 10))
	send := func(c net.Conn) { _, _ = c.Write([]byte("x")) } // an ICMP error comes back now and then
	for range 5000 {
		send(storm)
	}
	send(rare)
	for range 5000 {
		send(storm)
	}
	s.await(t, "the rare one", func() bool {
		for _, d := range s.drops {
			if d.GetDport() == 10 && d.GetReasonName() == "NO_SOCKET" {
				return true
			}
		}
		return false
	})
}
