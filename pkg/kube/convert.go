// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// podOf reduces a pod. owner finds the topmost owner's name.
func podOf(p *corev1.Pod, cronJobs func(namespace, job string) string) *identity.Pod {
	out := &identity.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Labels: p.Labels, Node: p.Spec.NodeName,
		HostNetwork: p.Spec.HostNetwork, Created: p.CreationTimestamp.Time,
		Done:     p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		Workload: workloadOf(p, cronJobs),
	}
	if !out.Done {
		for _, ip := range p.Status.PodIPs {
			if a, ok := address(ip.IP); ok {
				out.IPs = append(out.IPs, a)
			}
		}
		if a, ok := address(p.Status.PodIP); ok && len(out.IPs) == 0 {
			out.IPs = []netip.Addr{a}
		}
	}
	for i, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		// Of init containers only sidecars still run when the pod serves, and
		// only their port names count for the API server's own look-ups.
		if i < len(p.Spec.InitContainers) && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
			continue
		}
		for _, port := range c.Ports {
			if port.Name == "" || port.ContainerPort <= 0 || port.ContainerPort > 65535 {
				continue
			}
			out.Ports = append(out.Ports, identity.NamedPort{Name: port.Name, Protocol: protocolOf(port.Protocol), Number: uint16(port.ContainerPort)})
		}
	}
	for i := range p.Spec.Containers {
		addProbes(out, &p.Spec.Containers[i])
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Ready = c.Status == corev1.ConditionTrue
			if out.Ready {
				out.ReadySince = c.LastTransitionTime.Time
			}
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses) {
		if _, id, ok := strings.Cut(c.ContainerID, "://"); ok && id != "" {
			if out.Containers == nil {
				out.Containers = make(map[string]string)
			}
			out.Containers[id] = c.Name
		}
	}
	return out
}

// addProbes adds the ports that the kubelet asks for a container's health.
func addProbes(out *identity.Pod, c *corev1.Container) {
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if probe == nil {
			continue
		}
		var port intstr.IntOrString
		switch {
		case probe.HTTPGet != nil && probe.HTTPGet.Host == "":
			port = probe.HTTPGet.Port
		case probe.TCPSocket != nil && probe.TCPSocket.Host == "":
			port = probe.TCPSocket.Port
		case probe.GRPC != nil:
			port = intstr.FromInt32(probe.GRPC.Port)
		}
		number := port.IntVal
		for _, p := range c.Ports {
			if port.Type == intstr.String && p.Name == port.StrVal {
				number = p.ContainerPort
			}
		}
		if number <= 0 || number > 65535 {
			continue
		}
		if n := (identity.NamedPort{Name: port.StrVal, Protocol: flow.TCP, Number: uint16(number)}); !slices.Contains(out.Probes, n) {
			out.Probes = append(out.Probes, n)
		}
	}
}

// workloadOf is "deploy/web" and the like. The Deployment of a ReplicaSet is
// read off the name: the controller builds it from the Deployment's name and
// the hash that it also writes into a label. That saves a watch on ReplicaSets.
func workloadOf(p *corev1.Pod, cronJobs func(namespace, job string) string) string {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return "pod/" + p.Name
	}
	switch owner.Kind {
	case "ReplicaSet":
		for label, kind := range map[string]string{"pod-template-hash": "deploy/", "rollouts-pod-template-hash": "rollout/"} {
			if hash := p.Labels[label]; hash != "" {
				if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok {
					return kind + name
				}
			}
		}
		return "rs/" + owner.Name
	case "StatefulSet":
		return "sts/" + owner.Name
	case "DaemonSet":
		return "ds/" + owner.Name
	case "Job":
		if cronJobs != nil {
			if name := cronJobs(p.Namespace, owner.Name); name != "" {
				return "cronjob/" + name
			}
		}
		return "job/" + owner.Name
	case "ReplicationController":
		return "rc/" + owner.Name
	case "Node": // a static pod
		return "pod/" + p.Name
	}
	return strings.ToLower(owner.Kind) + "/" + owner.Name
}

func address(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}

func protocolOf(p corev1.Protocol) flow.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return flow.UDP
	case corev1.ProtocolSCTP:
		return flow.SCTP
	}
	return flow.TCP
}

func namespaceOf(n *metav1.ObjectMeta) *identity.Namespace {
	l := n.Labels
	if l[corev1.LabelMetadataName] != n.Name {
		l = maps.Clone(l)
		if l == nil {
			l = map[string]string{}
		}
		l[corev1.LabelMetadataName] = n.Name
	}
	return &identity.Namespace{Name: n.Name, Labels: l}
}

