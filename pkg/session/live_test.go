// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
	"github.com/ebpol/kubectl-ebpol/probe/serve/servetest"
)

func TestSessionOfTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("deny")}}, "n1", "n2")
		w := worldOf(pod("shop", "web", "n1", "10.0.0.1", "fd00::1"), pod("shop", "db", "n2", "10.0.0.2"), pod("shop", "far", "n9", "10.0.0.9"), pod("shop", "new", "n1"))
		b.cluster.states <- State{World: w, Policies: []*policy.Policy{toyPolicy("base")}, NotEvaluated: []NotEvaluated{{Kind: "CiliumNetworkPolicy", Name: "x", Why: "not evaluated"}}}
		for _, n := range []string{"n1", "n2"} {
			b.probes[n].fake.AwaitGeneration(1)
			b.probes[n].fake.AwaitEndpoints(1)
		}
		r := b.probes["n1"].fake.Rules()
		if len(r.Endpoints) != 2 || len(r.Sets) != 1 || r.Sets[0].Candidate == r.Sets[0].Current || r.Sets[0].Enforced != (ruleset.Bitmap{}) {
			t.Errorf("rules of n1: %+v", r)
		}
		ep := b.probes["n1"].fake.Endpoints()[0]
		b.await(func(f *wire.Frame) bool { return f.GetPolicyStates() != nil })
		b.probes["n1"].fake.See(newFlow(1, ep.GetId()))
		got := b.await(func(f *wire.Frame) bool { return f.GetFlows() != nil })
		if got.GetNode() != "n1" || got.GetFlows().GetFlows()[0].GetEndpoint() != ep.GetId() {
			t.Errorf("flow: %v", got)
		}
		var dec wire.WorldDecoder
		var order []string
		for _, f := range b.frames {
			switch x := f.GetBody().(type) {
			case *wire.Frame_World:
				dec.Apply(x.World)
				order = append(order, "world")
			case *wire.Frame_RuleNames:
				order = append(order, "names")
				if len(x.RuleNames.GetSets()[0].GetBits()) != 2 || x.RuleNames.GetSets()[0].GetSet() != uint32(r.Sets[0].ID) {
					t.Errorf("names: %v", x.RuleNames)
				}
			case *wire.Frame_PolicyStates:
				order = append(order, "policies")
				ps := x.PolicyStates
				if !ps.GetHasCandidate() || len(ps.GetPolicies()) != 3 || ps.GetPolicies()[0].GetSelected() != 4 || !ps.GetPolicies()[1].GetCandidate() || ps.GetPolicies()[1].GetCurrent() || ps.GetPolicies()[2].GetNotEvaluated() == "" {
					t.Errorf("policies: %v", ps)
				}
			case *wire.Frame_Flows:
				order = append(order, "flows")
			}
		}
		if strings.Join(order, " ") != "world names policies flows" {
			t.Errorf("order of frames: %v", order)
		}
		if p := dec.Pod(ruleset.EndpointID(ep.GetId())); p == nil || p.Name != "web" {
			t.Errorf("endpoint %d is %v", ep.GetId(), p)
		}
		b.close()
	})
}

func TestEndpointsAreNeverReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{}, "n1")
		seen := map[uint32]string{}
		check := func(life string, pods ...*identity.Pod) {
			b.cluster.states <- State{World: worldOf(pods...)}
			time.Sleep(time.Second)
			for _, e := range b.probes["n1"].fake.Endpoints() {
				if was, known := seen[e.GetId()]; known && was != life {
					t.Errorf("endpoint %d was %q, is %q", e.GetId(), was, life)
				}
				seen[e.GetId()] = life
			}
		}
		web := pod("shop", "web", "n1", "10.0.0.1")
		check("first", web)
		labelled := *web
		labelled.Labels = map[string]string{"a": "b"}
		check("first", &labelled)
		again := *web
		again.UID = "another"
		check("same name and address, another pod", &again)
		moved := again
		moved.IPs = []netip.Addr{netip.MustParseAddr("10.0.0.3")}
		check("another address", &moved)
		done := moved
		done.Done = true
		check("done", &done)
		if n := len(b.probes["n1"].fake.Endpoints()); n != 0 {
			t.Errorf("%d endpoints of a pod that is done", n)
		}
		check("back", web)
		if len(seen) != 4 {
			t.Errorf("endpoints: %v, want 4", seen)
		}
		b.close()
	})
}

