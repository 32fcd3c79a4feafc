// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"maps"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// WorldEncoder says what changed from one World to the next. The zero value
// is ready and knows nothing yet. Not for concurrent use.
type WorldEncoder struct {
	last *identity.World
	told map[string]toldPod // by key
}

// toldPod is a pod as a reader knows it.
type toldPod struct {
	pod      *identity.Pod
	endpoint ruleset.EndpointID
}

// Next returns what brings a reader from the World of the last call to w, in
// messages that fit into frames; none if nothing changed. id says which
// endpoint a pod is, 0 if none. Objects that are the same pointers as before
// count as unchanged, as [identity.World] promises.
func (e *WorldEncoder) Next(w *identity.World, id func(*identity.Pod) ruleset.EndpointID) []*World {
	return e.NextBy(nil, w, id)
}

// NextBy is Next by what the caller knows of the pods that changed since the
// World of the last call; those that didn't have the endpoint that they had.
// Nil, or a difference to another world: all are looked at.
func (e *WorldEncoder) NextBy(d *identity.PodDiff, w *identity.World, id func(*identity.Pod) ruleset.EndpointID) []*World {
	c := &worldCutter{reset: e.last == nil}
	last := e.last
	if last == nil {
		last = &identity.World{}
	}
	if e.told == nil {
		e.told = map[string]toldPod{}
	}
	for _, key := range changed(last.Namespaces, w.Namespaces) {
		ns := w.Namespaces[key]
		add(c, &c.part().Namespaces, &Namespace{Name: ns.Name, Labels: ns.Labels})
	}
	for _, key := range changed(last.Nodes, w.Nodes) {
		add(c, &c.part().Nodes, nodeMessage(w.Nodes[key]))
	}
	pods, gone := e.pods(d, w.Pods, id)
	for _, key := range pods {
		add(c, &c.part().Pods, podMessage(w.Pods[key], e.told[key].endpoint))
	}
	for _, key := range changed(last.Services, w.Services) {
		add(c, &c.part().Services, serviceMessageOf(w.Services[key]))
	}
	c.gone("pod ", gone)
	c.gone("service ", goneKeys(last.Services, w.Services))
	c.gone("namespace ", goneKeys(last.Namespaces, w.Namespaces))
	c.gone("node ", goneKeys(last.Nodes, w.Nodes))
	// The short lists travel whole with every message, so they alone can be the change.
	if c.reset || len(c.parts) == 0 && (!slices.Equal(last.ClusterDNS, w.ClusterDNS) || !slices.Equal(last.Scope, w.Scope)) {
		c.part()
	}
	for _, m := range c.parts {
		m.ClusterDns, m.Scope = AddrsBytes(w.ClusterDNS), w.Scope
	}
	e.last = w
	return c.parts
}

// Whole returns all of the World of the last call to Next, for a reader that
// knows nothing.
func (e *WorldEncoder) Whole() []*World {
	if e.last == nil {
		return nil
	}
	var fresh WorldEncoder
	return fresh.Next(e.last, func(p *identity.Pod) ruleset.EndpointID { return e.told[p.Key()].endpoint })
}

// pods are the keys of those that a reader has to be told of, and of those that
// are gone, each in order.
func (e *WorldEncoder) pods(d *identity.PodDiff, now map[string]*identity.Pod, id func(*identity.Pod) ruleset.EndpointID) (changed, gone []string) {
	look := func(key string, p *identity.Pod) {
		ep := id(p)
		if old, known := e.told[key]; !known || old.pod != p || old.endpoint != ep {
			e.told[key] = toldPod{p, ep}
			changed = append(changed, key)
		}
	}
	leave := func(key string) {
		if _, known := e.told[key]; known {
			delete(e.told, key)
			gone = append(gone, key)
		}
	}
	if e.last != nil && d.Since(e.last.Pods) {
		for _, key := range d.Keys {
			if p := now[key]; p != nil {
				look(key, p)
			} else {
				leave(key)
			}
		}
	} else {
		for key, p := range now {
			look(key, p)
		}
		for key := range e.told {
			if now[key] == nil {
				leave(key)
			}
		}
	}
	slices.Sort(changed)
	slices.Sort(gone)
	return changed, gone
}

type worldCutter struct {
	parts        []*World
	bytes, items int
	reset        bool
}

