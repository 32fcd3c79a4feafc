// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// addresses gives pods that have none one of each family that the files
// speak of, in the order of their names. It returns to how many.
func (o *offline) addresses() int {
	return standIns(o.t.pods, o.t.nodes)
}

// StandIns is the world with its pods that have no IP yet given some that no
// network has, as [ReadWorld] does. Their verdicts are those of their labels;
// what would depend on an address is contested.
func StandIns(w *identity.World) *identity.World {
	out := *w
	out.Pods = maps.Clone(w.Pods)
	for k, p := range out.Pods {
		if len(p.IPs) == 0 && !p.Done {
			pod := *p
			out.Pods[k] = &pod
		}
	}
	standIns(out.Pods, out.Nodes)
	return &out
}

func standIns(pods map[string]*identity.Pod, nodes map[string]*identity.Node) int {
	is6 := func(ips []netip.Addr) bool { return slices.ContainsFunc(ips, netip.Addr.Is6) }
	var waiting []string
	two := false
	for k, p := range pods {
		two = two || is6(p.IPs)
		if len(p.IPs) == 0 && !p.Done {
			waiting = append(waiting, k)
		}
	}
	for _, n := range nodes {
		two = two || is6(n.IPs)
	}
	next := []netip.Addr{netip.MustParseAddr("240.0.0.0")}
	if two {
		next = append(next, netip.MustParseAddr("2001:2::"))
	}
	slices.Sort(waiting)
	count := 0
	for _, k := range waiting {
		p := pods[k]
		if p.HostNetwork {
			if n := nodes[p.Node]; n != nil {
				p.IPs = n.IPs
			}
			continue
		}
		count++
		p.NoIP = true
		for i := range next {
			next[i] = next[i].Next()
			p.IPs = append(p.IPs, next[i])
		}
	}
	return count
}

// endpoints are what the cluster's controller would make of a service and the
// pods of its namespace that its selector chooses.
func (o *offline) endpoints(s *corev1.Service, pods []*identity.Pod) map[string]*discoveryv1.EndpointSlice {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	out := map[string]*discoveryv1.EndpointSlice{}
	for _, pod := range pods {
		if !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		slice := &discoveryv1.EndpointSlice{}
		slice.Name = pod.Name
		for i := range s.Spec.Ports {
			port := &s.Spec.Ports[i]
			if n := targetPort(port, o.raw[pod.Key()]); n != 0 {
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &n, Protocol: &port.Protocol})
			}
		}
		slice.Endpoints = []discoveryv1.Endpoint{endpointOf(pod)}
		out[slice.Name] = slice
	}
	return out
}

func endpointOf(p *identity.Pod) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{NodeName: &p.Node}
	for _, ip := range p.IPs {
		e.Addresses = append(e.Addresses, ip.String())
	}
	return e
}

// targetPort resolves a service's port on a pod; 0: the pod doesn't have it.
func targetPort(port *corev1.ServicePort, pod *corev1.Pod) int32 {
	if port.TargetPort.Type == intstr.Int {
		if port.TargetPort.IntVal != 0 {
			return port.TargetPort.IntVal
		}
		return port.Port
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == port.TargetPort.StrVal && protocolOf(p.Protocol) == protocolOf(port.Protocol) {
				return p.ContainerPort
			}
		}
	}
	return 0
}
