// SPDX-License-Identifier: Apache-2.0

package session

import (
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// counter counts the pods that policies are for. It knows in which namespaces
// anything has changed since the last world, so that a change of one pod
// doesn't have the policies of all namespaces counted again.
type counter struct {
	world  *identity.World
	pods   map[string][]*identity.Pod // by namespace, those that policies are for
	dirty  map[string]bool            // namespaces whose pods changed
	labels bool                       // some namespace changed
}

// follow takes another world.
func (c *counter) follow(w *identity.World) {
	last := c.world
	c.world, c.dirty = w, map[string]bool{}
	if last == nil {
		last = &identity.World{}
		c.pods = map[string][]*identity.Pod{}
	}
	c.labels = !identity.SameMap(last.Namespaces, w.Namespaces)
	for _, key := range identity.DiffPods(last.Pods, w.Pods).Keys {
		for _, p := range [...]*identity.Pod{last.Pods[key], w.Pods[key]} {
			if p != nil {
				c.dirty[p.Namespace] = true
			}
		}
	}
	if len(c.dirty) == 0 {
		return
	}
	for namespace := range c.dirty {
		delete(c.pods, namespace)
	}
	for _, p := range w.Pods {
		if c.dirty[p.Namespace] && !p.Done && !p.HostNetwork {
			c.pods[p.Namespace] = append(c.pods[p.Namespace], p)
		}
	}
}

// stays says that a policy is for as many pods as in the world before.
func (c *counter) stays(p *policy.Policy) bool {
	if p.Kind == flow.NetworkPolicy {
		return !c.dirty[p.Namespace]
	}
	return !c.labels && len(c.dirty) == 0
}

// count says how many pods a policy is for.
func (c *counter) count(p *policy.Policy) uint32 {
	view := policy.View{World: c.world} // labels need no index
	n := uint32(0)
	add := func(pods []*identity.Pod) {
		for _, pod := range pods {
			if view.Selects(&p.Subject, pod) {
				n++
			}
		}
	}
	if p.Kind == flow.NetworkPolicy {
		add(c.pods[p.Namespace])
		return n
	}
	for _, pods := range c.pods {
		add(pods)
	}
	return n
}
