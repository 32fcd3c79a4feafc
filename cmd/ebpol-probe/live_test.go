// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience bounds a test that would fail.
const patience = 20 * time.Second

// shop is two pods on one node, a real probe as a child process, and a
// session on it: everything but Kubernetes.
type shop struct {
	t      *testing.T
	bed    *testkit.Bed
	a, b   *netbed.Pod
	live   *session.Live
	binary string

	mu     sync.Mutex
	frames []*wire.Frame
	more   chan struct{}
}

const isolate = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolate-b, namespace: shop}
spec: {podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}
`

func openShop(t *testing.T, cfg session.Config) *shop {
	t.Helper()
	s := &shop{t: t, bed: testkit.NewBed(t), more: make(chan struct{})}
	canProbe(t)
	s.binary = build(t)
	s.a, s.b = s.bed.Pod("a"), s.bed.Pod("b")
	inhabit(t, s.a, s.b)
	candidates, err := policy.Parse([]byte(isolate), "isolate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{"shop": {Name: "shop"}}, Services: map[string]*identity.Service{},
		Nodes: map[string]*identity.Node{"n1": {Name: "n1", IPs: []netip.Addr{netip.MustParseAddr("10.88.0.1")}}}, Pods: map[string]*identity.Pod{},
	}
	for name, p := range map[string]*netbed.Pod{"a": s.a, "b": s.b} {
		pod := &identity.Pod{Namespace: "shop", Name: name, UID: name, Labels: map[string]string{"app": name}, Node: "n1", IPs: p.IPs}
		w.Pods[pod.Key()] = pod
	}
	cfg.Cluster, cfg.NewCompiler = still{session.State{World: w}}, session.PolicyCompiler
	cfg.Candidates = candidates.Policies
	cfg.Probes = []session.Probe{{Node: "n1", Dialer: session.Child(s.binary, "run", "--stdio", "--node", "n1")}}
	s.live, err = session.NewLive(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for f := range s.live.Frames() {
			s.mu.Lock()
			s.frames = append(s.frames, f)
			close(s.more)
			s.more = make(chan struct{})
			s.mu.Unlock()
		}
	}()
	t.Cleanup(s.close)
	s.await("attached pods", func(f *wire.Frame) bool {
		for _, st := range f.GetEndpointStates().GetStates() {
			if st.GetError() != "" {
				t.Fatal(st)
			}
		}
		return len(f.GetEndpointStates().GetStates()) > 0
	})
	return s
}

// still is a cluster in which nothing changes.
type still struct{ state session.State }

func (s still) Watch(ctx context.Context, fn func(session.State)) error {
	fn(s.state)
	<-ctx.Done()
	return nil
}

// canProbe skips the test where this kernel or these rights can't.
func canProbe(t *testing.T) {
	t.Helper()
	_, enough, err := probe.Features()
	testkit.SkipIfNotSupported(t, err)
	if !enough {
		testkit.SkipIfNotSupported(t, testkit.ErrNotSupported)
	}
}

func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ebpol-probe")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, out)
	}
	return path
}

// inhabit puts a process into each pod: a probe finds namespaces by those who
// live there.
func inhabit(t *testing.T, pods ...*netbed.Pod) {
	t.Helper()
	spawner := netbed.NewSpawner()
	t.Cleanup(spawner.Close)
	for _, p := range pods {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := spawner.Start(p.Namespace, cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = in.Close()
			_ = cmd.Wait()
		})
	}
}

func (s *shop) await(what string, pick func(*wire.Frame) bool) *wire.Frame {
	s.t.Helper()
	late := time.After(patience)
	for i := 0; ; {
		s.mu.Lock()
		frames, more := s.frames, s.more
		s.mu.Unlock()
		for ; i < len(frames); i++ {
			if pick(frames[i]) {
				return frames[i]
			}
		}
		select {
		case <-more:
		case <-late:
			s.t.Fatalf("no %s; %d frames came, the last is %v", what, len(frames), frames[len(frames)-1])
		}
	}
}

// flowTo waits for an ingress flow of b's port that pick accepts.
func (s *shop) flowTo(what string, port uint16, pick func(*wire.Flow) bool) *wire.Flow {
	s.t.Helper()
	var out *wire.Flow
	named := map[uint64]bool{}
	s.await(what, func(f *wire.Frame) bool {
		for _, fl := range f.GetFlows().GetFlows() {
			if tu, d, ok := fl.Tuple(); ok && d == flow.Ingress && tu.Destination.Port() == port {
				named[fl.GetId()] = true
			}
			if named[fl.GetId()] && pick(fl) {
				out = fl
				return true
			}
		}
		return false
	})
	return out
}

func (s *shop) at(p *netbed.Pod, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(p.IPs[0], port)
}

// reach connects, however slow the machine is.
func (s *shop) reach(port uint16) error {
	return s.bed.Try(s.a, "tcp", s.at(s.b, port), patience)
}

// passes says whether a new connection does, which is given up soon.
func (s *shop) passes(port uint16) bool {
	return s.bed.Try(s.a, "tcp", s.at(s.b, port), 700*time.Millisecond) == nil
}

func (s *shop) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.live.Close(ctx); err != nil {
		s.t.Error(err)
	}
}

// child is the pid of the probe's process.
func (s *shop) child() int {
	s.t.Helper()
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		pids, _ := os.ReadFile(task)
		for pid := range strings.FieldsSeq(string(pids)) {
			if exe, _ := os.Readlink("/proc/" + pid + "/exe"); exe == s.binary {
				n, err := strconv.Atoi(pid)
				if err != nil {
					s.t.Fatal(err)
				}
				return n
			}
		}
	}
	s.t.Fatal("the probe's process isn't there")
	return 0
}

var isolateB = session.PolicyKey{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "isolate-b"}

// TestSession walks the whole way but for Kubernetes: a flow is judged by both
// sets, enforcement cuts it, a killed probe frees it, a new one takes over,
// and the end frees everything.
func TestSession(t *testing.T) {
	s := openShop(t, session.Config{})
	s.bed.Echo(s.b, s.at(s.b, 80))
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()

	conn := s.bed.Dial(s.a, "tcp", s.at(s.b, 80))
	f := s.flowTo("flow", 80, func(*wire.Flow) bool { return true })
	if f.GetVerdict() != uint32(flow.Allow) || f.GetCandidate() != uint32(flow.Deny) || f.GetSet() == 0 {
		t.Errorf("flow: %v; want it allowed now, and denied by the candidate", f)
	}
	enforced := map[session.PolicyKey]session.Mode{isolateB: session.Enforced}
	cuts, err := s.live.Preview(enforced)
	if err != nil || len(cuts) != 1 || cuts[0].Tuple.Destination != s.at(s.b, 80) {
		t.Errorf("preview: %v, %v; want the open connection", cuts, err)
	}
	start := time.Now()
	if err := s.live.SetMode(ctx, enforced); err != nil {
		t.Fatal(err)
	}
	toggled := time.Since(start)
	if err := s.reach(80); err != nil {
		t.Errorf("without a lease nothing may be cut: %v", err)
	}
	if err := s.live.Enforce(ctx, time.Hour, false); err != nil {
		t.Fatal(err)
	}
	if s.passes(80) {
		t.Error("enforced, yet a new connection passes")
	}
	t.Logf("a toggle took %s to be in effect", toggled)

	// kill -9: free at once, and the session starts a new probe that enforces again.
	if err := syscall.Kill(s.child(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n := 0
	s.await("second life of the probe", func(f *wire.Frame) bool {
		if f.GetHello() != nil {
			n++
		}
		return n == 2
	})
	before := 0
	s.await("lease of the second probe", func(f *wire.Frame) bool {
		if f.GetHello() != nil {
			before++
		}
		return before == 2 && f.GetLeaseState().GetActive()
	})
	hellos, attached := 0, 0
	s.await("pods attached again", func(f *wire.Frame) bool {
		if f.GetHello() != nil {
			hellos++
		}
		for _, st := range f.GetEndpointStates().GetStates() {
			if hellos == 2 && st.GetAttached() {
				attached++
			}
		}
		return attached >= 2
	})
	if s.passes(80) {
		t.Error("the new probe doesn't enforce")
	}
	if err := s.live.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.reach(80); err != nil {
		t.Errorf("released, yet %v", err)
	}
	st := s.await("statistics", func(f *wire.Frame) bool { return f.GetStats() != nil }).GetStats()
	t.Logf("probe: %d KiB resident, %d KiB of maps", st.GetRssBytes()>>10, st.GetMapBytes()>>10)
	_ = conn.Close()
}

// TestPluginIsGone closes the pipes as the kernel does when a plugin is
// killed: the probe ends by itself, and what it enforced is free.
func TestPluginIsGone(t *testing.T) {
	s := openShop(t, session.Config{})
	s.bed.Echo(s.b, s.at(s.b, 81))
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := s.live.SetMode(ctx, map[session.PolicyKey]session.Mode{isolateB: session.Enforced}); err != nil {
		t.Fatal(err)
	}
	if err := s.live.Enforce(ctx, time.Hour, true); err != nil {
		t.Fatal(err)
	}
	if s.passes(81) {
		t.Error("enforced, yet a new connection passes")
	}
	// The same program beside it, whose plugin dies without a word.
	rw, err := session.Child(s.binary, "run", "--stdio").Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.NewWriter(rw).Write(&wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: wire.Version, Session: "other"}}}); err != nil {
		t.Fatal(err)
	}
	if f, err := wire.NewReader(rw).Read(); err != nil || f.GetHello() == nil {
		t.Fatalf("two probes on one machine: %v, %v", f, err)
	}
	start := time.Now()
	if err := rw.Close(); err != nil { // fails if it has to be killed
		t.Error(err)
	}
	t.Logf("an orphan took %s to end", time.Since(start))
	start = time.Now()
	s.close()
	t.Logf("the session took %s to end", time.Since(start))
	if err := s.reach(81); err != nil {
		t.Errorf("the session is over, yet %v", err)
	}
}