func TestModesAndEnforcement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("deny")}}, "n1")
		fake := b.probes["n1"].fake
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"), pod("shop", "db", "n2", "10.0.0.2"))}
		fake.AwaitGeneration(1)
		fake.AwaitEndpoints(1)
		fake.See(newFlow(7, fake.Endpoints()[0].GetId()))
		b.await(func(f *wire.Frame) bool { return f.GetFlows() != nil })

		if err := b.live.Enforce(ctx, time.Minute, false); err == nil || !strings.Contains(err.Error(), "mode enforced") {
			t.Errorf("nothing chosen: %v", err)
		}
		if err := b.live.SetMode(ctx, map[PolicyKey]Mode{keyOf("nope"): DryRun}); err == nil {
			t.Error("a policy that isn't there was set")
		}
		cuts, err := b.live.Preview(map[PolicyKey]Mode{keyOf("deny"): Enforced})
		if err != nil || len(cuts) != 1 || cuts[0].ID != 7 || cuts[0].Tuple.String() != "TCP 10.0.0.2:4000 -> 10.0.0.1:80" {
			t.Errorf("preview: %v, %v", cuts, err)
		}
		if err := b.live.SetMode(ctx, map[PolicyKey]Mode{keyOf("deny"): Enforced}); err != nil {
			t.Fatal(err)
		}
		if fake.Rules().Sets[0].Enforced == (ruleset.Bitmap{}) || fake.Enforcing() {
			t.Error("the mask must be there, and bite only under a lease")
		}
		if err := b.live.Enforce(ctx, time.Minute, false); err != nil {
			t.Fatal(err)
		}
		for range 50 { // renewed each second
			if !fake.Enforcing() || b.live.Enforcing() == 0 {
				t.Fatal("the lease ran out while the session lives")
			}
			time.Sleep(time.Second)
		}
		if err := b.live.SetMode(ctx, map[PolicyKey]Mode{keyOf("deny"): Off}); err != nil {
			t.Fatal(err)
		}
		if r := fake.Rules(); len(r.Sets) != 0 {
			t.Errorf("off, yet the rules are %v", r.Sets)
		}
		time.Sleep(15 * time.Second)
		if fake.Enforcing() || b.live.Enforcing() != 0 {
			t.Error("enforced for longer than asked")
		}
		if err := b.live.SetMode(ctx, map[PolicyKey]Mode{keyOf("deny"): Enforced}); err != nil {
			t.Fatal(err)
		}
		if err := b.live.Enforce(ctx, time.Hour, false); err != nil {
			t.Fatal(err)
		}
		if err := b.live.Release(ctx); err != nil || fake.Enforcing() {
			t.Errorf("release: %v, enforcing %v", err, fake.Enforcing())
		}
		calm := func(when string) {
			t.Helper()
			time.Sleep(time.Second)
			if r := fake.Rules(); len(r.Sets) != 1 || r.Sets[0].Enforced != (ruleset.Bitmap{}) {
				t.Errorf("%s: the rules are %v, want a dry-run", when, r.Sets)
			}
			if err := b.live.Enforce(ctx, time.Hour, false); err == nil || !strings.Contains(err.Error(), "mode enforced") {
				t.Errorf("%s: what was enforced before is enforced again without being chosen: %v", when, err)
			}
		}
		calm("released")
		enforce := func(total time.Duration) {
			t.Helper()
			if err := b.live.SetMode(ctx, map[PolicyKey]Mode{keyOf("deny"): Enforced}); err != nil {
				t.Fatal(err)
			}
			if err := b.live.Enforce(ctx, total, false); err != nil {
				t.Fatal(err)
			}
		}
		enforce(time.Minute)
		time.Sleep(time.Minute + time.Second)
		calm("the time is over")
		enforce(time.Hour)
		b.close()
		if fake.Enforcing() {
			t.Error("the session is over, yet it enforces")
		}
	})
}

