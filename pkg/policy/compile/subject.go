// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// findSubjects finds the sets of the pods whose sets may have changed.
func (c *Compiler) findSubjects(ch *changes) error {
	var errs []error
	// New sets get their numbers in the order of names, not of maps.
	for _, ps := range slices.SortedFunc(maps.Keys(ch.subjects), comparePodStates) {
		if c.pods[ps.key] != ps {
			continue // gone
		}
		if !c.judged(ps) {
			c.setSets(ps, nil, nil, ch)
			continue
		}
		selecting := c.selecting(ps)
		ingress, err := c.setOf(flow.Ingress, ps, selecting)
		if err == nil {
			var egress *set
			if egress, err = c.setOf(flow.Egress, ps, selecting); err == nil {
				c.setSets(ps, ingress, egress, ch)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("pod %q: %w", ps.key, err))
		}
	}
	return joinErrors(errs)
}

// selecting lists the policies for a pod, in order.
func (c *Compiler) selecting(ps *podState) []*version {
	var out []*version
	for _, list := range [2][]*content{c.widePolicies, ps.space.policies} {
		for _, k := range list {
			if c.selects(k, ps) {
				out = append(out, k.now)
			}
		}
	}
	sortVersions(out)
	return out
}

func sortVersions(list []*version) {
	compare := func(a, b *version) int { return policy.Compare(a.policy, b.policy) }
	if !slices.IsSortedFunc(list, compare) {
		slices.SortStableFunc(list, compare)
	}
}

// setSets gives a pod its sets.
func (c *Compiler) setSets(ps *podState, ingress, egress *set, ch *changes) {
	changed := false
	replace := func(at **set, s *set) {
		old := *at
		if old == s {
			return
		}
		changed, *at = true, s
		if s != nil {
			s.subjects++
		}
		if old != nil {
			if old.subjects--; old.subjects == 0 {
				c.loose[old] = struct{}{}
			}
		}
	}
	replace(&ps.ingress, ingress)
	replace(&ps.egress, egress)
	if !changed {
		return
	}
	delete(c.coarse, ps)
	for _, s := range []*set{ingress, egress} {
		if s != nil && s.parts.merge != mergeNothing {
			c.coarse[ps] = struct{}{}
		}
	}
	for _, ip := range ps.pod.IPs {
		ch.endpoints[ip] = struct{}{}
	}
}

// setOf interns the set of a pod's direction. Nil: no policy is for it.
func (c *Compiler) setOf(d flow.Direction, ps *podState, selecting []*version) (*set, error) {
	parts := setParts{direction: d}
	isolated := false
	for _, v := range selecting {
		isolates := v.policy.Tier == policy.Network && v.policy.Isolates(d)
		if isolates || len(v.rules[side(d)]) > 0 {
			parts.versions = append(parts.versions, v)
		}
		isolated = isolated || isolates
	}
	if len(parts.versions) == 0 {
		return nil, nil
	}
	if isolated && d == flow.Egress {
		parts.services = ps.backed
	}
	parts.tied = tied(parts.versions)
	parts.named = c.namedPorts(&parts, ps.pod)
	key := parts.key()
	for {
		if id, known := c.setIDs.ids[key]; known {
			s := c.sets[ruleset.SetID(id)]
			if s.masked != c.stamp {
				s.masked = c.stamp
				s.masks()
			}
			return s, nil
		}
		s, err := c.newSet(parts)
		if err != nil {
			return nil, err
		}
		if s.parts.merge != parts.merge {
			// What is merged is known only now. The modes may then be part of the key.
			parts.merge = s.parts.merge
			if key = s.parts.key(); c.setIDs.ids[key] != 0 {
				continue
			}
		}
		s.ID, s.key, s.masked = ruleset.SetID(c.setIDs.id(key)), key, c.stamp
		c.sets[s.ID] = s
		c.loose[s] = struct{}{}
		for _, v := range parts.versions {
			v.sets[s] = struct{}{}
		}
		return s, nil
	}
}

// tied says whether ordered policies of equal priority may act differently.
func tied(versions []*version) bool {
	for i, a := range versions {
		for _, b := range versions[i+1:] {
			if a.policy.Tier != b.policy.Tier || a.policy.Priority != b.policy.Priority || a.policy.Tier == policy.Network {
				break
			}
			if a.policy.Kind != b.policy.Kind || a.policy.Name != b.policy.Name {
				return true
			}
		}
	}
	return false
}

// namedPorts resolves the port names that the set's rules use.
func (c *Compiler) namedPorts(parts *setParts, pod *identity.Pod) []namedPorts {
	var out []namedPorts
	for _, v := range parts.versions {
		for _, r := range v.rules[side(parts.direction)] {
			for _, p := range r.ports {
				if p.Name == "" || slices.ContainsFunc(out, func(n namedPorts) bool { return n.name == p.Name && n.protocol == p.Protocol }) {
					continue
				}
				n := namedPorts{name: p.Name, protocol: p.Protocol}
				if parts.direction == flow.Egress {
					n.numbers = c.universe[portAsk{p.Name, p.Protocol}].numbers
				} else {
					for _, port := range policy.Resolve(pod, p.Name, p.Protocol) {
						n.numbers = append(n.numbers, identity.NamedPort{Protocol: port.Protocol, Number: port.Number})
					}
					n.numbers = sortPorts(n.numbers)
				}
				out = append(out, n)
			}
		}
	}
	slices.SortFunc(out, func(a, b namedPorts) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol))
	})
	return out
}