func (c *worldCutter) part() *World {
	if len(c.parts) == 0 || c.bytes >= partBytes || c.items >= partItems/2 {
		c.parts = append(c.parts, &World{Reset_: c.reset && len(c.parts) == 0})
		c.bytes, c.items = 0, 0
	}
	return c.parts[len(c.parts)-1]
}

func add[M proto.Message](c *worldCutter, list *[]M, m M) {
	*list = append(*list, m)
	size := proto.Size(m)
	c.bytes += size + 4
	c.items += 1 + size/32 // labels and ports within count too
}

// changed are the keys of what is new or another, in order.
func changed[T any](was, is map[string]*T) []string {
	if identity.SameMap(was, is) {
		return nil
	}
	var keys []string
	for key, v := range is {
		if was[key] != v {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// goneKeys are the keys of what isn't there any more, in order.
func goneKeys[T any](was, is map[string]*T) []string {
	if identity.SameMap(was, is) {
		return nil
	}
	var keys []string
	for key := range was {
		if _, ok := is[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (c *worldCutter) gone(kind string, keys []string) {
	for _, key := range keys {
		p := c.part()
		p.Gone = append(p.Gone, kind+key)
		c.bytes += len(kind) + len(key) + 4
		c.items++
	}
}

func nodeMessage(n *identity.Node) *Node {
	m := &Node{Name: n.Name, Labels: n.Labels, Ips: AddrsBytes(n.IPs), Ready: n.Ready, Cordoned: n.Cordoned}
	for _, p := range n.PodCIDRs {
		m.PodCidrs = append(m.PodCidrs, &Prefix{Ip: AddrBytes(p.Addr()), Bits: uint32(p.Bits())}) //nolint:gosec // bits of a valid prefix are not negative
	}
	return m
}

// maxContainer bounds a container's id and name, in bytes.
const maxContainer = 128

func podMessage(p *identity.Pod, ep ruleset.EndpointID) *Pod {
	m := &Pod{
		Namespace: p.Namespace, Name: p.Name, Uid: p.UID, Labels: p.Labels, Node: p.Node, Ips: AddrsBytes(p.IPs),
		HostNetwork: p.HostNetwork, Done: p.Done, Workload: p.Workload, Ready: p.Ready, Endpoint: uint32(ep),
	}
	if !p.Created.IsZero() {
		m.CreatedNs = p.Created.UnixNano()
	}
	if !p.ReadySince.IsZero() {
		m.ReadyNs = p.ReadySince.UnixNano()
	}
	for _, id := range slices.Sorted(maps.Keys(p.Containers)) {
		m.Containers = append(m.Containers, &Container{Id: Clean(id, maxContainer), Name: Clean(p.Containers[id], maxContainer)})
	}
	for _, n := range p.Ports {
		m.Ports = append(m.Ports, &NamedPort{Name: n.Name, Protocol: uint32(n.Protocol), Number: uint32(n.Number)})
	}
	return m
}

func serviceMessageOf(s *identity.Service) *KubeService {
	m := &KubeService{
		Namespace: s.Namespace, Name: s.Name, Type: s.Type, Ips: AddrsBytes(s.IPs), ExternalIps: AddrsBytes(s.ExternalIPs),
		ExternalLocal: s.ExternalLocal, InternalLocal: s.InternalLocal, ClientAffinity: s.ClientAffinity,
	}
	// A service of thousands of pods with many ports would not fit a frame.
	// Names don't need all of its backends; judging doesn't read this message.
	most := 4096 / max(1, len(s.Ports))
	for _, p := range s.Ports {
		sp := &ServicePort{Name: p.Name, Protocol: uint32(p.Protocol), Port: uint32(p.Port), NodePort: uint32(p.NodePort)}
		for _, b := range p.Backends[:min(len(p.Backends), most)] {
			sp.Backends = append(sp.Backends, &Backend{Ip: AddrBytes(b.IP), Port: uint32(b.Port), Node: b.Node, Ready: b.Ready})
		}
		m.Ports = append(m.Ports, sp)
	}
	return m
}

// prefixOf reads a prefix; ok is false if it is none.
func prefixOf(m *Prefix) (netip.Prefix, bool) {
	a, ok := Addr(m.GetIp())
	if !ok || m.GetBits() > uint32(a.BitLen()) { //nolint:gosec // 0, 32 or 128
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, int(m.GetBits())), true
}
