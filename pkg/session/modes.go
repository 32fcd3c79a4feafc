// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const maxYAML = 64 << 10 // bytes of one policy's text

// choice is one policy's versions and mode.
type choice struct {
	key          PolicyKey
	cluster, own *policy.Policy // one of them may be nil
	mode         Mode
}

// choices joins the cluster's policies with the candidates, in order of key.
// Those of the cluster that nobody chose a mode for have the given one.
func choices(cluster, own []*policy.Policy, modes map[PolicyKey]Mode, unchosen Mode) []choice {
	byKey := make(map[PolicyKey]*choice, len(cluster)+len(own))
	at := func(p *policy.Policy) *choice {
		k := KeyOf(p)
		c := byKey[k]
		if c == nil {
			c = &choice{key: k, mode: DryRun}
			byKey[k] = c
		}
		return c
	}
	for _, p := range cluster {
		c := at(p)
		c.cluster, c.mode = p, unchosen
	}
	for _, p := range own {
		at(p).own = p
	}
	out := make([]choice, 0, len(byKey))
	for _, k := range slices.SortedFunc(maps.Keys(byKey), compareKeys) {
		c := byKey[k]
		if m, set := modes[k]; set {
			c.mode = m
		}
		out = append(out, *c)
	}
	return out
}

func compareKeys(a, b PolicyKey) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// candidate is the version that the mode is about.
func (c *choice) candidate() *policy.Policy {
	if c.own != nil {
		return c.own
	}
	return c.cluster
}

// versions are the policy's entries for the compiler.
func (c *choice) versions() []PolicyMode {
	on := c.mode != Off
	enforced := c.mode == Enforced
	switch {
	case c.own == nil:
		return []PolicyMode{{Policy: c.cluster, Current: true, Candidate: on, Enforced: enforced}}
	case c.cluster == nil && !on:
		return nil
	case c.cluster == nil:
		return []PolicyMode{{Policy: c.own, Candidate: true, Enforced: enforced}}
	case !on:
		return []PolicyMode{{Policy: c.cluster, Current: true, Candidate: true}}
	}
	return []PolicyMode{{Policy: c.cluster, Current: true}, {Policy: c.own, Candidate: true, Enforced: enforced}}
}

// differs says whether the candidate set is another one than the current.
func (c *choice) differs() bool {
	if c.own != nil {
		return c.mode != Off
	}
	return c.mode == Off
}

// policyStates describes all of them, in parts that fit into frames.
func policyStates(list []choice, not []NotEvaluated, w *identity.World) []*wire.PolicyStates {
	count := selected(list, w)
	differs := slices.ContainsFunc(list, func(c choice) bool { return c.differs() })
	var parts []*wire.PolicyStates
	size := 0
	put := func(st *wire.PolicyState) {
		n := proto.Size(st) + 4
		if len(parts) == 0 || size+n > wire.MaxFrame/2 {
			parts, size = append(parts, &wire.PolicyStates{HasCandidate: differs, More: true}), 0
		}
		size += n
		last := parts[len(parts)-1]
		last.Policies = append(last.Policies, st)
	}
	for i, c := range list {
		p := c.candidate()
		origin := "cluster"
		if c.own != nil {
			origin = cmp.Or(p.Source.File, "candidate")
		}
		put(&wire.PolicyState{
			Kind: string(c.key.Kind), Namespace: c.key.Namespace, Name: c.key.Name, Origin: wire.Clean(origin, 1000),
			Current: c.cluster != nil, Candidate: c.mode != Off, Enforced: c.mode == Enforced,
			Selected: count[i], Yaml: wire.Clean(p.Source.YAML, maxYAML),
		})
	}
	for _, n := range not {
		put(&wire.PolicyState{
			Kind: wire.Clean(n.Kind, 200), Namespace: wire.Clean(n.Namespace, 200), Name: wire.Clean(n.Name, 300),
			Origin: "cluster", Current: true, NotEvaluated: wire.Clean(n.Why, 1000),
		})
	}
	if len(parts) == 0 {
		parts = []*wire.PolicyStates{{HasCandidate: differs}}
	}
	parts[len(parts)-1].More = false
	return parts
}

// selected counts the pods that each policy is for.
func selected(list []choice, w *identity.World) []uint32 {
	view := policy.NewView(w)
	byNamespace := map[string][]*identity.Pod{}
	var all []*identity.Pod
	for _, p := range w.Pods {
		if !p.Done && !p.HostNetwork {
			byNamespace[p.Namespace] = append(byNamespace[p.Namespace], p)
			all = append(all, p)
		}
	}
	out := make([]uint32, len(list))
	for i := range list {
		p := list[i].candidate()
		pods := all
		if p.Kind == flow.NetworkPolicy {
			pods = byNamespace[p.Namespace]
		}
		for _, pod := range pods {
			if view.Selects(&p.Subject, pod) {
				out[i]++
			}
		}
	}
	return out
}