func TestEnforcementIsRefused(t *testing.T) {
	dns := netip.MustParseAddr("10.96.0.10")
	for name, c := range map[string]struct {
		world func(*identity.World)
		flow  *wire.Flow
		want  string
	}{
		"kube-system": {func(w *identity.World) {
			w.Pods["kube-system/x"] = pod("kube-system", "x", "n2", "10.0.0.2")
		}, nil, "belongs to kube-system/x"},
		"DNS": {func(w *identity.World) {
			w.ClusterDNS = []netip.Addr{dns}
			w.Services["kube-system/dns"] = &identity.Service{IPs: []netip.Addr{dns}, Ports: []identity.ServicePort{{Port: 53, Backends: []identity.Backend{{IP: netip.MustParseAddr("10.0.0.1"), Port: 53}}}}}
		}, &wire.Flow{LocalPort: 53}, "DNS"},
		"API server": {func(w *identity.World) {
			w.Services["default/kubernetes"] = &identity.Service{Namespace: "default", Name: "kubernetes", Ports: []identity.ServicePort{{Port: 443, Backends: []identity.Backend{{IP: netip.MustParseAddr("10.0.0.1"), Port: 80}}}}}
		}, nil, "API server"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("deny")}, Modes: map[PolicyKey]Mode{keyOf("deny"): Enforced}}, "n1")
				fake := b.probes["n1"].fake
				w := worldOf(pod("shop", "web", "n1", "10.0.0.1"))
				c.world(w)
				b.cluster.states <- State{World: w}
				fake.AwaitEndpoints(1)
				f := newFlow(1, fake.Endpoints()[0].GetId())
				if c.flow != nil {
					f.LocalPort = c.flow.LocalPort
				}
				fake.See(f)
				b.await(func(f *wire.Frame) bool { return f.GetFlows() != nil })
				var unsafe *UnsafeError
				err := b.live.Enforce(t.Context(), time.Minute, false)
				if !errors.As(err, &unsafe) || !strings.Contains(err.Error(), c.want) || len(unsafe.Cuts) != 1 || fake.Enforcing() {
					t.Errorf("got %v; want %q", err, c.want)
				}
				if err := b.live.Enforce(t.Context(), time.Minute, true); err != nil || !fake.Enforcing() {
					t.Errorf("by force: %v", err)
				}
				b.close()
			})
		})
	}
	t.Run("read-only", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, Config{ReadOnly: true, Candidates: []*policy.Policy{toyPolicy("deny")}}, "n1")
			b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"))}
			b.probes["n1"].fake.AwaitGeneration(1)
			if err := b.live.Enforce(t.Context(), time.Minute, true); !errors.Is(err, ErrReadOnly) {
				t.Errorf("got %v", err)
			}
			if err := b.live.SetMode(t.Context(), map[PolicyKey]Mode{keyOf("deny"): Enforced}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("got %v", err)
			}
			b.close()
		})
	})
}

func TestCutStreamLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{}, "n1")
		p := b.probes["n1"]
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"))}
		p.fake.AwaitGeneration(1) // a delta that is cut on its way would be sent again
		p.fake.AwaitEndpoints(1)
		const total = 400
		for id := uint64(1); id <= total; id++ {
			p.fake.See(newFlow(id, 1))
			if id%37 == 0 {
				p.cut()
			}
			if id%50 == 0 {
				time.Sleep(3 * time.Second)
			}
		}
		var ids []uint64
		b.await(func(f *wire.Frame) bool {
			for _, fl := range f.GetFlows().GetFlows() {
				ids = append(ids, fl.GetId())
			}
			return len(ids) >= total
		})
		for i, id := range ids {
			if id != uint64(i+1) {
				t.Fatalf("flow %d at place %d: lost or doubled", id, i+1)
			}
		}
		gap := b.await(func(f *wire.Frame) bool { return f.GetGap() != nil }).GetGap()
		if gap.GetCutNs() <= 0 || gap.GetTo() != 0 {
			t.Errorf("gap: %v", gap)
		}
		if d := p.fake.Deltas(); d != 1 {
			t.Errorf("%d deltas: the rules were there already", d)
		}
		b.close()
	})
}

func TestRulesChangeWhileTheStreamIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("a"), toyPolicy("b")}}, "n1")
		p := b.probes["n1"]
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"))}
		p.fake.AwaitGeneration(1)
		p.setDown(true)
		p.cut()
		b.phase("n1", "cut", 1)
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"), pod("shop", "web2", "n1", "10.0.0.2"))}
		time.Sleep(10 * time.Second)
		p.setDown(false)
		p.fake.AwaitEndpoints(2)
		p.fake.AwaitGeneration(2)
		if n := len(p.fake.Rules().Endpoints); n != 2 {
			t.Errorf("%d endpoints have rules", n)
		}
		b.close()
	})
}

func TestNewInstanceOfTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("deny")}}, "n1")
		p := b.probes["n1"]
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"))}
		p.fake.AwaitEndpoints(1)
		for id := range uint64(20) {
			p.fake.See(newFlow(id+1, 1))
			synctest.Wait()
		}
		// The process dies and another one takes its place.
		old := p.fake
		fresh := servetest.New()
		oldConns := p.conns
		p.mu.Lock()
		p.fake, p.conns = fresh, make(chan net.Conn)
		p.mu.Unlock()
		_ = oldConns
		s := serve.New(fresh, serve.Options{Node: "n1"})
		next := &toyProbe{fake: fresh, conns: p.conns, shut: make(chan struct{}), done: make(chan error, 1)}
		go func() { next.done <- s.Serve(t.Context(), next) }()
		p.cut()
		fresh.AwaitGeneration(1)
		fresh.AwaitEndpoints(1)
		if len(fresh.Rules().Sets) != 1 {
			t.Error("the new instance has no rules")
		}
		fresh.See(newFlow(1, 1))
		b.await(func(f *wire.Frame) bool {
			return slices.ContainsFunc(f.GetFlows().GetFlows(), func(fl *wire.Flow) bool { return fl.GetId() == 20 })
		})
		n := 0
		b.await(func(f *wire.Frame) bool { // flow 1 of both instances
			for _, fl := range f.GetFlows().GetFlows() {
				if fl.GetId() == 1 {
					n++
				}
			}
			return n == 2
		})
		if err := b.live.Close(t.Context()); err != nil {
			t.Error(err)
		}
		<-b.ended
		<-next.done
		if err := <-p.done; err != nil || old.Closed() != 1 { // ends for want of a plugin
			t.Errorf("old instance: %v", err)
		}
	})
}

func TestProbeThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := &toyCluster{make(chan State)}
		why := errors.New("the image can't be pulled")
		live, err := NewLive(t.Context(), Config{
			Cluster: cluster, NewCompiler: newToy,
			Probes: []Probe{{Node: "n1", Dialer: DialFunc(nil), Prepare: func(context.Context, func(phase, message string)) error { return why }}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var last *wire.ProbeState
		for f := range live.Frames() {
			if f.GetProbeState() != nil {
				last = f.GetProbeState()
			}
		}
		if last.GetPhase() != "failed" || !strings.Contains(last.GetError(), "pulled") || !errors.Is(live.Err(), why) {
			t.Errorf("state %v, error %v", last, live.Err())
		}
		if err := live.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestProbeThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		live, err := NewLive(t.Context(), Config{
			Cluster: &toyCluster{make(chan State)}, NewCompiler: newToy,
			Probes: []Probe{{Node: "n1", Dialer: DialFunc(func(context.Context) (io.ReadWriteCloser, error) { return nil, errors.New("refused") })}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range live.Frames() {
		}
		if live.Err() == nil || time.Since(start) > neverLive+10*time.Second {
			t.Errorf("%v after %s", live.Err(), time.Since(start))
		}
		if err := live.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestSilentStreamIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{}, "n1")
		p := b.probes["n1"]
		b.phase("n1", "live", 1)
		p.cut()
		b.phase("n1", "live", 2)
		b.close()
	})
	synctest.Test(t, func(t *testing.T) { // a probe that greets and falls silent
		dials := make(chan struct{}, 100)
		live, err := NewLive(t.Context(), Config{
			Cluster: &toyCluster{make(chan State)}, NewCompiler: newToy,
			Probes: []Probe{{Node: "n1", Dialer: DialFunc(func(context.Context) (io.ReadWriteCloser, error) {
				dials <- struct{}{}
				here, there := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, there) }()
				go func() {
					_ = wire.NewWriter(there).Write(&wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: 1, Instance: "x"}}})
				}()
				return here, nil
			})}},
		})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range live.Frames() {
			}
		}()
		<-dials
		start := time.Now()
		<-dials
		if d := time.Since(start); d < silentFor || d > silentFor+2*time.Second {
			t.Errorf("dialled again after %s", d)
		}
		if err := live.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestDraft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("deny"), toyPolicy("other")}}, "n1")
		b.phase("n1", "live", 1)
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"))}
		b.probes["n1"].fake.AwaitGeneration(1)
		if err := b.live.SetMode(t.Context(), map[PolicyKey]Mode{keyOf("deny"): Enforced}); err != nil {
			t.Fatal(err)
		}
		told := func(want ...string) {
			t.Helper()
			var got []string
			b.await(func(f *wire.Frame) bool {
				if f.GetPolicyStates() == nil {
					return false
				}
				got = nil
				for _, p := range f.GetPolicyStates().GetPolicies() {
					got = append(got, fmt.Sprintf("%s %t", p.GetName(), p.GetEnforced()))
				}
				return slices.Equal(got, want)
			})
		}
		told("deny true", "other false")
		if err := b.live.Draft(t.Context(), []*policy.Policy{toyPolicy("broken")}); err == nil {
			t.Error("a draft that can't be compiled was taken")
		}
		if err := b.live.Draft(t.Context(), []*policy.Policy{toyPolicy("deny")}); err != nil {
			t.Error(err)
		}
		told("deny false", "other false")
		if err := b.live.Draft(t.Context(), []*policy.Policy{toyPolicy("more")}); err != nil {
			t.Error(err)
		}
		told("deny false", "more false", "other false")
		b.close()
	})
}

