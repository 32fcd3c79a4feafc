// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/scale"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// quickProbe takes every delta at once, so that what is measured is the
// session's way to it.
type quickProbe struct{ conn net.Conn }

func (p *quickProbe) dial(context.Context) (io.ReadWriteCloser, error) {
	here, there := net.Pipe()
	p.conn = there
	go p.serve()
	return here, nil
}

func (p *quickProbe) serve() {
	r, w := wire.NewReader(p.conn), wire.NewWriter(p.conn)
	for {
		f, err := r.Read()
		if err != nil {
			return
		}
		var answer *wire.Frame
		switch b := f.GetBody().(type) {
		case *wire.Frame_Hello:
			answer = &wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: wire.Version, Instance: "quick"}}}
		case *wire.Frame_Delta:
			if b.Delta.GetMore() {
				continue
			}
			answer = &wire.Frame{Body: &wire.Frame_Applied{Applied: &wire.Applied{Generation: b.Delta.GetGeneration()}}}
		case *wire.Frame_Bye:
			p.conn.Close()
			return
		default:
			continue
		}
		if w.Write(answer) != nil {
			return
		}
	}
}

// processor is the time that this process has computed.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkChange is what one change costs in a cluster of the published shape,
// from the state that the cluster tells to the delta that each node has taken.
// Label and policy changes wait for more of them ([settle]) in between; a
// toggle doesn't.
func BenchmarkChange(b *testing.B) {
	for _, nodes := range []int{2, 22} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			s := newScaled(b, nodes)
			b.Run("label", func(b *testing.B) { s.measure(b, s.relabel) })
			b.Run("policy", func(b *testing.B) { s.measure(b, s.addPolicy) })
			b.Run("toggle", func(b *testing.B) { s.measure(b, s.toggle) })
		})
	}
}

// scaled is a session of the published shape with probes on some nodes.
type scaled struct {
	live     *Live
	cluster  *toyCluster
	world    *identity.World
	policies []*policy.Policy
	target   *identity.Pod
	count    int
}

func newScaled(b *testing.B, nodes int) *scaled {
	s := &scaled{cluster: &toyCluster{make(chan State)}}
	s.world, s.policies = scale.Make(scale.Real, 1)
	var probes []Probe
	for i := range nodes {
		p := &quickProbe{}
		probes = append(probes, Probe{Node: fmt.Sprintf("node%d", i), Dialer: DialFunc(p.dial)})
	}
	for _, p := range s.world.Pods {
		if p.Node == "node0" && (s.target == nil || p.Key() < s.target.Key()) {
			s.target = p
		}
	}
	start := processor(b)
	live, err := NewLive(b.Context(), Config{Cluster: s.cluster, NewCompiler: PolicyCompiler, Probes: probes})
	if err != nil {
		b.Fatal(err)
	}
	s.live = live
	go func() {
		for range live.Frames() {
		}
	}()
	s.cluster.states <- State{World: s.world, Policies: s.policies}
	for up := 0; up < nodes; {
		live.steps.Lock()
		step := live.step
		live.steps.Unlock()
		up = 0
		for _, n := range live.nodes {
			n.mu.Lock()
			if n.live && n.done > 0 {
				up++
			}
			n.mu.Unlock()
		}
		if up < nodes {
			<-step
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.Logf("%d nodes: %d ms of one processor until all of them judge; %d MiB are held", nodes, (processor(b) - start).Milliseconds(), m.HeapAlloc>>20)
	b.Cleanup(func() {
		if err := live.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return s
}

func (s *scaled) measure(b *testing.B, change func(b *testing.B)) {
	change(b) // what the first one allocates stays
	b.ResetTimer()
	start := processor(b)
	for range b.N {
		change(b)
	}
	b.ReportMetric(float64(processor(b)-start)/float64(b.N)/1e6, "cpu-ms/op")
}

// push tells a state and waits until all nodes are there.
func (s *scaled) push(b *testing.B, state State) {
	s.live.compiling.Lock()
	want := s.live.generation + 1
	s.live.compiling.Unlock()
	s.cluster.states <- state
	if err := s.live.await(b.Context(), func(n *node) (bool, error) { return n.done >= want, nil }); err != nil {
		b.Fatal(err)
	}
}

func (s *scaled) relabel(b *testing.B) {
	s.count++
	w := *s.world
	w.Pods = maps.Clone(w.Pods)
	p := *w.Pods[s.target.Key()]
	p.Labels = map[string]string{"app": fmt.Sprint("app", s.count%6), "tier": "t0"}
	w.Pods[p.Key()] = &p
	s.world = &w
	s.push(b, State{World: s.world, Policies: s.policies})
}

func (s *scaled) addPolicy(b *testing.B) {
	s.count++
	p := *s.policies[len(s.policies)-1-s.count%100]
	p.Name = fmt.Sprint("added", s.count)
	s.policies = append(s.policies[:len(s.policies):len(s.policies)], &p)
	s.push(b, State{World: s.world, Policies: s.policies})
}

func (s *scaled) toggle(b *testing.B) {
	s.count++
	key := KeyOf(s.policies[scale.Real.Empty+scale.Real.DenyOnly+s.count/2%100])
	mode := []Mode{Off, DryRun}[s.count%2]
	if err := s.live.SetMode(b.Context(), map[PolicyKey]Mode{key: mode}); err != nil {
		b.Fatal(err)
	}
}