func nodeOf(n *corev1.Node) *identity.Node {
	out := &identity.Node{Name: n.Name, Labels: n.Labels, Cordoned: n.Spec.Unschedulable}
	for _, typ := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range n.Status.Addresses {
			if ip, ok := address(a.Address); ok && a.Type == typ && !slices.Contains(out.IPs, ip) {
				out.IPs = append(out.IPs, ip)
			}
		}
	}
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, c := range cidrs {
		if p, err := netip.ParsePrefix(c); err == nil {
			out.PodCIDRs = append(out.PodCIDRs, p.Masked())
		}
	}
	for _, ip := range insideAddresses(n, out.PodCIDRs) {
		if !slices.Contains(out.IPs, ip) {
			out.IPs = append(out.IPs, ip)
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return out
}

// tunnelAnnotations say at which addresses a node's host speaks to pods, for
// networks that take them out of ranges of their own.
var tunnelAnnotations = []string{
	"network.cilium.io/ipv4-cilium-host", "network.cilium.io/ipv6-cilium-host",
	"projectcalico.org/IPv4IPIPTunnelAddr", "projectcalico.org/IPv4VXLANTunnelAddr", "projectcalico.org/IPv6VXLANTunnelAddr",
}

// insideAddresses are those that the node's status doesn't list and its host
// has all the same. The kubelet's health checks come from there: taken for a
// stranger's, a default deny would cut what can't be blocked (SEMANTICS case
// 24). The first address of a pod range is its bridge's or gateway's; if a pod
// has it after all, the pod goes first.
func insideAddresses(n *corev1.Node, podCIDRs []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, p := range podCIDRs {
		if ip := p.Addr().Next(); ip.IsValid() && p.Contains(ip) {
			out = append(out, ip)
		}
	}
	for _, key := range tunnelAnnotations {
		if ip, ok := address(n.Annotations[key]); ok {
			out = append(out, ip)
		}
	}
	return out
}

// serviceOf joins a service with its endpoint slices.
func serviceOf(s *corev1.Service, slicesOf []*discoveryv1.EndpointSlice) *identity.Service {
	out := &identity.Service{
		Namespace: s.Namespace, Name: s.Name, Type: string(s.Spec.Type),
		ExternalLocal:  s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		InternalLocal:  s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ClientAffinity: s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP,
	}
	ips := s.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{s.Spec.ClusterIP}
	}
	for _, ip := range ips {
		if a, ok := address(ip); ok { // "None" is not
			out.IPs = append(out.IPs, a)
		}
	}
	for _, ip := range s.Spec.ExternalIPs {
		if a, ok := address(ip); ok {
			out.ExternalIPs = append(out.ExternalIPs, a)
		}
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, ok := address(in.IP); ok && !slices.Contains(out.ExternalIPs, a) {
			out.ExternalIPs = append(out.ExternalIPs, a)
		}
	}
	for _, p := range s.Spec.Ports {
		sp := identity.ServicePort{Name: p.Name, Protocol: protocolOf(p.Protocol), Port: uint16(p.Port), NodePort: uint16(p.NodePort)} //nolint:gosec // the API server allows 1..65535
		for _, slice := range slicesOf {
			sp.Backends = appendBackends(sp.Backends, slice, &p)
		}
		slices.SortFunc(sp.Backends, func(a, b identity.Backend) int { return a.IP.Compare(b.IP) })
		sp.Backends = slices.Compact(sp.Backends)
		out.Ports = append(out.Ports, sp)
	}
	return out
}

func appendBackends(list []identity.Backend, slice *discoveryv1.EndpointSlice, port *corev1.ServicePort) []identity.Backend {
	for _, ep := range slice.Ports {
		name := ""
		if ep.Name != nil {
			name = *ep.Name
		}
		protocol := flow.TCP
		if ep.Protocol != nil {
			protocol = protocolOf(*ep.Protocol)
		}
		if name != port.Name || protocol != protocolOf(port.Protocol) || ep.Port == nil {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			node := ""
			if e.NodeName != nil {
				node = *e.NodeName
			}
			// Absent means ready; serving endpoints that terminate are used only if none is ready.
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			serving := e.Conditions.Serving == nil || *e.Conditions.Serving
			if !ready && !serving {
				continue
			}
			for _, s := range e.Addresses {
				if a, ok := address(s); ok {
					list = append(list, identity.Backend{IP: a, Port: uint16(*ep.Port), Node: node, Ready: ready}) //nolint:gosec // the API server allows 1..65535
				}
			}
		}
	}
	return list
}
