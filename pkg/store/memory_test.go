// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// churn is a cluster in which nothing stays: pods, workloads, addresses,
// policies, what denies, and why packets are dropped all have other names a
// minute later.
type churn struct {
	s     *Store
	r     *rand.Rand
	now   time.Time
	pods  []*wire.Pod // that are there now, the oldest first
	made  int
	flow  uint64
	pairs int // connections a second
	turn  int // pods that come and go, a second
}

func newChurn(s *Store, pods, turn, pairs int) *churn {
	c := &churn{s: s, r: rand.New(rand.NewPCG(1, 2)), now: t0, pairs: pairs, turn: turn} //nolint:gosec // the same each time
	c.world(pods, 0)
	return c
}

func (c *churn) frame(body any) {
	f := &wire.Frame{Node: "n1", TimeNs: c.now.UnixNano()}
	switch b := body.(type) {
	case *wire.World:
		f.Body = &wire.Frame_World{World: b}
	case *wire.EndpointStates:
		f.Body = &wire.Frame_EndpointStates{EndpointStates: b}
	case *wire.RuleNames:
		f.Body = &wire.Frame_RuleNames{RuleNames: b}
	case *wire.PolicyStates:
		f.Body = &wire.Frame_PolicyStates{PolicyStates: b}
	case *wire.Flows:
		f.Body = &wire.Frame_Flows{Flows: b}
	case *wire.Drops:
		f.Body = &wire.Frame_Drops{Drops: b}
	case *wire.Answers:
		f.Body = &wire.Frame_Answers{Answers: b}
	}
	c.s.Apply(f)
}

// world has so many pods come and so many go.
func (c *churn) world(come, leave int) {
	w := &wire.World{}
	states := &wire.EndpointStates{}
	for _, p := range c.pods[:leave] {
		w.Gone = append(w.Gone, "pod "+p.Namespace+"/"+p.Name)
		states.States = append(states.States, &wire.EndpointState{Id: p.Endpoint})
	}
	c.pods = c.pods[leave:]
	for range come {
		c.made++
		p := &wire.Pod{
			Namespace: fmt.Sprintf("ns%d", c.made/500), Name: fmt.Sprintf("job-%d-%x", c.made/3, c.r.Uint32()), Uid: fmt.Sprint("u", c.made), Node: "n1",
			Workload: fmt.Sprintf("job/job-%d", c.made/3), Endpoint: uint32(c.made), //nolint:gosec // small
			Ips: [][]byte{binary.BigEndian.AppendUint32(nil, 10<<24|uint32(c.made))}, //nolint:gosec // small
		}
		c.pods = append(c.pods, p)
		w.Pods = append(w.Pods, p)
		states.States = append(states.States, &wire.EndpointState{Id: p.Endpoint, Attached: true})
	}
	c.frame(w)
	c.frame(states)
}

// second is all that happens in one.
func (c *churn) second(n int) {
	c.now = c.now.Add(time.Second)
	c.world(c.turn, c.turn)
	names := &wire.RuleNames{}
	states := &wire.PolicyStates{}
	for i := range c.turn {
		set := &wire.SetNames{Set: uint32(n*c.turn + i + 1), Direction: 1, IsolateStart: 10, BaselineStart: 20} //nolint:gosec // small
		for bit := range 20 {
			set.Bits = append(set.Bits, &wire.RuleName{Kind: "NetworkPolicy", Namespace: fmt.Sprint("ns", n), Name: fmt.Sprint("policy-", n, "-", i), Index: int32(bit)}) //nolint:gosec // small
		}
		names.Sets = append(names.Sets, set)
		states.Policies = append(states.Policies, &wire.PolicyState{
			Kind: "NetworkPolicy", Namespace: fmt.Sprint("ns", n), Name: fmt.Sprint("policy-", n, "-", i), Origin: fromCluster, Current: true, Candidate: true,
			Yaml: fmt.Sprint("# ", c.r.Uint64()),
		})
	}
	c.frame(names)
	c.frame(states)
	flows, drops, answers := &wire.Flows{}, &wire.Drops{}, &wire.Answers{}
	for range c.pairs {
		c.flow++
		p := c.pods[c.r.IntN(len(c.pods))]
		peer := c.pods[c.r.IntN(len(c.pods))].Ips[0]
		if c.r.IntN(3) == 0 {
			peer = binary.BigEndian.AppendUint32(nil, 203<<24|c.r.Uint32N(1<<24))
		}
		f := &wire.Flow{
			Id: c.flow, Kind: wire.Flow_NEW, Endpoint: p.Endpoint, Direction: 1 + c.r.Uint32N(2), Protocol: 6, LocalIp: p.Ips[0], PeerIp: peer,
			LocalPort: c.r.Uint32N(65_536), PeerPort: c.r.Uint32N(65_536), Verdict: 1 + c.r.Uint32N(2), Candidate: 1 + c.r.Uint32N(2),
			Set: uint32(n*c.turn + 1), Bit: 1 + c.r.Uint32N(20), BytesIn: 100, PacketsIn: 1, //nolint:gosec // small
		}
		flows.Flows = append(flows.Flows, f)
		if c.flow > uint64(5*c.pairs) { //nolint:gosec // small
			flows.Flows = append(flows.Flows, &wire.Flow{Id: c.flow - uint64(5*c.pairs), Kind: wire.Flow_CLOSE, CloseReason: fmt.Sprint("reason ", c.flow)}) //nolint:gosec // small
		}
		if c.r.IntN(5) == 0 {
			drops.Drops = append(drops.Drops, &wire.Drop{
				ReasonName: fmt.Sprint("REASON_", c.flow%1000*uint64(n)), Location: fmt.Sprint("place_", c.flow), Endpoint: p.Endpoint, Protocol: 6, //nolint:gosec // small
				Src: peer, Dst: p.Ips[0], Sport: f.PeerPort, Dport: f.LocalPort,
			})
			answers.Answers = append(answers.Answers, &wire.Answer{Endpoint: p.Endpoint, Question: fmt.Sprint("host", c.flow, ".example."), Ttl: 60, Ips: [][]byte{peer}})
		}
	}
	c.frame(flows)
	c.frame(drops)
	c.frame(answers)
}

