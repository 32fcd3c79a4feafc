// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"maps"
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// World is the cast as a cluster's API would show it.
func (c *Cast) World(started time.Time) *identity.World {
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{},
		Pods:       map[string]*identity.Pod{},
		Services:   map[string]*identity.Service{},
		Nodes: map[string]*identity.Node{NodeName: {
			Name: NodeName, IPs: []netip.Addr{nodeIP4, nodeIP6}, Ready: true,
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.77.1.0/24"), netip.MustParsePrefix("fd77:0:0:1::/64")},
			Labels:   map[string]string{"kubernetes.io/hostname": NodeName, "kubernetes.io/os": "linux"},
		}},
	}
	for name, labels := range c.Labels {
		l := maps.Clone(labels)
		l["kubernetes.io/metadata.name"] = name
		w.Namespaces[name] = &identity.Namespace{Name: name, Labels: l}
	}
	for _, a := range c.Actors {
		p := &identity.Pod{
			Namespace: a.Namespace, Name: a.Name, UID: "demo-" + a.Name, Labels: a.Labels, Node: NodeName,
			IPs: a.IPs, Workload: a.Workload, Ready: true, Created: started,
		}
		for _, port := range a.Ports {
			p.Ports = append(p.Ports, identity.NamedPort{Name: port.Name, Protocol: flow.TCP, Number: port.Number})
		}
		if a.DNS {
			p.Ports = append(p.Ports, identity.NamedPort{Name: "dns", Protocol: flow.UDP, Number: dnsPort})
		}
		w.Pods[p.Key()] = p
	}
	for _, s := range c.Services {
		p := identity.ServicePort{Name: s.PortName, Protocol: s.Protocol, Port: s.Port}
		for _, key := range s.Backends {
			for _, ip := range c.Actor(key).IPs {
				p.Backends = append(p.Backends, identity.Backend{IP: ip, Port: s.Target, Node: NodeName, Ready: true})
			}
		}
		w.Services[s.Namespace+"/"+s.Name] = &identity.Service{
			Namespace: s.Namespace, Name: s.Name, Type: "ClusterIP", IPs: s.IPs, Ports: []identity.ServicePort{p},
		}
		if s.Name == "kube-dns" {
			w.ClusterDNS = s.IPs
		}
	}
	return w
}
