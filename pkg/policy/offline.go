// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/objects"
)

// placeholders are the addresses that pods without one get, so that they can
// be asked about by name: a range that no network has.
var placeholders = netip.MustParsePrefix("240.0.0.0/4")

// IsPlaceholder says whether an address only stands for one that isn't known
// yet. Blocks don't cover it, other than those that cover everything.
func IsPlaceholder(ip netip.Addr) bool { return placeholders.Contains(ip) }

// World makes a world of the objects. A workload of which no pod was given
// has one pod that stands for all, of the workload's name. Pods without an
// address get one that no network has ([IsPlaceholder]). Services without
// endpoint slices get the backends that their selector gives them.
func (o *Objects) World() *identity.World {
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{}, Pods: map[string]*identity.Pod{},
		Services: map[string]*identity.Service{}, Nodes: map[string]*identity.Node{},
	}
	for _, n := range o.namespaces {
		w.Namespaces[n.Name] = n
	}
	for _, n := range o.nodes {
		w.Nodes[n.Name] = n
	}
	workloads := map[string]bool{}
	for _, p := range o.pods {
		w.Pods[p.pod.Key()] = p.pod
		workloads[p.pod.Namespace+"/"+p.pod.Workload] = true
	}
	for _, t := range o.templates {
		if !workloads[t.pod.Namespace+"/"+t.pod.Workload] && w.Pods[t.pod.Key()] == nil {
			w.Pods[t.pod.Key()] = t.pod
		}
	}
	addNamespaces(w, o.Policies)
	addAddresses(w)
	for _, s := range o.services {
		built := objects.Service(s, o.slicesOf(s))
		if o.selects(s) {
			o.selectBackends(w, s, built)
		}
		w.Services[built.Key()] = built
	}
	return w
}

// addNamespaces adds those that objects are in but no file holds.
func addNamespaces(w *identity.World, policies []*Policy) {
	add := func(name string) {
		if name != "" && w.Namespaces[name] == nil {
			w.Namespaces[name] = objects.Namespace(&metav1.ObjectMeta{Name: name})
		}
	}
	for _, p := range w.Pods {
		add(p.Namespace)
	}
	for _, p := range policies {
		add(p.Namespace)
	}
}

func addAddresses(w *identity.World) {
	next := placeholders.Addr().Next()
	for _, p := range w.SelectPods(func(p *identity.Pod) bool { return len(p.IPs) == 0 && !p.Done }) {
		if p.HostNetwork {
			if n := w.Nodes[p.Node]; n != nil {
				p.IPs = n.IPs
			}
			continue
		}
		p.IPs = []netip.Addr{next}
		next = next.Next()
	}
}

// slicesOf are the service's endpoint slices, or its Endpoints in their form.
func (o *Objects) slicesOf(s *corev1.Service) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for _, slice := range o.slices {
		if slice.Namespace == s.Namespace && slice.Labels[discoveryv1.LabelServiceName] == s.Name {
			out = append(out, slice)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, e := range o.endpoints {
		if e.Namespace != s.Namespace || e.Name != s.Name {
			continue
		}
		for _, subset := range e.Subsets {
			slice := &discoveryv1.EndpointSlice{}
			for _, p := range subset.Ports {
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Protocol: new(p.Protocol), Port: new(p.Port)})
			}
			for _, a := range subset.Addresses {
				slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.IP}, NodeName: a.NodeName})
			}
			out = append(out, slice)
		}
	}
	return out
}

// selects says whether the service's backends are to be found by its selector.
func (o *Objects) selects(s *corev1.Service) bool {
	return len(s.Spec.Selector) > 0 && len(o.slicesOf(s)) == 0
}

func (o *Objects) selectBackends(w *identity.World, s *corev1.Service, out *identity.Service) {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	pods := w.SelectPods(func(p *identity.Pod) bool {
		return p.Namespace == s.Namespace && !p.Done && selector.Matches(labels.Set(p.Labels))
	})
	for i, port := range s.Spec.Ports {
		for _, p := range pods {
			number, ok := targetPort(&port, p)
			if !ok {
				continue
			}
			for _, ip := range p.IPs {
				out.Ports[i].Backends = append(out.Ports[i].Backends, identity.Backend{IP: ip, Port: number, Node: p.Node, Ready: p.Ready})
			}
		}
		slices.SortFunc(out.Ports[i].Backends, func(a, b identity.Backend) int { return cmp.Or(a.IP.Compare(b.IP), cmp.Compare(a.Port, b.Port)) })
	}
}

// targetPort is where a service sends a pod's share: a number, the port of
// that name on the pod, or the service's own.
func targetPort(port *corev1.ServicePort, pod *identity.Pod) (uint16, bool) {
	number := port.TargetPort.IntVal
	if port.TargetPort.Type == intstr.String && port.TargetPort.StrVal != "" {
		protocol := objects.Protocol(port.Protocol)
		i := slices.IndexFunc(pod.Ports, func(p identity.NamedPort) bool { return p.Name == port.TargetPort.StrVal && p.Protocol == protocol })
		if i < 0 {
			return 0, false
		}
		return pod.Ports[i].Number, true
	}
	if number == 0 {
		number = port.Port
	}
	if number < 1 || number > 65535 {
		return 0, false
	}
	return uint16(number), true
}
