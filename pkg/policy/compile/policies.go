// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// diffPolicies finds the contents that came, went or changed their modes.
func (c *Compiler) diffPolicies(list []PolicyMode, ch *changes) {
	touched := map[*content]struct{}{}
	old, now := c.policies, list
	for len(old) > 0 && len(now) > 0 && old[0] == now[0] {
		old, now = old[1:], now[1:]
	}
	for len(old) > 0 && len(now) > 0 && old[len(old)-1] == now[len(now)-1] {
		old, now = old[:len(old)-1], now[:len(now)-1]
	}
	same := len(old) == len(now) // then what stands in the same place is likely the same
	for i, m := range now {
		if !same || old[i] != m {
			touched[c.countPolicy(m, 1)] = struct{}{}
		}
	}
	for i, m := range old {
		if !same || now[i] != m {
			touched[c.countPolicy(m, -1)] = struct{}{}
		}
	}
	c.policies = append(c.policies[:0], list...)
	order := make([]*content, 0, len(touched))
	for k := range touched {
		order = append(order, k)
	}
	slices.SortFunc(order, compareContents)
	for _, k := range order {
		c.settlePolicy(k, ch)
	}
}

func compareContents(a, b *content) int {
	return cmp.Or(policy.Compare(a.policy, b.policy), strings.Compare(a.text, b.text))
}

// countPolicy counts one entry of the input in or out.
func (c *Compiler) countPolicy(m PolicyMode, n int) *content {
	k := c.contentOf(m.Policy)
	p := c.contents[m.Policy]
	if p.entries += n; p.entries == 0 {
		delete(c.contents, m.Policy)
	}
	k.count.entries += n
	if m.Current {
		k.count.current += n
	}
	if m.Candidate {
		k.count.candidate += n
	}
	if m.Candidate && m.Enforced {
		k.count.enforced += n
	}
	return k
}

// settlePolicy brings a content to its counts.
func (c *Compiler) settlePolicy(k *content, ch *changes) {
	was := k.now
	k.now = nil
	if k.count.entries > 0 {
		k.now = &version{content: k, current: k.count.current > 0, candidate: k.count.candidate > 0, enforced: k.count.enforced > 0}
	}
	switch {
	case was == nil && k.now == nil:
		return
	case was != nil && k.now != nil:
		if *was == *k.now {
			k.now = was
			return
		}
		ch.toggled = append(ch.toggled, k)
		// Only where policies of equal priority meet, or bits are shared by
		// modes, are these part of a set's meaning.
		for s := range k.sets {
			if s.modal() {
				c.markSelected(k, ch)
				break
			}
		}
		return
	}
	list := &c.widePolicies
	if ns := k.policy.Subject.Namespace; ns != "" {
		list = &c.space(ns).policies
	}
	at, there := slices.BinarySearchFunc(*list, k, compareContents)
	switch {
	case k.now != nil && !there:
		*list = slices.Insert(*list, at, k)
	case k.now == nil && there:
		*list = slices.Delete(*list, at, at+1)
	}
	c.countNames(k, k.now != nil, ch)
	c.markSelected(k, ch)
}

// modal says whether modes are part of the set's key.
func (s *set) modal() bool { return s.parts.tied || s.parts.merge >= mergeModes }

// markSelected has the sets of all pods found again that the policy is for.
func (c *Compiler) markSelected(k *content, ch *changes) {
	mark := func(s *space) {
		for ps := range s.pods {
			if c.selects(k, ps) {
				ch.subjects[ps] = struct{}{}
			}
		}
	}
	if ns := k.policy.Subject.Namespace; ns != "" {
		mark(c.space(ns))
		return
	}
	for _, s := range c.spaces {
		mark(s)
	}
}

// selects is [policy.View.Selects].
func (c *Compiler) selects(k *content, ps *podState) bool {
	s := &k.policy.Subject
	switch {
	case s.None, s.Namespace != "" && s.Namespace != ps.space.name:
		return false
	case s.Namespace == "" && !s.Namespaces.Matches(ps.space.labels):
		return false
	}
	return s.Pods.Matches(ps.pod.Labels)
}

// countNames counts the port names that a content's egress rules ask for.
func (c *Compiler) countNames(k *content, in bool, ch *changes) {
	for _, r := range k.rules[side(flow.Egress)] {
		for _, p := range r.ports {
			if p.Name == "" {
				continue
			}
			ask := portAsk{p.Name, p.Protocol}
			u := c.universe[ask]
			if u == nil {
				u = &namedAsk{}
				c.universe[ask] = u
				ch.newAsks[ask] = struct{}{}
			}
			if in {
				u.rules++
			} else {
				u.rules--
			}
		}
	}
}

// findMasks writes the masks of sets whose policies changed their modes.
func (c *Compiler) findMasks(ch *changes) {
	for _, k := range ch.toggled {
		for s := range k.sets {
			if s.masked != c.stamp {
				s.masked = c.stamp
				s.masks()
			}
			ch.masks[s] = struct{}{}
		}
	}
}
