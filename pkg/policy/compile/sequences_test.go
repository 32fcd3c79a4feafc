// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Changes that drawn clusters seldom meet, one after the other. After each of
// them all that can be asked is asked of what became of the tables, and of
// tables made from nothing.
func TestSequencesThatAreSeldomDrawn(t *testing.T) {
	const isolate = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolate, namespace: shop}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: cart}}}]}]}
`
	block := func(priority, name, action, cidr string) string {
		return `---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: ` + name + `}
spec:
  tier: Admin
  priority: ` + priority + `
  subject: {namespaces: {}}
  egress: [{name: r, action: ` + action + `, to: [{networks: ["` + cidr + `"]}]}]
`
	}
	set := func(of func(*compile.PolicyMode)) func(*sequence, string) {
		return func(s *sequence, name string) {
			for i := range s.modes {
				if s.modes[i].Policy.Name == name {
					of(&s.modes[i])
				}
			}
		}
	}
	candidate := set(func(m *compile.PolicyMode) { m.Candidate = !m.Candidate; m.Enforced = m.Enforced && m.Candidate })
	current := set(func(m *compile.PolicyMode) { m.Current = !m.Current })
	enforced := set(func(m *compile.PolicyMode) { m.Enforced = !m.Enforced })
	for _, c := range []struct {
		name, policies string
		steps          []func(*sequence)
	}{
		{
			// Two of equal priority that act differently are settled by mode.
			"toggles at equal priority", isolate + block("5", "one", "Deny", "10.0.0.0/8") + block("5", "two", "Accept", "10.0.1.0/24"),
			[]func(*sequence){
				func(s *sequence) { candidate(s, "one") },
				func(s *sequence) { candidate(s, "two") },
				func(s *sequence) { candidate(s, "one"); enforced(s, "one") },
				func(s *sequence) { candidate(s, "two"); enforced(s, "two") },
				func(s *sequence) { enforced(s, "one") },
				func(s *sequence) { enforced(s, "isolate") },
			},
		},
		{
			// The block covers the service's address and not its backend's: what
			// both readings say depends on the modes of who is asked.
			"a service whose readings depend on modes", isolate + block("5", "deny", "Deny", "10.96.0.0/12") + block("6", "also", "Deny", "10.0.1.3/32"),
			[]func(*sequence){
				func(s *sequence) { current(s, "deny"); candidate(s, "deny") },
				func(s *sequence) { candidate(s, "deny") },
				func(s *sequence) { candidate(s, "deny") },
				func(s *sequence) { current(s, "deny"); candidate(s, "deny") },
				func(s *sequence) { enforced(s, "deny") },
				func(s *sequence) { candidate(s, "deny") },
				func(s *sequence) { candidate(s, "also") },
				func(s *sequence) { candidate(s, "deny"); enforced(s, "deny") },
				func(s *sequence) { candidate(s, "isolate") },
				func(s *sequence) { candidate(s, "also"); enforced(s, "also") },
			},
		},
		{
			// Who backs a service may reach itself through it; a pod of two
			// addresses backs it twice.
			"backers come and go", isolate,
			[]func(*sequence){
				func(s *sequence) { s.back("10.0.1.1", "fd00::1") },
				func(s *sequence) { s.back("10.0.1.1") },
				func(s *sequence) { s.back("10.0.1.1", "10.0.1.2", "10.0.1.3") },
				func(s *sequence) { s.back("10.0.1.2") },
				func(s *sequence) { s.back() },
				func(s *sequence) { s.back("10.0.1.1") },
			},
		},
		{
			"a backer that other rules select", isolate,
			[]func(*sequence){
				func(s *sequence) { s.label("shop/db", "cart") },
				func(s *sequence) { s.label("shop/db", "db") },
				func(s *sequence) { s.back("10.0.1.2", "10.0.1.3") },
				func(s *sequence) { s.label("shop/cart", "other") },
				func(s *sequence) { s.label("shop/db", "cart") },
			},
		},
		{
			"the address of a backer is taken over by one of another node", isolate,
			[]func(*sequence){
				func(s *sequence) { s.back("10.0.1.1", "10.0.1.3") },
				func(s *sequence) { s.takeOver("shop/web", "shop/new", "n2") },
				func(s *sequence) { s.back("10.0.1.3") },
				func(s *sequence) { s.takeOver("shop/new", "shop/newer", "n1") },
				func(s *sequence) { s.back("10.0.1.1") },
				func(s *sequence) { s.takeOver("shop/db", "shop/db2", "n2"); s.takeOver("shop/newer", "shop/web", "n2") },
				func(s *sequence) { s.back("10.0.1.3", "10.0.1.1") },
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSequence(t, c.policies)
			s.compare(t, -1)
			for i, step := range c.steps {
				step(s)
				s.compare(t, i)
				s.compare(t, i) // nothing changes, and what was used before goes
			}
		})
	}
}

// sequence is a cluster that changes, and the compiler that follows it.
type sequence struct {
	world    *identity.World
	modes    []compile.PolicyMode
	compiler *compile.Compiler
	number   uint64
}

func newSequence(t *testing.T, text string) *sequence {
	t.Helper()
	o, err := policy.Parse([]byte(text), "policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := &sequence{world: gen.Shop(), modes: modesOf(o.Policies), compiler: compile.New()}
	s.change(func(w *identity.World) {
		web := *w.Pods["shop/web"]
		web.IPs = append(slices.Clone(web.IPs), netip.MustParseAddr("fd00::1"))
		w.Pods["shop/web"] = &web
		db := *w.Services["shop/db"]
		db.IPs = append(slices.Clone(db.IPs), netip.MustParseAddr("fd00:96::1"))
		w.Services["shop/db"] = &db
	})
	return s
}

func (s *sequence) change(f func(w *identity.World)) {
	w := *s.world
	w.Pods, w.Services = maps.Clone(w.Pods), maps.Clone(w.Services)
	f(&w)
	s.world = &w
}

// back has the service shop/db backed by these addresses alone.
func (s *sequence) back(ips ...string) {
	s.change(func(w *identity.World) {
		db := *w.Services["shop/db"]
		port := db.Ports[0]
		port.Backends = nil
		for _, ip := range ips {
			port.Backends = append(port.Backends, identity.Backend{IP: netip.MustParseAddr(ip), Port: 5432, Ready: true})
		}
		db.Ports = []identity.ServicePort{port}
		w.Services["shop/db"] = &db
	})
}

func (s *sequence) label(key, app string) {
	s.change(func(w *identity.World) {
		p := *w.Pods[key]
		p.Labels = map[string]string{"app": app}
		w.Pods[key] = &p
	})
}

// takeOver has a pod go, and another one come with its addresses.
func (s *sequence) takeOver(old, name, node string) {
	s.change(func(w *identity.World) {
		p := *w.Pods[old]
		delete(w.Pods, old)
		p.Name, p.Node = name[len("shop/"):], node
		w.Pods[p.Key()] = &p
	})
}

func (s *sequence) compare(t *testing.T, step int) {
	t.Helper()
	s.number++
	in := compile.Input{Generation: s.number, World: s.world, Policies: slices.Clone(s.modes)}
	out, err := s.compiler.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := compile.New().Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	var ips []netip.Addr
	for _, p := range s.world.Pods {
		ips = append(ips, p.IPs...)
	}
	to := append(slices.Clone(ips), s.world.Services["shop/db"].IPs...)
	to = append(to, s.world.Nodes["n1"].IPs[0], s.world.Nodes["n2"].IPs[0], netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("8.8.8.8"))
	for name := range s.world.Nodes {
		a, b := ruleset.NewTable(out.Node(name)), ruleset.NewTable(fresh.Node(name))
		for _, local := range ips {
			for _, peer := range to {
				for _, port := range []uint16{80, 5432} {
					for _, d := range []flow.Direction{flow.Ingress, flow.Egress} {
						q := ruleset.Packet{Direction: d, Protocol: flow.TCP, Local: local, Peer: peer, Port: port}
						x, y := a.Judge(q), b.Judge(q)
						x.Set, y.Set = min(x.Set, 1), min(y.Set, 1)
						if x != y {
							t.Fatalf("step %d, node %q, %+v: after changes %+v, from nothing %+v", step, name, q, x, y)
						}
					}
				}
			}
		}
	}
}
