// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// step draws some changes at once, among them such as change nothing.
func step(t *rapid.T, g gen.Generation) gen.Generation {
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0: // the same again, as other objects
			w := *g.World
			w.Pods, w.Services, w.Namespaces, w.Nodes = maps.Clone(w.Pods), maps.Clone(w.Services), maps.Clone(w.Namespaces), maps.Clone(w.Nodes)
			for k, p := range w.Pods {
				again := *p
				again.Ready = !p.Ready
				w.Pods[k] = &again
			}
			for k, s := range w.Services {
				again := *s
				w.Services[k] = &again
			}
			for k, n := range w.Nodes {
				again := *n
				w.Nodes[k] = &again
			}
			g.World = &w
		case 1: // a policy goes
			if n := len(g.Modes); n > 0 {
				i := rapid.IntRange(0, n-1).Draw(t, "gone")
				g.Modes = slices.Delete(slices.Clone(g.Modes), i, i+1)
			}
		case 2: // a second version of a policy, or the same one twice
			if n := len(g.Modes); n > 0 {
				m := g.Modes[rapid.IntRange(0, n-1).Draw(t, "twice")]
				again := *m.Policy
				m.Policy, m.Candidate = &again, rapid.Bool().Draw(t, "candidate")
				m.Enforced = m.Enforced && m.Candidate
				g.Modes = append(slices.Clone(g.Modes), m)
			}
		default:
			g = gen.Change(t, g)
		}
	}
	return g
}

// What a compiler makes of a change is what a new one makes of the result:
// every packet is judged alike at once, and the tables are the same but for
// numbers when what the last generation used is gone.
func TestChangesLeadToWhatAFreshCompilerMakes(t *testing.T) {
	worlds := 300
	if testing.Short() {
		worlds = 100
	}
	check(t, worlds, changesLeadToFresh)
}

// FuzzChanges is the same, led by coverage, for as long as asked.
func FuzzChanges(f *testing.F) { f.Fuzz(rapid.MakeFuzz(changesLeadToFresh)) }

// Likewise where rules are more than bits.
func TestChangesWithFewBits(t *testing.T) {
	worlds := 200
	if testing.Short() {
		worlds = 100
	}
	check(t, worlds, func(t *rapid.T) {
		bits := rapid.IntRange(1, 12).Draw(t, "bits")
		changesLeadTo(t, func() *compile.Compiler { return compile.NewNarrow(bits) })
	})
}

func changesLeadToFresh(t *rapid.T) { changesLeadTo(t, compile.New) }

