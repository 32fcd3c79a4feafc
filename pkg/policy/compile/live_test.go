// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Equal histories give equal numbers.
func TestDeterministic(t *testing.T) {
	check(t, 200, func(t *rapid.T) {
		history := []gen.Generation{gen.Draw(t)}
		for range 2 {
			history = append(history, gen.Change(t, history[len(history)-1]))
		}
		var dumps [2]string
		for i := range dumps {
			c := compile.New()
			for n, g := range history {
				out, err := c.Compile(compile.Input{Generation: uint64(n), World: g.World, Policies: g.Modes})
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range slices.Sorted(maps.Keys(g.World.Nodes)) {
					dumps[i] += out.Dump(name)
				}
			}
		}
		if dumps[0] != dumps[1] {
			t.Fatalf("first\n%s\nthen\n%s", dumps[0], dumps[1])
		}
	})
}

// While a delta is applied, step by step, a packet is judged as before the
// change or as after it, and each set keeps its meaning.
func TestLiveChanges(t *testing.T) {
	check(t, cases(t)/200, func(t *rapid.T) {
		g := gen.Draw(t)
		c := compile.New()
		before := compiled(t, c, 1, g)
		rulesets := map[string]*ruleset.Ruleset{}
		for name := range g.World.Nodes {
			rulesets[name] = before.out.Node(name)
		}
		for n := range uint64(4) {
			g = gen.Change(t, g)
			after := compiled(t, c, n+2, g)
			var packets []policy.Packet
			for range 6 {
				p := gen.Packet(t, g.World)
				after.agree(t, p)
				if !hairpin(g.World, p) {
					packets = append(packets, p)
				}
			}
			for name, old := range rulesets {
				r := after.out.Node(name)
				d, err := ruleset.Diff(old, r)
				if err != nil {
					t.Fatalf("node %s: %v", name, err)
				}
				between(t, name, old, r, d, packets)
				rulesets[name] = r
			}
		}
	})
}

// hairpin says whether the source backs the service that it speaks to: such a
// pod is endpoint and peer at once, and the two change one after the other.
func hairpin(w *identity.World, p policy.Packet) bool {
	for _, s := range w.Services {
		for _, port := range s.Ports {
			for _, b := range port.Backends {
				if b.IP == p.Source && slices.Contains(slices.Concat(s.IPs, s.ExternalIPs), p.Destination) {
					return true
				}
			}
		}
	}
	return false
}

// between applies the delta's steps to a copy of old and asks in between. A
// change of several addresses at once may show part of them moved: what is
// asked about has one peer, one endpoint and one service, so each look-up is
// of before or of after.
func between(t *rapid.T, node string, old, new *ruleset.Ruleset, d *ruleset.Delta, packets []policy.Packet) {
	first, last := ruleset.NewTable(old), ruleset.NewTable(new)
	state := *old
	for step := 1; step <= 3; step++ {
		switch step {
		case 1:
			state.Sets = put(state.Sets, d.PutSets, func(s ruleset.Set) any { return s.ID })
			state.Ports = put(state.Ports, d.PutPorts, func(p ruleset.Port) any { return [3]any{p.Set, p.Protocol, p.Port} })
			state.PortRanges = put(state.PortRanges, d.PutPortRanges, func(p ruleset.PortRange) any { return [4]any{p.Set, p.Protocol, p.Port, p.Bits} })
			state.Matches = put(state.Matches, d.PutMatches, func(m ruleset.Match) any { return [3]any{m.Set, m.Peer, m.Ports} })
		case 2:
			state.Peers = put(state.Peers, d.PutPeers, func(p ruleset.Peer) any { return p.Prefix })
			state.Services = put(state.Services, d.PutServices, func(s ruleset.Service) any { return [3]any{s.IP, s.Protocol, s.Port} })
		case 3:
			state.Endpoints = put(state.Endpoints, d.PutEndpoints, func(e ruleset.Endpoint) any { return e.IP })
		}
		table := ruleset.NewTable(&state)
		for _, p := range packets {
			for _, q := range []ruleset.Packet{
				{Direction: flow.Egress, Protocol: p.Protocol, Local: p.Source, Peer: p.Destination, Port: p.Port},
				{Direction: flow.Ingress, Protocol: p.Protocol, Local: p.Destination, Peer: p.Source, Port: p.Port},
			} {
				a, b, now := first.Judge(q), last.Judge(q), table.Judge(q)
				if a.Set == 0 || b.Set == 0 || a.Service != b.Service {
					continue // an endpoint or service that is new, or goes
				}
				if now.Drop && !a.Drop && !b.Drop || !now.Drop && a.Drop && b.Drop {
					t.Fatalf("node %s, step %d, %+v: before %+v, after %+v, in between %+v", node, step, q, a, b, now)
				}
			}
		}
	}
}

func put[T any](list, puts []T, key func(T) any) []T {
	at := map[any]int{}
	out := slices.Clone(list)
	for i, v := range out {
		at[key(v)] = i
	}
	for _, v := range puts {
		if i, there := at[key(v)]; there {
			out[i] = v
		} else {
			out = append(out, v)
		}
	}
	return out
}
