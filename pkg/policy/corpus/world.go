// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// worldFile is a world in short.
type worldFile struct {
	Namespaces map[string]map[string]string `json:"namespaces"` // labels by name; every namespace also has its name as a label
	Nodes      map[string]struct {
		Labels map[string]string `json:"labels"`
		IPs    []netip.Addr      `json:"ips"`
	} `json:"nodes"`
	Pods map[string]struct { // by namespace/name
		Labels      map[string]string `json:"labels"`
		IPs         []netip.Addr      `json:"ips"`
		Node        string            `json:"node"`
		Ports       []string          `json:"ports"` // "web TCP 80"
		HostNetwork bool              `json:"hostNetwork"`
		Done        bool              `json:"done"`
	} `json:"pods"`
	Services map[string]struct { // by namespace/name
		IPs           []netip.Addr `json:"ips"`
		ExternalIPs   []netip.Addr `json:"externalIPs"`
		ExternalLocal bool         `json:"externalLocal"`
		InternalLocal bool         `json:"internalLocal"`
		Protocol      string       `json:"protocol"`
		Port          uint16       `json:"port"`
		NodePort      uint16       `json:"nodePort"`
		Target        uint16       `json:"target"`
		Backends      []string     `json:"backends"` // pods, or addresses
	} `json:"services"`
}

func readWorld(data []byte) (*identity.World, error) {
	var in worldFile
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return nil, err
	}
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{}, Pods: map[string]*identity.Pod{},
		Services: map[string]*identity.Service{}, Nodes: map[string]*identity.Node{},
	}
	for name, labels := range in.Namespaces {
		l := map[string]string{"kubernetes.io/metadata.name": name}
		for k, v := range labels {
			l[k] = v
		}
		w.Namespaces[name] = &identity.Namespace{Name: name, Labels: l}
	}
	for name, n := range in.Nodes {
		w.Nodes[name] = &identity.Node{Name: name, Labels: n.Labels, IPs: n.IPs, Ready: true}
	}
	for key, p := range in.Pods {
		namespace, name, _ := strings.Cut(key, "/")
		pod := &identity.Pod{Namespace: namespace, Name: name, Labels: p.Labels, Node: p.Node, IPs: p.IPs, HostNetwork: p.HostNetwork, Done: p.Done, Ready: true}
		for _, text := range p.Ports {
			var port identity.NamedPort
			var protocol string
			if _, err := fmt.Sscan(text, &port.Name, &protocol, &port.Number); err != nil {
				return nil, fmt.Errorf("pod %q: port %q: %w", key, text, err)
			}
			var err error
			if port.Protocol, err = flow.ParseProtocol(protocol); err != nil {
				return nil, err
			}
			pod.Ports = append(pod.Ports, port)
		}
		w.Pods[key] = pod
	}
	for key, s := range in.Services {
		namespace, name, _ := strings.Cut(key, "/")
		protocol, err := flow.ParseProtocol(s.Protocol)
		if err != nil {
			return nil, fmt.Errorf("service %q: %w", key, err)
		}
		port := identity.ServicePort{Protocol: protocol, Port: s.Port, NodePort: s.NodePort}
		for _, b := range s.Backends {
			if ip, err := netip.ParseAddr(b); err == nil {
				port.Backends = append(port.Backends, identity.Backend{IP: ip, Port: s.Target, Ready: true})
				continue
			}
			pod := w.Pods[b]
			if pod == nil {
				return nil, fmt.Errorf("service %q: no pod %q", key, b)
			}
			for _, ip := range pod.IPs {
				port.Backends = append(port.Backends, identity.Backend{IP: ip, Port: s.Target, Node: pod.Node, Ready: true})
			}
		}
		w.Services[key] = &identity.Service{
			Namespace: namespace, Name: name, IPs: s.IPs, ExternalIPs: s.ExternalIPs, ExternalLocal: s.ExternalLocal, InternalLocal: s.InternalLocal,
			Ports: []identity.ServicePort{port},
		}
	}
	return w, nil
}

// expand makes one packet for each family that both ends have.
func expand(w *identity.World, p Packet, from, to string) ([]Packet, error) {
	src, srcHost, err := lookUp(w, from)
	if err != nil {
		return nil, err
	}
	dst, dstHost, err := lookUp(w, to)
	if err != nil {
		return nil, err
	}
	p.SourcePod, p.DestinationPod = srcHost, dstHost
	var out []Packet
	for _, v4 := range []bool{true, false} {
		family := func(ip netip.Addr) bool { return ip.Is4() == v4 }
		i, j := slices.IndexFunc(src, family), slices.IndexFunc(dst, family)
		if i < 0 || j < 0 {
			continue
		}
		one := p
		one.Source, one.Destination = src[i], dst[j]
		one.Line += " [" + src[i].String() + " -> " + dst[j].String() + "]"
		if one.Protocol == flow.ICMP && !v4 {
			one.Protocol = flow.ICMPv6
		}
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q and %q have no family in common", from, to)
	}
	return out, nil
}

// lookUp finds the addresses of "x/a", "svc/x/s", "node/n1", or an IP. Pods on
// the host network are also named.
func lookUp(w *identity.World, name string) (ips []netip.Addr, host string, err error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{ip}, "", nil
	}
	if key, ok := strings.CutPrefix(name, "svc/"); ok && w.Services[key] != nil {
		return w.Services[key].IPs, "", nil
	}
	if key, ok := strings.CutPrefix(name, "node/"); ok && w.Nodes[key] != nil {
		return w.Nodes[key].IPs, "", nil
	}
	pod := w.Pods[name]
	switch {
	case pod == nil:
		return nil, "", fmt.Errorf("nobody is called %q", name)
	case pod.HostNetwork:
		return w.Nodes[pod.Node].IPs, name, nil
	}
	return pod.IPs, "", nil
}
