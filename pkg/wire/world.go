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
	ids  map[string]ruleset.EndpointID // by pod key
}

// Next returns what brings a reader from the World of the last call to w, in
// messages that fit into frames; none if nothing changed. id says which
// endpoint a pod is, 0 if none. Objects that are the same pointers as before
// count as unchanged, as [identity.World] promises.
func (e *WorldEncoder) Next(w *identity.World, id func(*identity.Pod) ruleset.EndpointID) []*World {
	c := &worldCutter{reset: e.last == nil}
	last := e.last
	if last == nil {
		last = &identity.World{}
	}
	if e.ids == nil {
		e.ids = map[string]ruleset.EndpointID{}
	}
	for _, key := range changed(last.Namespaces, w.Namespaces) {
		ns := w.Namespaces[key]
		add(c, &c.part().Namespaces, &Namespace{Name: ns.Name, Labels: ns.Labels})
	}
	for _, key := range changed(last.Nodes, w.Nodes) {
		add(c, &c.part().Nodes, nodeMessage(w.Nodes[key]))
	}
	var pods []string
	for key, p := range w.Pods {
		ep := id(p)
		if old := e.ids[key]; old != ep {
			e.ids[key] = ep
		} else if last.Pods[key] == p {
			continue
		}
		pods = append(pods, key)
	}
	for key := range last.Pods {
		if w.Pods[key] == nil {
			delete(e.ids, key)
		}
	}
	slices.Sort(pods)
	for _, key := range pods {
		add(c, &c.part().Pods, podMessage(w.Pods[key], e.ids[key]))
	}
	for _, key := range changed(last.Services, w.Services) {
		add(c, &c.part().Services, serviceMessageOf(w.Services[key]))
	}
	goneKeys(c, "pod ", last.Pods, w.Pods)
	goneKeys(c, "service ", last.Services, w.Services)
	goneKeys(c, "namespace ", last.Namespaces, w.Namespaces)
	goneKeys(c, "node ", last.Nodes, w.Nodes)
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
	return fresh.Next(e.last, func(p *identity.Pod) ruleset.EndpointID { return e.ids[p.Key()] })
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
	var keys []string
	for key, v := range is {
		if was[key] != v {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func goneKeys[T any](c *worldCutter, kind string, was, is map[string]*T) {
	var keys []string
	for key := range was {
		if _, ok := is[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
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
