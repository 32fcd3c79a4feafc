// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// world is the last generation's input, indexed.
type world struct {
	last         *identity.World // what the rest is of
	policies     []PolicyMode
	widePolicies []*content // of all namespaces, in order
	spaces       map[string]*space
	fixed        map[string][]atomID // peers with selectors by the namespace that they name
	wide         []atomID            // peers that select namespaces

	pods     map[string]*podState // by key
	byNode   map[string]map[*podState]struct{}
	claims   map[netip.Addr][]*podState // by own address; more than one: nobody has it
	hostPods map[string][]*podState     // by node, in order of keys
	nodeAt   map[netip.Addr]*identity.Node
	nodeIPs  []netip.Addr // in order
	ids      map[netip.Addr]ruleset.EndpointID
	numbered bool // ids were made here
	persons  map[string]*person
	askers   map[asking]map[*person]struct{} // persons by what can be asked about them
	universe map[portAsk]*namedAsk
	coarse   map[*podState]struct{} // with more rules than bits

	servicesIndex
}

func newWorld() world {
	return world{
		last: &identity.World{}, spaces: map[string]*space{}, fixed: map[string][]atomID{}, pods: map[string]*podState{},
		byNode: map[string]map[*podState]struct{}{}, claims: map[netip.Addr][]*podState{}, hostPods: map[string][]*podState{},
		nodeAt: map[netip.Addr]*identity.Node{}, ids: map[netip.Addr]ruleset.EndpointID{}, persons: map[string]*person{},
		askers: map[asking]map[*person]struct{}{}, universe: map[portAsk]*namedAsk{}, coarse: map[*podState]struct{}{},
		servicesIndex: newServicesIndex(),
	}
}

// podState is a pod and what was found out about it.
type podState struct {
	pod             *identity.Pod
	key             string
	space           *space
	person          *person // nil: nobody asks, it has lost its addresses
	ingress, egress *set    // nil: no policy, or not judged
	backs           map[*serviceState][]string
	backed          []string // services that it backs, as backedKey names them; sorted
}

// nodesDiffer says whether nodes came or went, or changed in what rules can
// know of them: that is rare, and touches every service and ruleset.
func (c *Compiler) nodesDiffer(now map[string]*identity.Node) bool {
	old := c.last.Nodes
	if identity.SameMap(old, now) {
		return false
	}
	return !maps.EqualFunc(old, now, func(a, b *identity.Node) bool {
		return a == b || slices.Equal(a.IPs, b.IPs) && maps.Equal(a.Labels, b.Labels)
	})
}

// addNodes indexes the nodes, unless that was done.
func (c *Compiler) addNodes(w *identity.World) {
	if c.last.Nodes == nil {
		for _, name := range slices.Sorted(maps.Keys(w.Nodes)) {
			for _, ip := range w.Nodes[name].IPs {
				if c.nodeAt[ip] == nil {
					c.nodeIPs = append(c.nodeIPs, ip)
				}
				c.nodeAt[ip] = w.Nodes[name]
			}
		}
		slices.SortFunc(c.nodeIPs, netip.Addr.Compare)
	}
	last := *c.last
	last.Nodes = w.Nodes
	c.last = &last
}

// diffNamespaces finds the namespaces with other labels.
func (c *Compiler) diffNamespaces(w *identity.World, ch *changes) {
	old, now := c.last.Namespaces, w.Namespaces
	c.last.Namespaces = now
	if identity.SameMap(old, now) {
		return
	}
	check := func(name string) {
		s := c.spaces[name]
		if s == nil {
			return // nobody asked yet
		}
		labels := c.namespaceLabels(name)
		if maps.Equal(s.labels, labels) {
			return
		}
		s.labels, s.fixed, s.wide, s.atoms = labels, 0, 0, nil
		for ps := range s.pods {
			ch.persons[ps], ch.subjects[ps] = struct{}{}, struct{}{}
		}
	}
	for name, ns := range now {
		if old[name] != ns {
			check(name)
		}
	}
	for name := range old {
		if now[name] == nil {
			check(name)
		}
	}
}

