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
	next := []netip.Addr{netip.MustParseAddr("240.0.0.0")}
	for _, n := range o.t.nodes {
		for _, ip := range n.IPs {
			if ip.Is6() && len(next) == 1 {
				next = append(next, netip.MustParseAddr("2001:2::"))
			}
		}
	}
	count := 0
	for _, k := range slices.Sorted(maps.Keys(o.t.pods)) {
		p := o.t.pods[k]
		if len(p.IPs) > 0 || p.Done {
			continue
		}
		if p.HostNetwork {
			if n := o.t.nodes[p.Node]; n != nil {
				p.IPs = n.IPs
			}
			continue
		}
		count++
		for i := range next {
			next[i] = next[i].Next()
			p.IPs = append(p.IPs, next[i])
		}
	}
	return count
}

// endpoints are what the cluster's controller would make of a service and the
// pods that its selector chooses.
func (o *offline) endpoints(s *corev1.Service, raw map[string]*corev1.Pod) map[string]*discoveryv1.EndpointSlice {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	out := map[string]*discoveryv1.EndpointSlice{}
	for k, pod := range o.t.pods {
		if pod.Namespace != s.Namespace || pod.Done || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		slice := &discoveryv1.EndpointSlice{}
		slice.Name = pod.Name
		for i := range s.Spec.Ports {
			port := &s.Spec.Ports[i]
			if n := targetPort(port, raw[k]); n != 0 {
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
