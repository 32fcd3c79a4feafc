// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe"
)

func TestMain(m *testing.M) {
	if ns := os.Getenv("EBPOL_TEST_VICTIM"); ns != "" {
		victim(ns)
	}
	if session := os.Getenv("EBPOL_TEST_BLAMER"); session != "" {
		blame(session)
	}
	if what := os.Getenv("EBPOL_TEST_ACTOR"); what != "" {
		done := make(chan struct{})
		runtime.LockOSThread() // the main thread waits: the actor has another
		go func() { actor(what); close(done) }()
		<-done
		return
	}
	testkit.Main(m)
}

// victim is a probe that says when it is attached, and waits to be killed.
func victim(ns string) {
	p, err := probe.Open(probe.Options{NoDrops: true})
	if err == nil {
		s := newSink()
		if err = p.Start(s); err == nil {
			err = p.SetEndpoints([]*wire.Endpoint{{Id: 1, Ips: [][]byte{{10, 88, 0, 2}}, Netns: ns}})
		}
		if err == nil && !s.states[1].GetAttached() {
			err = errors.New(s.states[1].GetError())
		}
	}
	fmt.Println("victim:", err)
	select {}
}

// patience bounds a test that would fail; what is awaited takes milliseconds.
const patience = 10 * time.Second

// sink keeps all that it is told and lets tests wait for it.
type sink struct {
	mu      sync.Mutex
	changed chan struct{}
	flows   map[uint64]*wire.Flow // newest of each
	kinds   map[uint64][]wire.Flow_Kind
	drops   []*wire.Drop
	hops    []*wire.Hop
	answers []*wire.Answer
	counts  map[string]*wire.DropCount
	states  map[uint32]*wire.EndpointState
	notices []string
}

func newSink() *sink {
	return &sink{
		changed: make(chan struct{}), flows: make(map[uint64]*wire.Flow), kinds: make(map[uint64][]wire.Flow_Kind),
		counts: make(map[string]*wire.DropCount), states: make(map[uint32]*wire.EndpointState),
	}
}

func (s *sink) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *sink) Flows(list []*wire.Flow) {
	s.locked(func() {
		for _, f := range list {
			// Totals may be quicker than the news of the first packet, and know more.
			if f.GetKind() != wire.Flow_NEW || s.flows[f.GetId()] == nil {
				s.flows[f.GetId()] = f
			}
			s.kinds[f.GetId()] = append(s.kinds[f.GetId()], f.GetKind())
		}
	})
}

func (s *sink) Drops(samples []*wire.Drop, counts []*wire.DropCount) {
	s.locked(func() {
		s.drops = append(s.drops, samples...)
		for _, c := range counts {
			s.counts[c.GetReasonName()+" "+c.GetLocation()] = c
		}
	})
}

func (s *sink) EndpointStates(list []*wire.EndpointState) {
	s.locked(func() {
		for _, e := range list {
			s.states[e.GetId()] = e
		}
	})
}

func (s *sink) Notice(_ wire.Notice_Level, text string) {
	s.locked(func() { s.notices = append(s.notices, text) })
}

// await fails the test if cond, called with the lock held, stays false.
func (s *sink) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	late := time.After(patience)
	for {
		s.mu.Lock()
		ok, changed := cond(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("no %s\nflows %v\ndrops %v\ncounts %v\nstates %v\nnotices %q", what, s.flows, s.drops, s.counts, s.states, s.notices)
		}
	}
}

// find is called with the lock held.
func (s *sink) find(endpoint uint32, d flow.Direction, protocol flow.Protocol, port uint16) *wire.Flow {
	for _, f := range s.flows {
		at := f.GetPeerPort()
		if d == flow.Ingress {
			at = f.GetLocalPort()
		}
		if f.GetEndpoint() == endpoint && f.GetDirection() == uint32(d) && f.GetProtocol() == uint32(protocol) && at == uint32(port) {
			return f
		}
	}
	return nil
}

// start opens a probe over a bed of two pods, a and b: endpoints 1 and 2.
func start(t *testing.T, o probe.Options) (*probe.Probe, *sink, *testkit.Bed, [2]*netbed.Pod) {
	t.Helper()
	bed := testkit.NewBed(t)
	pods := [2]*netbed.Pod{bed.Pod("a"), bed.Pod("b")}
	p, s := open(t, o)
	if err := p.SetEndpoints([]*wire.Endpoint{asEndpoint(1, pods[0]), asEndpoint(2, pods[1])}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "attachment", func() bool { return s.states[1].GetAttached() && s.states[2].GetAttached() })
	return p, s, bed, pods
}

func open(t *testing.T, o probe.Options) (*probe.Probe, *sink) {
	t.Helper()
	testkit.NeedsRoot(t)
	p, err := probe.Open(o)
	testkit.SkipIfNotSupported(t, err)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newSink()
	if err := p.Start(s); err != nil {
		t.Fatal(err)
	}
	if err := p.SetOptions(&wire.Options{Drops: true, TickNs: int64(100 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	return p, s
}

func asEndpoint(id uint32, pod *netbed.Pod) *wire.Endpoint {
	e := &wire.Endpoint{Id: id, Netns: pod.Path()}
	for _, ip := range pod.IPs {
		e.Ips = append(e.Ips, ip.AsSlice())
	}
	return e
}

// denyIngress isolates b: nothing may come in; candidate and enforced as said.
func denyIngress(generation uint64, pods [2]*netbed.Pod, current, candidate, enforced bool) *ruleset.Ruleset {
	s := ruleset.Set{ID: 1, IsolateStart: 0, BaselineStart: 1}
	s.Deny.Add(0)
	s.Always.Add(0)
	for mode, on := range map[*ruleset.Bitmap]bool{&s.Current: current, &s.Candidate: candidate, &s.Enforced: enforced} {
		if on {
			mode.Add(0)
		}
	}
	r := &ruleset.Ruleset{Generation: generation, Sets: []ruleset.Set{s}}
	for i, p := range pods {
		for _, ip := range p.IPs {
			e := ruleset.Endpoint{IP: ip, ID: ruleset.EndpointID(i + 1)}
			if i == 1 {
				e.Ingress = 1
			}
			r.Endpoints = append(r.Endpoints, e)
		}
	}
	r.Sort()
	return r
}

func apply(t *testing.T, p *probe.Probe, old, new *ruleset.Ruleset) {
	t.Helper()
	d, err := ruleset.Diff(old, new)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(d); err != nil {
		t.Fatal(err)
	}
}

func at(p *netbed.Pod, i int, port uint16) netip.AddrPort { return netip.AddrPortFrom(p.IPs[i], port) }