// namespaceLabels is [policy.View.NamespaceLabels].
func (c *Compiler) namespaceLabels(name string) map[string]string {
	return (&policy.View{World: c.last}).NamespaceLabels(name)
}

// diffPods finds the pods that came, went or changed.
func (c *Compiler) diffPods(d *identity.PodDiff, now map[string]*identity.Pod, ch *changes) {
	old := c.last.Pods
	c.last.Pods = now
	if !d.Since(old) {
		d = identity.DiffPods(old, now)
	}
	var gone []*podState
	var come []*identity.Pod
	for _, key := range d.Keys {
		ps, p := c.pods[key], now[key]
		switch {
		case ps == nil && p == nil:
		case ps == nil:
			come = append(come, p)
		case p == nil:
			gone = append(gone, ps)
		case samePod(ps.pod, p):
			ps.pod = p
		case sameButLabels(ps.pod, p):
			ps.pod = p
			ch.persons[ps], ch.subjects[ps] = struct{}{}, struct{}{}
		default:
			gone, come = append(gone, ps), append(come, p)
		}
	}
	for _, ps := range gone {
		c.removePod(ps, ch)
	}
	for _, p := range come {
		c.addPod(p, ch)
	}
}

// samePod says whether rules can't tell two states of a pod apart.
func samePod(a, b *identity.Pod) bool { return sameButLabels(a, b) && maps.Equal(a.Labels, b.Labels) }

func sameButLabels(a, b *identity.Pod) bool {
	return a.Namespace == b.Namespace && a.Name == b.Name && a.Node == b.Node && a.HostNetwork == b.HostNetwork && a.Done == b.Done &&
		slices.Equal(a.IPs, b.IPs) && slices.Equal(a.Ports, b.Ports)
}

func comparePodStates(a, b *podState) int { return strings.Compare(a.key, b.key) }

func (c *Compiler) addPod(p *identity.Pod, ch *changes) {
	ps := &podState{pod: p, key: p.Key(), space: c.space(p.Namespace)}
	c.pods[ps.key] = ps
	ps.space.pods[ps] = struct{}{}
	if c.byNode[p.Node] == nil {
		c.byNode[p.Node] = map[*podState]struct{}{}
	}
	c.byNode[p.Node][ps] = struct{}{}
	ch.persons[ps], ch.subjects[ps] = struct{}{}, struct{}{}
	if p.Done {
		return
	}
	c.countPorts(ps, 1, ch)
	if p.HostNetwork {
		if p.Node != "" {
			list := c.hostPods[p.Node]
			at, _ := slices.BinarySearchFunc(list, ps, comparePodStates)
			c.hostPods[p.Node] = slices.Insert(slices.Clone(list), at, ps)
			c.markNode(p.Node, ch)
		}
		return
	}
	for _, ip := range p.IPs {
		c.claims[ip] = append(c.claims[ip], ps)
		c.markAddress(ip, ch)
	}
}

func (c *Compiler) removePod(ps *podState, ch *changes) {
	p := ps.pod
	delete(c.pods, ps.key)
	delete(ps.space.pods, ps)
	delete(c.byNode[p.Node], ps)
	delete(c.coarse, ps)
	delete(ch.persons, ps)
	delete(ch.subjects, ps)
	c.setPerson(ps, nil)
	c.setSets(ps, nil, nil, ch)
	for s := range ps.backs {
		ch.backing[s] = struct{}{}
		delete(s.backers, ps)
	}
	if p.Done {
		return
	}
	c.countPorts(ps, -1, ch)
	if p.HostNetwork {
		c.hostPods[p.Node] = slices.DeleteFunc(slices.Clone(c.hostPods[p.Node]), func(x *podState) bool { return x == ps })
		c.markNode(p.Node, ch)
		return
	}
	for _, ip := range p.IPs {
		if i := slices.Index(c.claims[ip], ps); i >= 0 {
			c.claims[ip] = slices.Delete(c.claims[ip], i, i+1)
		}
		if len(c.claims[ip]) == 0 {
			delete(c.claims, ip)
		}
		c.markAddress(ip, ch)
	}
}
