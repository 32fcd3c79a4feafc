// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"reflect"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// markAddress notes that an address has another owner, or none.
func (c *Compiler) markAddress(ip netip.Addr, ch *changes) {
	ch.claimed = true
	ch.addresses[ip], ch.endpoints[ip] = struct{}{}, struct{}{}
	for _, ps := range c.claims[ip] {
		ch.subjects[ps] = struct{}{}
	}
	for s := range c.backends[ip] {
		ch.backing[s] = struct{}{}
	}
	for e := range c.atIP[ip] {
		ch.services[e] = struct{}{} // a pod's own address is never a service's
	}
}

// markNode notes that the pods behind a node's addresses are others.
func (c *Compiler) markNode(name string, ch *changes) {
	if n := c.last.Nodes[name]; n != nil {
		for _, ip := range n.IPs {
			ch.addresses[ip] = struct{}{}
		}
	}
}

// owner is the pod whose own address ip is; nil if none is known, or several
// claim it.
func (c *Compiler) owner(ip netip.Addr) *podState {
	if list := c.claims[ip]; len(list) == 1 {
		return list[0]
	}
	return nil
}

func (c *Compiler) ownerPod(ip netip.Addr) *identity.Pod {
	if ps := c.owner(ip); ps != nil {
		return ps.pod
	}
	return nil
}

// nodeOf is the node whose address ip is, unless it is a pod's.
func (c *Compiler) nodeOf(ip netip.Addr) *identity.Node {
	if c.owner(ip) != nil {
		return nil
	}
	return c.nodeAt[ip]
}

// diffEndpoints finds the addresses that have another number.
func (c *Compiler) diffEndpoints(ids map[netip.Addr]ruleset.EndpointID, ch *changes) {
	old := c.ids
	if ids == nil {
		if c.numbered && !ch.claimed {
			return
		}
		ids = c.number()
		c.numbered = true
	} else {
		c.numbered = false
		if reflect.ValueOf(old).Pointer() == reflect.ValueOf(ids).Pointer() {
			return
		}
	}
	c.ids = ids
	mark := func(ip netip.Addr) {
		ch.endpoints[ip] = struct{}{}
		for _, ps := range c.claims[ip] {
			ch.subjects[ps] = struct{}{}
		}
	}
	kept := 0
	for ip, id := range ids {
		was, there := old[ip]
		if there {
			kept++
		}
		if was != id {
			mark(ip)
		}
	}
	if kept < len(old) {
		for ip := range old {
			if _, there := ids[ip]; !there {
				mark(ip)
			}
		}
	}
}

// number gives endpoints to all pods, in the order of their addresses.
func (c *Compiler) number() map[netip.Addr]ruleset.EndpointID {
	ips := make([]netip.Addr, 0, len(c.claims))
	for ip, list := range c.claims {
		if len(list) == 1 {
			ips = append(ips, ip)
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	out := make(map[netip.Addr]ruleset.EndpointID, len(ips))
	for i, ip := range ips {
		out[ip] = ruleset.EndpointID(i + 1) //nolint:gosec // as many as there are addresses
	}
	return out
}

// judged says whether an address of the pod is an endpoint.
func (c *Compiler) judged(ps *podState) bool {
	for _, ip := range ps.pod.IPs {
		if c.ids[ip] != 0 && c.owner(ip) == ps {
			return true
		}
	}
	return false
}
