// SPDX-License-Identifier: Apache-2.0

package gen

import (
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// Shop is one small cluster that is always the same: web, cart, db and a job
// that is done, in namespace shop on two nodes, and a service for db.
func Shop() *identity.World {
	labels := func(app string) map[string]string { return map[string]string{"app": app} }
	pod := func(name, node, ip string) *identity.Pod {
		return &identity.Pod{
			Namespace: "shop", Name: name, Labels: labels(name), Node: node, Ready: true, Workload: "deploy/" + name,
			IPs: []netip.Addr{netip.MustParseAddr(ip)},
		}
	}
	web, cart, db := pod("web", "n1", "10.0.1.1"), pod("cart", "n1", "10.0.1.2"), pod("db", "n2", "10.0.1.3")
	db.Ports = []identity.NamedPort{{Name: "pg", Protocol: flow.TCP, Number: 5432}}
	done := &identity.Pod{Namespace: "shop", Name: "done", Node: "n2", Done: true}
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{"shop": {Name: "shop", Labels: map[string]string{"kubernetes.io/metadata.name": "shop"}}},
		Pods:       map[string]*identity.Pod{},
		Services: map[string]*identity.Service{"shop/db": {
			Namespace: "shop", Name: "db", Type: "ClusterIP", IPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
			Ports: []identity.ServicePort{{Protocol: flow.TCP, Port: 5432, Backends: []identity.Backend{{IP: db.IPs[0], Port: 5432, Node: "n2", Ready: true}}}},
		}},
		Nodes: map[string]*identity.Node{
			"n1": {Name: "n1", Ready: true, IPs: []netip.Addr{netip.MustParseAddr("192.168.0.1")}},
			"n2": {Name: "n2", Ready: true, IPs: []netip.Addr{netip.MustParseAddr("192.168.0.2")}},
		},
	}
	for _, p := range []*identity.Pod{web, cart, db, done} {
		w.Pods[p.Key()] = p
	}
	return w
}