func changesLeadTo(t *rapid.T, compiler func() *compile.Compiler) {
	g := gen.Narrow(t, gen.Draw(t))
	c, number := compiler(), uint64(0)
	next := func() *compile.Output {
		number++
		in := compile.Input{Generation: number, World: g.World, Policies: g.Modes}
		out, err := c.Compile(in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	names := func() []string { return append(slices.Sorted(maps.Keys(g.World.Nodes)), "", "unknown") }
	out := next()
	for _, name := range names() {
		out.Node(name)
	}
	for range 4 {
		g = step(t, g)
		out = next()
		fresh, err := compiler().Compile(compile.Input{Generation: number, World: g.World, Policies: g.Modes})
		if err != nil {
			t.Fatal(err)
		}
		skipped := rapid.SampledFrom(append(names(), "none")).Draw(t, "skipped") // nobody asks for it this time
		for _, name := range names() {
			if name == skipped {
				continue
			}
			r := out.Node(name)
			if err := r.Validate(); err != nil {
				t.Fatalf("node %q: %v", name, err)
			}
			sameJudgements(t, g, name, r, fresh.Node(name), out, fresh)
		}
		out.Forget(rapid.SampledFrom(append(names(), "none")).Draw(t, "forgotten"))
		if rapid.Bool().Draw(t, "settles") {
			for range 2 {
				out = next()
				for _, name := range names() {
					out.Node(name)
				}
			}
			for _, name := range names() {
				got, want := canonical(out, name), canonical(fresh, name)
				if got != want {
					t.Fatalf("node %q has after changes\n%s\nand from nothing\n%s\n%s", name, got, want, diffLines(got, want))
				}
			}
		}
	}
}

func sameJudgements(t *rapid.T, g gen.Generation, node string, got, want *ruleset.Ruleset, after, fresh *compile.Output) {
	a, b := ruleset.NewTable(got), ruleset.NewTable(want)
	for range 10 {
		p := gen.Packet(t, g.World)
		for _, q := range []ruleset.Packet{
			{Direction: flow.Egress, Protocol: p.Protocol, Local: p.Source, Peer: p.Destination, Port: p.Port},
			{Direction: flow.Ingress, Protocol: p.Protocol, Local: p.Destination, Peer: p.Source, Port: p.Port},
		} {
			x, y := a.Judge(q), b.Judge(q)
			named := fmt.Sprint(nameOf(after, x.Set, x.Current.Bit), nameOf(after, x.Set, x.Candidate.Bit)) == fmt.Sprint(nameOf(fresh, y.Set, y.Current.Bit), nameOf(fresh, y.Set, y.Candidate.Bit))
			x.Set, y.Set = min(x.Set, 1), min(y.Set, 1)
			if x != y || !named {
				t.Fatalf("node %q, %+v: after changes %+v, from nothing %+v", node, q, x, y)
			}
		}
	}
}

func nameOf(o *compile.Output, id ruleset.SetID, bit int) string {
	if bit < 0 {
		return "none"
	}
	return o.Names(id).Bits[bit].Rule.String()
}

// canonical is a node's tables as text, with sets and classes numbered in the
// order in which addresses refer to them.
func canonical(o *compile.Output, node string) string {
	r := o.Node(node)
	sets, classes := map[ruleset.SetID]ruleset.SetID{0: 0}, map[ruleset.ClassID]ruleset.ClassID{0: 0}
	set := func(id ruleset.SetID) ruleset.SetID {
		if _, known := sets[id]; !known {
			sets[id] = ruleset.SetID(len(sets))
		}
		return sets[id]
	}
	class := func(id ruleset.ClassID) ruleset.ClassID {
		if _, known := classes[id]; !known {
			classes[id] = ruleset.ClassID(len(classes))
		}
		return classes[id]
	}
	c := &ruleset.Ruleset{}
	for _, e := range r.Endpoints {
		e.Ingress, e.Egress = set(e.Ingress), set(e.Egress)
		c.Endpoints = append(c.Endpoints, e)
	}
	for _, p := range r.Peers {
		p.Class = class(p.Class)
		c.Peers = append(c.Peers, p)
	}
	for _, s := range r.Services {
		s.Class = class(s.Class)
		c.Services = append(c.Services, s)
	}
	var names []string
	for _, s := range r.Sets {
		n := o.Names(s.ID)
		s.ID = set(s.ID)
		c.Sets = append(c.Sets, s)
		for i, b := range n.Bits {
			names = append(names, fmt.Sprintf("name set=%d bit=%d %s %d %t", s.ID, i, b.Rule, b.Policies, b.CandidateOnly))
		}
	}
	for _, p := range r.Ports {
		p.Set = set(p.Set)
		c.Ports = append(c.Ports, p)
	}
	for _, p := range r.PortRanges {
		p.Set = set(p.Set)
		c.PortRanges = append(c.PortRanges, p)
	}
	for _, m := range r.Matches {
		m.Set, m.Peer = set(m.Set), class(m.Peer)
		c.Matches = append(c.Matches, m)
	}
	c.Sort()
	slices.Sort(names)
	var b strings.Builder
	b.WriteString(strings.Join(names, "\n") + "\n")
	_, _ = c.WriteTo(&b) // to memory
	return b.String()
}

func diffLines(got, want string) string {
	var out []string
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, line := range a {
		if !slices.Contains(b, line) {
			out = append(out, "+"+line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			out = append(out, "-"+line)
		}
	}
	return strings.Join(out, "\n")
}

// A compile that fails leaves nothing behind: the next one is right again, and
// numbers keep their meaning.
func TestAfterAFailureTheNextOneIsRight(t *testing.T) {
	w := gen.Shop()
	good := modesOf(many(3, 2))
	c := compile.New()
	run := func(number uint64, modes []compile.PolicyMode) (*compile.Output, error) {
		return c.Compile(compile.Input{Generation: number, World: w, Policies: modes})
	}
	out, err := run(1, good)
	if err != nil {
		t.Fatal(err)
	}
	before := out.Dump("n2")
	bad := slices.Clone(good)
	bad = append(bad, modesOf(guards(20, 25))...)
	every := &policy.Policy{
		Kind: flow.NetworkPolicy, Namespace: "shop", Name: "every", Tier: policy.Network, IsolatesIngress: true,
		Subject: policy.Subject{Namespace: "shop", Pods: policy.Everything()},
	}
	for _, protocol := range []flow.Protocol{flow.TCP, flow.UDP} {
		for port := uint16(1); port < 40_000; port++ {
			every.Ingress = append(every.Ingress, policy.Rule{AnyPeer: true, Action: policy.Accept, Ports: []policy.Port{{Protocol: protocol, From: port, To: port}}})
		}
	}
	bad = append(bad, modesOf([]*policy.Policy{every})...)
	if _, err := run(2, bad); err == nil || !strings.Contains(err.Error(), `kinds of ports apart for one pod`) {
		t.Fatalf("80,000 kinds of ports: %v", err)
	}
	if out, err = run(3, good); err != nil {
		t.Fatal(err)
	}
	if after := out.Dump("n2"); after != before {
		t.Errorf("before the failure\n%s\nafter it\n%s", before, after)
	}
}

// The numbers of endpoints are the caller's, and who is judged may change
// while the cluster doesn't.
func TestEndpointsComeAndGo(t *testing.T) {
	w := gen.Shop()
	c := compile.New()
	db, cart := w.Pods["shop/db"].IPs[0], w.Pods["shop/cart"].IPs[0]
	for i, ids := range []map[netip.Addr]ruleset.EndpointID{{db: 7}, {db: 8, cart: 9}, {cart: 9}, {}, {db: 10}} {
		out, err := c.Compile(compile.Input{Generation: uint64(i + 1), World: w, Policies: modesOf(many(1, 1)), Endpoints: ids})
		if err != nil {
			t.Fatal(err)
		}
		got := map[netip.Addr]ruleset.EndpointID{}
		for _, node := range slices.Sorted(maps.Keys(w.Nodes)) {
			for _, e := range out.Node(node).Endpoints {
				got[e.IP] = e.ID
				if (e.Ingress != 0) != (e.IP == db) {
					t.Errorf("step %d: %+v", i, e)
				}
			}
		}
		if !maps.Equal(got, ids) {
			t.Errorf("step %d: endpoints are %v, want %v", i, got, ids)
		}
	}
}