// inUse is what is in use, in bytes.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkTenMinutesOfChurn tells what is in use at the end of each of ten
// minutes in which a hundred pods and policies come and go each second, with a
// thousand connections, at the default limits.
func BenchmarkTenMinutesOfChurn(b *testing.B) {
	for b.Loop() {
		base := inUse()
		s := New(Options{Quiet: true})
		c := newChurn(s, 500, 100, 1000)
		for minute := range 10 {
			for i := range 60 {
				c.second(60*minute + i)
			}
			b.ReportMetric(float64(inUse()-base)/1e6, fmt.Sprintf("MB-%d", minute+1))
		}
		b.Log(s.Snapshot(Query{Nodes: true}).Health.LetGo, "let go")
		runtime.KeepAlive(c)
	}
}

// TestChurnStaysWithinLimits has a hundred times as many names come as the
// store keeps: no list grows beyond its limit, what was let go is said, and no
// byte is lost from the sums.
func TestChurnStaysWithinLimits(t *testing.T) {
	limits := Limits{Flows: 500, Drops: 50, Events: 100, Subjects: 60, Rules: 600}
	s := New(Options{Limits: limits, Quiet: true})
	c := newChurn(s, 30, 20, 60)
	for i := range 300 {
		c.second(i)
		for _, is := range []struct {
			what   string
			is, of int
		}{
			{"rows", s.rows.n, limits.Flows},
			{"places of rows", len(s.rows.slots), 1025 + limits.Flows + limits.Flows/2},
			{"subjects", len(s.pods), limits.Subjects + limits.Subjects/10},
			{"rules of sets", s.rules.bits, limits.Rules},
			{"rules", len(s.rules.rules), 1000},
			{"policies that are counted", len(s.rules.counts), maxCounted},
			{"groups of drops", len(s.drops.groups), limits.Drops},
			{"events", len(s.events.ring), limits.Events},
			{"names of ends", len(s.sums.groups), 2 * limits.Flows},
			{"pairs", len(s.sums.list), limits.Flows},
			{"who meets whom", len(s.sums.meets.of), limits.Flows},
		} {
			if is.is > is.of {
				t.Fatalf("after %d seconds %d %s are kept, want %d at most", i+1, is.is, is.what, is.of)
			}
		}
	}
	snap := s.Snapshot(Query{Workloads: true})
	var bytes uint64
	rest := false
	for _, w := range snap.Workloads {
		bytes += w.BytesIn
		rest = rest || w.Name == others
	}
	if want := 100 * c.flow; bytes != want {
		t.Errorf("%d bytes are summed up, of %d", bytes, want)
	}
	open := 0
	for _, w := range snap.Workloads {
		open += w.Flows
	}
	if want := 5 * c.pairs; open != want {
		t.Errorf("%d connections are open, of %d", open, want)
	}
	if !rest || snap.Health.LetGo == 0 {
		t.Errorf("%d let go; there are others: %v", snap.Health.LetGo, rest)
	}
}

// TestSetsInUseAreKept: a set that is as old as the session still names rules
// when thousands have come after it, as long as somebody asks.
func TestSetsInUseAreKept(t *testing.T) {
	s := New(Options{Limits: Limits{Rules: 400}, Quiet: true})
	c := newChurn(s, 30, 10, 0)
	c.second(0)
	for i := 1; i < 100; i++ {
		if rule, by := s.rules.decided(1, 1, false); rule == nil && by == nil {
			t.Fatalf("after %d seconds nobody knows the rule any more", i)
		}
		c.second(i)
	}
	if rule, _ := s.rules.decided(11, 1, false); rule != nil {
		t.Error("a set that nobody asks for is kept for ever")
	}
}