// What a probe refuses generation after generation is told when it begins, and
// when it ends.
func TestRefusedRulesAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("deny")}}, "n1")
		fake := b.probes["n1"].fake
		b.phase("n1", "live", 1)
		next := 0
		refused := func(times int) { // a generation that fails as often as it is tried
			next++
			b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", fmt.Sprintf("10.0.0.%d", next)))}
			b.await(func(f *wire.Frame) bool {
				if f.GetApplied().GetError() != "" {
					times--
				}
				return times == 0
			})
			synctest.Wait()
		}
		told := func() (list []string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, f := range b.frames {
				if n := f.GetNotice(); n != nil && f.GetNode() == "n1" {
					list = append(list, n.GetText())
				}
			}
			return list
		}
		fake.Refuse(errors.New("map is full"))
		for i := range 3 {
			refused(maxFailures * (i + 1))
			if got := told(); len(got) != 1 || !strings.Contains(got[0], "can't take the rules") || !strings.Contains(got[0], "map is full") {
				t.Fatalf("after %d generations, told %q", i+1, got)
			}
		}
		fake.Refuse(nil)
		next++
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.9"))}
		b.await(func(f *wire.Frame) bool { return strings.Contains(f.GetNotice().GetText(), "takes the rules again") })
		fake.Refuse(errors.New("map is full"))
		refused(maxFailures * 4)
		if got := told(); len(got) != 3 {
			t.Errorf("told %q", got)
		}
		b.close()
	})
}

func TestRulesThatCantBeApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Candidates: []*policy.Policy{toyPolicy("deny")}}, "n1")
		fake := b.probes["n1"].fake
		b.phase("n1", "live", 1)
		fake.FailApply = errors.New("map is full")
		b.cluster.states <- State{World: worldOf(pod("shop", "web", "n1", "10.0.0.1"))}
		fake.AwaitGeneration(1) // the second try is whole, and works
		b.await(func(f *wire.Frame) bool { return f.GetApplied().GetError() == "map is full" })
		if err := b.live.Draft(t.Context(), []*policy.Policy{toyPolicy("broken")}); err == nil || !strings.Contains(err.Error(), "compiled") {
			t.Errorf("got %v", err)
		}
		if n := len(fake.Rules().Sets); n != 1 {
			t.Errorf("%d sets: the rules before must stay", n)
		}
		b.close()
	})
}
