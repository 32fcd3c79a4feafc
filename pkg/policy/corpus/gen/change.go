// SPDX-License-Identifier: Apache-2.0

package gen

import (
	"maps"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
)

// Generation is a cluster at one moment, with the sets that its policies are in.
type Generation struct {
	World *identity.World
	Modes []compile.PolicyMode
}

// Draw draws a cluster and its policies.
func Draw(t *rapid.T) Generation {
	g := Generation{World: World(t)}
	for _, p := range Policies(t) {
		m := compile.PolicyMode{Policy: p, Current: rapid.Bool().Draw(t, "current"), Candidate: rapid.Bool().Draw(t, "candidate")}
		m.Enforced = m.Candidate && rapid.Bool().Draw(t, "enforced")
		g.Modes = append(g.Modes, m)
	}
	return g
}

// Narrow leaves, of some clusters, what somebody sees whose rights end at some
// namespaces. Services keep their backends.
func Narrow(t *rapid.T, g Generation) Generation {
	scope := slices.DeleteFunc(slices.Clone(namespaces), func(string) bool { return rapid.Bool().Draw(t, "hidden") })
	if len(scope) == 0 || len(scope) == len(namespaces) {
		return g
	}
	w := *g.World
	w.Scope, w.Pods = scope, maps.Clone(w.Pods)
	maps.DeleteFunc(w.Pods, func(_ string, p *identity.Pod) bool { return !slices.Contains(scope, p.Namespace) })
	if len(w.Pods) == 0 {
		return g
	}
	return Generation{World: &w, Modes: g.Modes}
}

// Policies are those of one set.
func (g Generation) Policies(in func(compile.PolicyMode) bool) []*policy.Policy {
	var out []*policy.Policy
	for _, m := range g.Modes {
		if in(m) {
			out = append(out, m.Policy)
		}
	}
	return out
}

// Current says whether the cluster has the policy.
func Current(m compile.PolicyMode) bool { return m.Current }

// Candidate says whether the dry-run has the policy.
func Candidate(m compile.PolicyMode) bool { return m.Candidate }

// Change draws the next generation: a pod that changes its labels, goes, comes
// or takes over an address; a namespace, a node, a service, a policy, a mode.
// What was given stays as it is.
func Change(t *rapid.T, g Generation) Generation {
	w := *g.World
	w.Pods, w.Namespaces, w.Nodes, w.Services = maps.Clone(w.Pods), maps.Clone(w.Namespaces), maps.Clone(w.Nodes), maps.Clone(w.Services)
	out := Generation{World: &w, Modes: slices.Clone(g.Modes)}
	key := rapid.SampledFrom(slices.Sorted(maps.Keys(w.Pods))).Draw(t, "pod")
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0:
		p := *w.Pods[key]
		p.Labels = Labels(t)
		w.Pods[key] = &p
	case 1:
		if len(w.Pods) > 1 {
			delete(w.Pods, key)
		}
	case 2:
		p := Pod(t, rapid.IntRange(0, 9).Draw(t, "number"), len(w.Nodes))
		for k, old := range w.Pods { // the address is taken over
			if len(p.IPs) > 0 && slices.ContainsFunc(old.IPs, func(ip netip.Addr) bool { return slices.Contains(p.IPs, ip) }) && !old.HostNetwork {
				delete(w.Pods, k)
			}
		}
		w.Pods[p.Key()] = p
	case 3:
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(w.Namespaces))).Draw(t, "namespace")
		l := Labels(t)
		l["kubernetes.io/metadata.name"] = name
		w.Namespaces[name] = &identity.Namespace{Name: name, Labels: l}
	case 4:
		out.setPolicy(t)
	case 5:
		p := *w.Pods[key] // it ends, and loses its addresses at once
		p.Done, p.IPs = true, nil
		w.Pods[key] = &p
	case 6:
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(w.Nodes))).Draw(t, "node")
		n := *w.Nodes[name]
		n.Labels = Labels(t)
		w.Nodes[name] = &n
	case 7:
		s := service(t, rapid.IntRange(0, 2).Draw(t, "service"), &w)
		for k, old := range w.Services { // names may differ by namespace, addresses go by number
			if old.Name == s.Name {
				delete(w.Services, k)
			}
		}
		w.Services[s.Key()] = s
	default:
		if len(out.Modes) > 0 {
			i := rapid.IntRange(0, len(out.Modes)-1).Draw(t, "toggled")
			out.Modes[i].Candidate = !out.Modes[i].Candidate
			out.Modes[i].Enforced = out.Modes[i].Candidate && rapid.Bool().Draw(t, "enforced")
		}
	}
	return out
}

// setPolicy adds a policy, in the place of one of the same name if there is one.
func (g *Generation) setPolicy(t *rapid.T) {
	m := compile.PolicyMode{Policy: Policy(t, rapid.IntRange(0, 7).Draw(t, "policy")), Candidate: true, Current: rapid.Bool().Draw(t, "current")}
	m.Enforced = rapid.Bool().Draw(t, "enforced")
	g.Modes = slices.DeleteFunc(g.Modes, func(o compile.PolicyMode) bool {
		return o.Policy.Name == m.Policy.Name && o.Policy.Namespace == m.Policy.Namespace
	})
	g.Modes = append(g.Modes, m)
}
