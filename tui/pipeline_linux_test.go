// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire" //nolint:depguard // the frames go into a store; the screen sees none
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// BenchmarkPipeline is a second of a busy session: 10,000 events (a tenth of
// them new connections) go into a store of 100,000 flows, and the screen
// draws what it draws in a second at its own pace, at 200x60. It reports the
// processor time of all of it, making the events up included, as a share of one
// core; 3 % is the limit, on a machine with nothing else to do.
func BenchmarkPipeline(b *testing.B) {
	for _, name := range []string{"top", "flows", "connections", "policies", "nodes"} {
		b.Run(name, func(b *testing.B) {
			defer roomy()()
			st, second := busy(b)
			for i := range 100 {
				second(b, i, st.Apply) // fills it
			}
			d := drive(b, fake.New(), 200, 60, func(o *Options) { o.StartPage, o.Snapshots = name, st })
			b.ReportAllocs()
			b.ResetTimer()
			begin := processor(b)
			frames := 0
			for i := 0; b.Loop(); i++ {
				second(b, 100+i, st.Apply)
				for left := time.Second; left > 0; {
					d.run(d.m.ask())
					frames++
					left -= max(steady, min(slowest, restShare*d.m.took))
				}
			}
			used := processor(b) - begin
			b.ReportMetric(100*used.Seconds()/float64(b.N), "%core")
			b.ReportMetric(float64(frames)/float64(b.N), "frames/s")
		})
	}
}

func processor(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// busy is a store that is told of 10,000 events in each second: 1,000 new
// connections, 1,000 that end, 8,000 that go on.
func busy(b *testing.B) (*store.Store, func(*testing.B, int, func(*wire.Frame) []flow.Event)) {
	b.Helper()
	st := store.New(store.Options{Quiet: true})
	addr := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, 10<<24|uint32(i+1)) } //nolint:gosec // small
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var pods []*wire.Pod
	for i := range 500 {
		pods = append(pods, &wire.Pod{Namespace: fmt.Sprintf("ns%d", i%20), Name: fmt.Sprintf("pod-%d", i), Uid: fmt.Sprint(i), Ips: [][]byte{addr(i)}, Workload: fmt.Sprintf("deploy/app%d", i/5), Endpoint: uint32(i + 1)}) //nolint:gosec // small
	}
	st.Apply(&wire.Frame{TimeNs: now.UnixNano(), Node: "n1", Body: &wire.Frame_World{World: &wire.World{Pods: pods}}})
	return st, func(b *testing.B, second int, take func(*wire.Frame) []flow.Event) {
		b.Helper()
		now = now.Add(time.Second)
		for part := range 40 {
			list := make([]*wire.Flow, 0, 250)
			for i := range 250 {
				n := second*1000 + part*25 + i%25
				p := n % 500
				f := &wire.Flow{Id: uint64(n + 1), BytesIn: uint64(100 + i), PacketsIn: uint64(1 + i)} //nolint:gosec // small
				switch {
				case i < 25:
					f.Kind, f.Endpoint, f.Direction, f.Protocol = wire.Flow_NEW, uint32(p+1), 1, 6 //nolint:gosec // small
					f.LocalIp, f.PeerIp, f.LocalPort, f.PeerPort = addr(p), addr((p+7+n%13)%500), 443, uint32(20_000+n%40_000)
					f.Verdict, f.Candidate = 1, uint32(1+n%97/96) //nolint:gosec // small
				case i < 50 && second > 100:
					f.Id -= 100_000
					f.Kind = wire.Flow_CLOSE
				default:
					f.Id = uint64((n*31+i*7)%max(1, second*1000) + 1) //nolint:gosec // small
				}
				list = append(list, f)
			}
			take(&wire.Frame{TimeNs: now.UnixNano(), Node: "n1", Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}}})
		}
	}
}
