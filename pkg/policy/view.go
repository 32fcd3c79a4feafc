// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// View answers by address what verdicts need to know of a world. It is
// immutable, and shared by the reference evaluator and the compiler: who has
// an address is not a matter of policy.
type View struct {
	World    *identity.World
	index    *identity.Index
	hostPods map[string][]*identity.Pod // by node: pods on the host network that run, by key
	services map[ServiceAddress]ServiceAt
	unseen   []netip.Prefix // [UnseenNetworks]
}

// ServiceAddress is an address, protocol and port that a service answers at.
type ServiceAddress struct {
	IP       netip.Addr
	Protocol flow.Protocol
	Port     uint16 // host order
}

// ServiceAt is what answers there.
type ServiceAt struct {
	Service *identity.Service
	Port    *identity.ServicePort
	Cluster bool // a cluster IP; else an external address or a node port
}

// NewView indexes w, which must not change afterwards.
func NewView(w *identity.World) *View {
	v := &View{World: w, index: identity.NewIndex(w), hostPods: map[string][]*identity.Pod{}, services: map[ServiceAddress]ServiceAt{}}
	for _, p := range w.Pods {
		if p.HostNetwork && !p.Done && p.Node != "" {
			v.hostPods[p.Node] = append(v.hostPods[p.Node], p)
		}
	}
	for _, pods := range v.hostPods {
		slices.SortFunc(pods, func(a, b *identity.Pod) int { return cmp.Compare(a.Key(), b.Key()) })
	}
	v.unseen = UnseenNetworks(w)
	keys := make([]string, 0, len(w.Services))
	for k := range w.Services {
		keys = append(keys, k)
	}
	slices.Sort(keys) // if two services claim an address, the first by name has it, every time
	for _, k := range keys {
		v.addService(w.Services[k])
	}
	return v
}

func (v *View) addService(s *identity.Service) {
	for i := range s.Ports {
		port := &s.Ports[i]
		add := func(ip netip.Addr, number uint16, cluster bool) {
			key := ServiceAddress{ip, port.Protocol, number}
			if _, taken := v.services[key]; !taken && number != 0 && ip.IsValid() {
				v.services[key] = ServiceAt{s, port, cluster}
			}
		}
		for _, ip := range s.IPs {
			add(ip, port.Port, true)
		}
		for _, ip := range s.ExternalIPs {
			add(ip, port.Port, false)
		}
		if port.NodePort == 0 {
			continue
		}
		for _, n := range v.World.Nodes {
			for _, ip := range n.IPs {
				add(ip, port.NodePort, false)
			}
		}
	}
}

// Pod is the pod whose own address ip is; nil if none is known.
func (v *View) Pod(ip netip.Addr) *identity.Pod { return v.index.Pod(ip) }

// Node is the node whose address ip is, unless it is a pod's; nil if none is known.
func (v *View) Node(ip netip.Addr) *identity.Node {
	if v.index.Pod(ip) != nil {
		return nil
	}
	return v.index.Node(ip)
}

// HostPods are the pods on the host network of a node, by key.
func (v *View) HostPods(node string) []*identity.Pod { return v.hostPods[node] }

// Services are all addresses that services answer at.
func (v *View) Services() map[ServiceAddress]ServiceAt { return v.services }

// Backends are where kube-proxy on the given node sends a connection: the
// ready ones of the address's family, or all if none is ready; on that node
// only under internalTrafficPolicy Local. None: the service refuses.
func (s ServiceAt) Backends(family netip.Addr, node string) []identity.Backend {
	return s.backends(family, node, s.Cluster && s.Service.InternalLocal)
}

func (s ServiceAt) backends(family netip.Addr, node string, local bool) []identity.Backend {
	var ready, all []identity.Backend
	for _, b := range s.Port.Backends {
		if b.IP.Is4() != family.Is4() || local && b.Node != node {
			continue
		}
		all = append(all, b)
		if b.Ready {
			ready = append(ready, b)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return all
}

// Service is what answers at the address, if its service has backends for
// connections from the given node. A pod's own address is never a service's.
func (v *View) Service(at ServiceAddress, node string) (ServiceAt, []identity.Backend, bool) {
	s, ok := v.services[at]
	if !ok || v.index.Pod(at.IP) != nil {
		return ServiceAt{}, nil, false
	}
	backends := s.Backends(at.IP, node)
	return s, backends, len(backends) > 0
}

// Selects says whether the subject is for the pod. Pods on the host network
// are not covered; that is asked where it matters (case 25).
func (v *View) Selects(s *Subject, pod *identity.Pod) bool {
	if s.None || !s.Pods.Matches(pod.Labels) {
		return false
	}
	return v.inNamespace(s.Namespace, s.Namespaces, pod)
}

// SelectsPeer says the same for a peer of kind PodPeer.
func (v *View) SelectsPeer(p *Peer, pod *identity.Pod) bool {
	return p.Pods.Matches(pod.Labels) && v.inNamespace(p.Namespace, p.Namespaces, pod)
}

func (v *View) inNamespace(name string, selector Selector, pod *identity.Pod) bool {
	if name != "" {
		return pod.Namespace == name
	}
	return selector.Matches(v.NamespaceLabels(pod.Namespace))
}

// NamespaceLabels are the labels of a namespace. One that isn't known has the
// one label that every namespace has (case 33).
func (v *View) NamespaceLabels(name string) map[string]string {
	if ns := v.World.Namespaces[name]; ns != nil {
		return ns.Labels
	}
	return map[string]string{"kubernetes.io/metadata.name": name}
}

// Resolve gives the numbers that a named port stands for on a pod: of every
// container port of that name and protocol. Protocol 0: of any.
func Resolve(pod *identity.Pod, name string, protocol flow.Protocol) []identity.NamedPort {
	var out []identity.NamedPort
	for _, p := range pod.Ports {
		if p.Name == name && (protocol == 0 || p.Protocol == protocol) {
			out = append(out, p)
		}
	}
	return out
}

// Covers says whether ip is in the block and in none of its exceptions.
func (p *Peer) Covers(ip netip.Addr) bool {
	if !p.CIDR.Contains(ip) {
		return false
	}
	for _, except := range p.Except {
		if except.Contains(ip) {
			return false
		}
	}
	return true
}
