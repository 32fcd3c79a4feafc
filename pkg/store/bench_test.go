// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const (
	benchFlows   = 100_000
	benchChanges = 10_000
)

// benchStore holds 100,000 live flows of 500 pods.
func benchStore(b *testing.B) (*Store, func(round int)) {
	b.Helper()
	s := New(Options{Limits: Limits{Flows: benchFlows}})
	var pods []*wire.Pod
	addr := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, 10<<24|uint32(i+1)) }
	for i := range 500 {
		pods = append(pods, &wire.Pod{Namespace: fmt.Sprintf("ns%d", i%20), Name: fmt.Sprintf("pod-%d", i), Uid: fmt.Sprint(i), Ips: [][]byte{addr(i)}, Workload: fmt.Sprintf("deploy/app%d", i/5), Endpoint: uint32(i + 1)})
	}
	now := t0
	apply := func(f *wire.Frame) { f.TimeNs, f.Node = now.UnixNano(), "n1"; s.Apply(f) }
	apply(&wire.Frame{Body: &wire.Frame_World{World: &wire.World{Pods: pods}}})
	for i := range benchFlows {
		p := i % 500
		apply(&wire.Frame{Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{{
			Id: uint64(i + 1), Kind: wire.Flow_NEW, Endpoint: uint32(p + 1), Direction: uint32(1 + i%2), Protocol: 6, LocalIp: addr(p), PeerIp: addr((p + 7) % 500),
			LocalPort: 443, PeerPort: uint32(i % 60000), Verdict: uint32(1 + i%2), BytesIn: 100,
		}}}}})
	}
	return s, func(round int) {
		now = now.Add(time.Second)
		list := make([]*wire.Flow, benchChanges)
		for i := range list {
			list[i] = &wire.Flow{Id: uint64((round*benchChanges+i)%benchFlows + 1), BytesIn: uint64(1000 * (round + 2)), PacketsIn: uint64(round + 2)}
		}
		apply(&wire.Frame{Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}}})
	}
}

func BenchmarkApplyTenThousandChanges(b *testing.B) {
	_, change := benchStore(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		change(n)
		n++
	}
}

func BenchmarkSnapshotOfHundredThousand(b *testing.B) {
	s, change := benchStore(b)
	change(0)
	match, err := ParseFilter("to=app3 verdict=deny", nil)
	if err != nil {
		b.Fatal(err)
	}
	regex, err := ParseFilter("pod-77", nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, q := range map[string]Query{
		"newest":    {Flows: true, Limit: 60},
		"byRate":    {Flows: true, Limit: 60, Order: Order{By: "rate"}},
		"byName":    {Flows: true, Limit: 60, Order: Order{By: "name"}},
		"fields":    {Flows: true, Limit: 60, Match: match},
		"regex":     {Flows: true, Limit: 60, Match: regex},
		"workloads": {Workloads: true, Limit: 60},
		"pairs":     {Pairs: true, Limit: 400},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Snapshot(q)
			}
		})
	}
}
