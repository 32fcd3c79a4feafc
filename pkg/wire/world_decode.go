// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"maps"
	"math"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Bounds of what a [WorldDecoder] remembers. A cluster has at most 150,000 pods.
const (
	maxObjects   = 400_000
	maxGonePods  = 20_000 // pods that are gone but may still name a flow
	maxScopeSize = 10_000
	// maxContainers of one pod, those that ended before included.
	maxContainers = 256
)

// WorldDecoder puts World messages together. The zero value is ready. Not for
// concurrent use; the Worlds that it hands out are immutable.
type WorldDecoder struct {
	w         identity.World
	shared    bool // w's maps have been handed out
	endpoints map[ruleset.EndpointID]*identity.Pod
	ids       map[string]ruleset.EndpointID
	gone      []ruleset.EndpointID // oldest first; still in endpoints
}

// Apply takes the next message. What is out of range in it is left out.
func (d *WorldDecoder) Apply(m *World) {
	if m.GetReset_() || d.w.Pods == nil {
		*d = WorldDecoder{
			w: identity.World{
				Namespaces: map[string]*identity.Namespace{}, Pods: map[string]*identity.Pod{},
				Services: map[string]*identity.Service{}, Nodes: map[string]*identity.Node{},
			},
			endpoints: d.endpoints, gone: d.gone, ids: map[string]ruleset.EndpointID{},
		}
		if d.endpoints == nil {
			d.endpoints = map[ruleset.EndpointID]*identity.Pod{}
		}
	}
	if d.shared {
		d.w.Namespaces, d.w.Pods = maps.Clone(d.w.Namespaces), maps.Clone(d.w.Pods)
		d.w.Services, d.w.Nodes = maps.Clone(d.w.Services), maps.Clone(d.w.Nodes)
		d.shared = false
	}
	d.w.ClusterDNS = Addrs(m.GetClusterDns())
	d.w.Scope = m.GetScope()[:min(len(m.GetScope()), maxScopeSize)]
	for _, key := range m.GetGone() {
		d.forget(key)
	}
	for _, n := range m.GetNamespaces() {
		put(d.w.Namespaces, n.GetName(), &identity.Namespace{Name: n.GetName(), Labels: n.GetLabels()})
	}
	for _, n := range m.GetNodes() {
		put(d.w.Nodes, n.GetName(), nodeOf(n))
	}
	for _, s := range m.GetServices() {
		svc := serviceOf(s)
		put(d.w.Services, svc.Key(), svc)
	}
	for _, p := range m.GetPods() {
		pod := podOf(p)
		key := pod.Key()
		if !put(d.w.Pods, key, pod) {
			continue
		}
		ep := ruleset.EndpointID(p.GetEndpoint())
		if old := d.ids[key]; old != 0 && old != ep {
			d.retire(old)
		}
		delete(d.ids, key)
		if ep != 0 {
			d.ids[key], d.endpoints[ep] = ep, pod
		}
	}
}

func (d *WorldDecoder) forget(key string) {
	kind, name, _ := strings.Cut(key, " ")
	switch kind {
	case "pod":
		delete(d.w.Pods, name)
		if ep := d.ids[name]; ep != 0 {
			delete(d.ids, name)
			d.retire(ep)
		}
	case "service":
		delete(d.w.Services, name)
	case "namespace":
		delete(d.w.Namespaces, name)
	case "node":
		delete(d.w.Nodes, name)
	}
}

// retire keeps the name of a pod that is gone for a while: its last flows are
// still to come.
func (d *WorldDecoder) retire(ep ruleset.EndpointID) {
	d.gone = append(d.gone, ep)
	if len(d.gone) > maxGonePods {
		delete(d.endpoints, d.gone[0])
		d.gone = d.gone[1:]
	}
}

// put adds an object unless the map is full.
func put[T any](m map[string]*T, key string, v *T) bool {
	if _, ok := m[key]; !ok && len(m) >= maxObjects {
		return false
	}
	m[key] = v
	return true
}

// World is the state so far. It must not be changed.
func (d *WorldDecoder) World() *identity.World {
	d.shared = true
	w := d.w
	return &w
}

// Endpoint is the endpoint that a pod (namespace/name) is; 0: none.
func (d *WorldDecoder) Endpoint(pod string) ruleset.EndpointID { return d.ids[pod] }

// Pod is who an endpoint is, or was; nil if not known.
func (d *WorldDecoder) Pod(id ruleset.EndpointID) *identity.Pod { return d.endpoints[id] }

func nodeOf(n *Node) *identity.Node {
	out := &identity.Node{Name: n.GetName(), Labels: n.GetLabels(), IPs: Addrs(n.GetIps()), Ready: n.GetReady(), Cordoned: n.GetCordoned()}
	for _, c := range n.GetPodCidrs() {
		if p, ok := prefixOf(c); ok {
			out.PodCIDRs = append(out.PodCIDRs, p)
		}
	}
	return out
}

func podOf(p *Pod) *identity.Pod {
	out := &identity.Pod{
		Namespace: p.GetNamespace(), Name: p.GetName(), UID: p.GetUid(), Labels: p.GetLabels(), Node: p.GetNode(), IPs: Addrs(p.GetIps()),
		HostNetwork: p.GetHostNetwork(), Done: p.GetDone(), Workload: p.GetWorkload(), Ready: p.GetReady(),
	}
	if p.GetCreatedNs() != 0 {
		out.Created = time.Unix(0, p.GetCreatedNs())
	}
	if p.GetReadyNs() != 0 {
		out.ReadySince = time.Unix(0, p.GetReadyNs())
	}
	for _, c := range p.GetContainers()[:min(len(p.GetContainers()), maxContainers)] {
		if out.Containers == nil {
			out.Containers = make(map[string]string, len(p.GetContainers()))
		}
		out.Containers[c.GetId()] = c.GetName()
	}
	for _, n := range p.GetPorts() {
		if n.GetProtocol() <= math.MaxUint8 && n.GetNumber() <= math.MaxUint16 {
			out.Ports = append(out.Ports, identity.NamedPort{Name: n.GetName(), Protocol: flow.Protocol(n.GetProtocol()), Number: uint16(n.GetNumber())}) //nolint:gosec // checked above
		}
	}
	return out
}

func serviceOf(s *KubeService) *identity.Service {
	out := &identity.Service{
		Namespace: s.GetNamespace(), Name: s.GetName(), Type: s.GetType(), IPs: Addrs(s.GetIps()), ExternalIPs: Addrs(s.GetExternalIps()),
		ExternalLocal: s.GetExternalLocal(), InternalLocal: s.GetInternalLocal(), ClientAffinity: s.GetClientAffinity(),
	}
	for _, p := range s.GetPorts() {
		if p.GetProtocol() > math.MaxUint8 || p.GetPort() > math.MaxUint16 || p.GetNodePort() > math.MaxUint16 {
			continue
		}
		sp := identity.ServicePort{Name: p.GetName(), Protocol: flow.Protocol(p.GetProtocol()), Port: uint16(p.GetPort()), NodePort: uint16(p.GetNodePort())} //nolint:gosec // checked above
		for _, b := range p.GetBackends() {
			if ip, ok := Addr(b.GetIp()); ok && b.GetPort() <= math.MaxUint16 {
				sp.Backends = append(sp.Backends, identity.Backend{IP: ip, Port: uint16(b.GetPort()), Node: b.GetNode(), Ready: b.GetReady()}) //nolint:gosec // checked above
			}
		}
		out.Ports = append(out.Ports, sp)
	}
	return out
}
