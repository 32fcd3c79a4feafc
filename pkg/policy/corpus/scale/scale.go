// SPDX-License-Identifier: Apache-2.0

// Package scale makes a cluster of the published shape of a real one: 5,413
// pods in 604 namespaces under 13,678 policies, of which 3,559 select nothing
// and 495 only deny; on average 13 local pods, one block, one port and one
// selector a policy; peers and local pods with long tails.
package scale

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Shape says how large.
type Shape struct {
	Namespaces, Pods, Policies int
	Empty, DenyOnly            int // of the policies
	PodsPerNode                int
}

// Real is the published shape.
var Real = Shape{Namespaces: 604, Pods: 5413, Policies: 13678, Empty: 3559, DenyOnly: 495, PodsPerNode: 250}

// Make makes the cluster; equal seeds make equal ones.
func Make(s Shape, seed uint64) (*identity.World, []*policy.Policy) {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a generator of test data
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{}, Pods: map[string]*identity.Pod{},
		Services: map[string]*identity.Service{}, Nodes: map[string]*identity.Node{},
	}
	for i := range s.Namespaces {
		name := fmt.Sprintf("ns%d", i)
		w.Namespaces[name] = &identity.Namespace{Name: name, Labels: map[string]string{
			"kubernetes.io/metadata.name": name, "team": fmt.Sprintf("team%d", i%40),
		}}
	}
	nodes := (s.Pods + s.PodsPerNode - 1) / s.PodsPerNode
	for i := range nodes {
		name := fmt.Sprintf("node%d", i)
		w.Nodes[name] = &identity.Node{Name: name, Ready: true, IPs: []netip.Addr{addr(192, 168, i)}}
	}
	for i := range s.Pods {
		// Some namespaces are much larger than others.
		ns := int(r.ExpFloat64() * float64(s.Namespaces) / 4)
		app := fmt.Sprintf("app%d", r.IntN(6))
		p := &identity.Pod{
			Namespace: fmt.Sprintf("ns%d", ns%s.Namespaces), Name: fmt.Sprintf("%s-%d", app, i), Node: fmt.Sprintf("node%d", r.IntN(nodes)), Ready: true,
			Labels: map[string]string{"app": app, "tier": fmt.Sprintf("t%d", r.IntN(3)), "pod-template-hash": fmt.Sprint(r.IntN(1000))},
			IPs:    []netip.Addr{addr(10, 128, i)}, Ports: []identity.NamedPort{{Name: "http", Protocol: flow.TCP, Number: 8080}},
		}
		w.Pods[p.Key()] = p
		if key := p.Namespace + "/" + app; w.Services[key] == nil {
			w.Services[key] = &identity.Service{
				Namespace: p.Namespace, Name: app, IPs: []netip.Addr{addr(172, 30, len(w.Services))},
				Ports: []identity.ServicePort{{Protocol: flow.TCP, Port: 80}},
			}
		}
		port := &w.Services[p.Namespace+"/"+app].Ports[0]
		port.Backends = append(port.Backends, identity.Backend{IP: p.IPs[0], Port: 8080, Node: p.Node, Ready: true})
	}
	var policies []*policy.Policy
	for i := range s.Policies {
		policies = append(policies, makePolicy(s, r, i))
	}
	return w, policies
}

func addr(a, b byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{a, b + byte(i>>16), byte(i >> 8), byte(i)})
}

func equal(kv ...string) policy.Selector {
	l := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		l[kv[i]] = kv[i+1]
	}
	return policy.Equal(l)
}

func makePolicy(s Shape, r *rand.Rand, i int) *policy.Policy {
	ns := fmt.Sprintf("ns%d", r.IntN(s.Namespaces))
	p := &policy.Policy{Kind: flow.NetworkPolicy, Tier: policy.Network, Namespace: ns, Name: fmt.Sprintf("np%d", i), IsolatesIngress: true}
	p.Subject = policy.Subject{Namespace: ns, Pods: equal("app", fmt.Sprintf("app%d", r.IntN(6)))}
	switch {
	case i < s.Empty:
		p.Subject.Pods = equal("app", "gone")
	case r.IntN(3) == 0:
		p.Subject.Pods = policy.Everything()
	}
	if i >= s.Empty && i < s.Empty+s.DenyOnly {
		return p
	}
	rule := policy.Rule{Action: policy.Accept}
	for range 1 + r.IntN(2) {
		peer := policy.Peer{Kind: policy.PodPeer, Pods: equal("app", fmt.Sprintf("app%d", r.IntN(6)))}
		switch n := r.IntN(1000); { // the median policy has 2 peer pods, the largest 3,578
		case n < 2:
			peer.Namespaces, peer.Pods = policy.Everything(), equal("tier", fmt.Sprintf("t%d", r.IntN(3)))
		case n < 20:
			peer.Namespaces = equal("team", fmt.Sprintf("team%d", r.IntN(40)))
		case n < 100:
			peer.Namespaces, peer.Pods = equal("kubernetes.io/metadata.name", fmt.Sprintf("ns%d", r.IntN(s.Namespaces))), policy.Everything()
		default:
			peer.Namespace = ns
		}
		rule.Peers = append(rule.Peers, peer)
	}
	if r.IntN(2) == 0 {
		rule.Peers = append(rule.Peers, policy.Peer{Kind: policy.CIDRPeer, CIDR: netip.PrefixFrom(addr(20, 0, r.IntN(1<<16)), 16+r.IntN(17)).Masked()})
	}
	number := uint16(1 + r.IntN(9000))
	rule.Ports = []policy.Port{{Protocol: flow.TCP, From: number, To: number}}
	if r.IntN(300) == 0 {
		rule.Ports[0].To = number + uint16(r.IntN(5000))
	}
	p.Ingress = []policy.Rule{rule}
	if r.IntN(4) == 0 {
		p.IsolatesEgress = true
		p.Egress = []policy.Rule{rule, {Index: 1, Action: policy.Accept, AnyPeer: true, Ports: []policy.Port{{Protocol: flow.UDP, From: 53, To: 53}}}}
	}
	return p
}
