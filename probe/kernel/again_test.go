// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// existing is n connections of each family that the endpoint of [manyPolicies]
// opened to its peers.
func existing(n int) []kernel.Existing {
	var out []kernel.Existing
	for i := range n {
		hi, lo := byte(i%5000>>8), byte(i%5000)
		c := kernel.Existing{
			Local: netip.MustParseAddr("10.0.0.1"), Peer: netip.AddrFrom4([4]byte{10, 1, hi, lo}), LocalPort: uint16(1024 + i/5000), PeerPort: 80,
			Protocol: flow.TCP, Direction: flow.Egress, Endpoint: 1,
		}
		out = append(out, c)
		c.Local, c.Peer = netip.MustParseAddr("fd00::1"), netip.AddrFrom16([16]byte{0xfd, 1, 14: hi, 15: lo})
		out = append(out, c)
	}
	return out
}

// More connections than one run of the program judges are judged in several.
func TestAllSilentConnectionsAreJudgedAgain(t *testing.T) {
	k := open(t, kernel.Options{})
	r := manyPolicies(1)
	load(t, k, r)
	if err := k.Watch(map[netip.Addr]ruleset.EndpointID{r.Endpoints[0].IP: 1, r.Endpoints[1].IP: 1}); err != nil {
		t.Fatal(err)
	}
	const n = 333
	if added, err := k.Seed(existing(n)); err != nil || added != 2*n {
		t.Fatalf("%d added, %v", added, err)
	}
	verdicts := func() map[flow.Verdict]int {
		out := map[flow.Verdict]int{}
		if err := k.Scan(true, func(r *kernel.Record) { out[flow.Verdict(r.Conn.Judgement.Verdict)]++ }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := verdicts(); got[flow.Allow] != 2*n {
		t.Fatalf("verdicts %v", got)
	}
	r.Generation, r.Matches = 2, nil
	load(t, k, r)
	if got := verdicts(); got[flow.Deny] != 2*n {
		t.Errorf("after the change %v", got)
	}
}

// BenchmarkAgain tells how long one run takes: as long the processor receives
// no packets.
func BenchmarkAgain(b *testing.B) {
	k := open(b, kernel.Options{})
	load(b, k, manyPolicies(100))
	if _, err := k.Seed(existing(16000)); err != nil {
		b.Fatal(err)
	}
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	runs, took := k.AgainRuns(b)
	for b.Loop() {
		b.StopTimer()
		load(b, k, manyPolicies(100))
		b.StartTimer()
		if err := k.JudgeAgain(); err != nil {
			b.Fatal(err)
		}
	}
	moreRuns, moreTook := k.AgainRuns(b)
	b.ReportMetric(float64(moreTook-took)/float64(moreRuns-runs), "ns/run")
}

// TestUnheardIsNotTold: what conntrack remembers of UDP is most often over, so it
// is told when it speaks, as one that was open before, opened by whom it knows.
func TestUnheardIsNotTold(t *testing.T) {
	k := watched(t, kernel.Options{})
	seeds := []kernel.Existing{
		{Local: local4, Peer: peer4, LocalPort: 20000, PeerPort: 53, Protocol: flow.UDP, Direction: flow.Ingress, Endpoint: 1},
		{Local: local4, Peer: peer4, LocalPort: 20001, PeerPort: 53, Protocol: flow.UDP, Direction: flow.Egress, Endpoint: 1},
		{Local: local4, Peer: peer4, LocalPort: 20002, PeerPort: 53, Protocol: flow.TCP, Direction: flow.Egress, Endpoint: 1},
	}
	if n, err := k.Seed(seeds); n != len(seeds) || err != nil {
		t.Fatalf("%d added, %v", n, err)
	}
	told := func() (got []string) {
		if err := k.Scan(true, func(r *kernel.Record) {
			if !r.Is(bpf.FlowConnFlagsCONN_PREEXISTING) {
				t.Errorf("port %d was not open before", r.LocalPort)
			}
			got = append(got, fmt.Sprintf("%d kind %d to %d packets %v", r.LocalPort, r.Kind, r.Conn.Direction, r.Conn.Packets))
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		return got
	}
	silent := fmt.Sprintf("20002 kind %d to %d packets [0 0]", kernel.New, flow.Egress)
	if got := told(); !slices.Equal(got, []string{silent}) {
		t.Errorf("told %q", got)
	}
	run(t, k, flow.Egress, packet(local4, peer4, flow.UDP, datagram(20000, 53)))
	spoke := fmt.Sprintf("20000 kind %d to %d packets [0 1]", kernel.New, flow.Ingress)
	if got := told(); len(got) != 2 || got[0] != spoke {
		t.Errorf("told %q, want %q first", got, spoke)
	}
	if err := k.Watch(nil); err != nil {
		t.Fatal(err)
	}
	for _, got := range told() {
		if strings.HasPrefix(got, "20001") {
			t.Errorf("told of the end of what nobody was told of: %s", got)
		}
	}
}
