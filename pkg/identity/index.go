// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Index answers by address what a [World] answers by name. It is immutable and
// speaks of one moment; [Ledger] speaks of the past.
type Index struct {
	pods     map[netip.Addr]*Pod
	services map[netip.Addr]*Service
	nodes    map[netip.Addr]*Node
}

// NewIndex builds the index of w. Completed pods have lost their addresses. An
// address that two pods claim belongs to nobody: the API is behind, and a
// guess would name the former owner.
func NewIndex(w *World) *Index {
	x := &Index{pods: map[netip.Addr]*Pod{}, services: map[netip.Addr]*Service{}, nodes: map[netip.Addr]*Node{}}
	claimed := map[netip.Addr]bool{}
	for _, p := range w.Pods {
		if p.HostNetwork || p.Done {
			continue
		}
		for _, ip := range p.IPs {
			if claimed[ip] {
				delete(x.pods, ip)
				continue
			}
			claimed[ip] = true
			x.pods[ip] = p
		}
	}
	for _, s := range w.Services {
		for _, ip := range slices.Concat(s.IPs, s.ExternalIPs) {
			x.services[ip] = s
		}
	}
	for _, n := range w.Nodes {
		for _, ip := range n.IPs {
			x.nodes[ip] = n
		}
	}
	return x
}

// Pod is the pod whose own address ip is; nil if none is known. Pods on the
// host network have no address of their own: ask Node.
func (x *Index) Pod(ip netip.Addr) *Pod { return x.pods[ip] }

// Service is the service that has ip as cluster IP, external or load balancer
// address; nil if none is known.
func (x *Index) Service(ip netip.Addr) *Service { return x.services[ip] }

// Node is the node with the host address ip; nil if none is known.
func (x *Index) Node(ip netip.Addr) *Node { return x.nodes[ip] }

// Port finds a service's port by protocol and number; nil if it has none such.
func (s *Service) Port(proto flow.Protocol, port uint16) *ServicePort {
	for i := range s.Ports {
		if s.Ports[i].Protocol == proto && s.Ports[i].Port == port {
			return &s.Ports[i]
		}
	}
	return nil
}

// PodsOf are the pods of a workload such as "deploy/web" in a namespace, by
// name. "pod/x" is the pod x itself, whatever owns it.
func (w *World) PodsOf(namespace, workload string) []*Pod {
	if name, ok := strings.CutPrefix(workload, "pod/"); ok {
		if p := w.Pods[namespace+"/"+name]; p != nil {
			return []*Pod{p}
		}
		return nil
	}
	return w.SelectPods(func(p *Pod) bool { return p.Namespace == namespace && p.Workload == workload })
}

// SelectPods are the pods that match says yes to, sorted by namespace and name.
func (w *World) SelectPods(match func(*Pod) bool) []*Pod {
	var out []*Pod
	for _, p := range w.Pods {
		if match(p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *Pod) int { return strings.Compare(a.Key(), b.Key()) })
	return out
}

// Visible says whether the user may see what is in the namespace.
func (w *World) Visible(namespace string) bool {
	return len(w.Scope) == 0 || slices.Contains(w.Scope, namespace)
}
