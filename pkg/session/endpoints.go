// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// endpoints gives every pod's life with its addresses a number. A pod that
// gets another address, or another pod of the same name, gets a new one:
// numbers are never reused, so a late event never gets the wrong name.
//
// It holds what the last generation had, and changes what another world changes.
type endpoints struct {
	last    ruleset.EndpointID
	world   map[string]*identity.Pod // the pods of the last world
	nodes   []string                 // sorted
	watched map[string]*watched      // by key
	now     *assigned
}

// watched is a pod with a number.
type watched struct {
	pod  *identity.Pod
	life string
	id   ruleset.EndpointID
}

// assigned are the endpoints of one generation. What was handed on of it
// doesn't change, but for pods.
type assigned struct {
	byNode map[string][]*wire.Endpoint // in order of pods
	judged map[netip.Addr]ruleset.EndpointID
	pods   map[*identity.Pod]ruleset.EndpointID // of now
}

func (a *assigned) id(p *identity.Pod) ruleset.EndpointID { return a.pods[p] }

// assign numbers the pods that run on the nodes and that pick wants. It says
// what of it may be another number than before: nil: all of them.
func (e *endpoints) assign(d *identity.PodDiff, w *identity.World, nodes map[string]*node, pick func(*identity.Pod) bool) (*assigned, *identity.PodDiff) {
	names := slices.Sorted(maps.Keys(nodes))
	if e.now == nil || !slices.Equal(names, e.nodes) {
		known := e.watched // lives go on
		*e = endpoints{last: e.last, nodes: names, watched: map[string]*watched{}, now: &assigned{
			byNode: map[string][]*wire.Endpoint{}, judged: map[netip.Addr]ruleset.EndpointID{}, pods: map[*identity.Pod]ruleset.EndpointID{},
		}}
		e.follow(maps.Keys(w.Pods), w.Pods, nodes, pick, known)
		d = nil
	} else {
		if !d.Since(e.world) {
			d = identity.DiffPods(e.world, w.Pods)
		}
		e.follow(slices.Values(d.Keys), w.Pods, nodes, pick, nil)
	}
	e.world = w.Pods
	return e.now, d
}

// follow goes through the pods that changed.
func (e *endpoints) follow(changed iter.Seq[string], pods map[string]*identity.Pod, nodes map[string]*node, pick func(*identity.Pod) bool, known map[string]*watched) {
	touched, moved := map[string]bool{}, false // nodes; addresses
	var come []*identity.Pod
	drop := func(key string, was *watched) {
		delete(e.watched, key)
		delete(e.now.pods, was.pod)
		touched[was.pod.Node] = true
		moved = moved || !was.pod.HostNetwork
	}
	for key := range changed {
		was, p := e.watched[key], pods[key]
		ours := false
		if p != nil {
			_, ours = nodes[p.Node]
		}
		if !ours || p.Done || len(p.IPs) == 0 || pick != nil && !pick(p) {
			if was != nil {
				drop(key, was)
			}
			continue
		}
		life := lifeOf(p)
		if was != nil && was.life == life && was.pod.Node == p.Node && was.pod.HostNetwork == p.HostNetwork {
			delete(e.now.pods, was.pod)
			was.pod = p
			e.now.pods[p] = was.id
			continue
		}
		if was == nil {
			was = known[key]
		} else {
			drop(key, was)
		}
		n := &watched{pod: p, life: life}
		if was != nil && was.life == life {
			n.id = was.id
		} else {
			come = append(come, p)
		}
		e.watched[key] = n
		touched[p.Node] = true
		moved = moved || !p.HostNetwork
	}
	slices.SortFunc(come, comparePods)
	for _, p := range come {
		e.last++
		e.watched[p.Key()].id = e.last
	}
	if len(touched) > 0 {
		e.list(touched, moved)
	}
}

// list writes the endpoints of some nodes again.
func (e *endpoints) list(touched map[string]bool, moved bool) {
	out := &assigned{byNode: maps.Clone(e.now.byNode), judged: e.now.judged, pods: e.now.pods}
	if moved {
		out.judged = make(map[netip.Addr]ruleset.EndpointID, len(e.watched))
	}
	pods := map[string][]*watched{}
	for _, p := range e.watched {
		out.pods[p.pod] = p.id
		if touched[p.pod.Node] {
			pods[p.pod.Node] = append(pods[p.pod.Node], p)
		}
		if moved && !p.pod.HostNetwork {
			for _, ip := range p.pod.IPs {
				out.judged[ip.Unmap()] = p.id
			}
		}
	}
	for name := range touched {
		list := pods[name]
		slices.SortFunc(list, func(a, b *watched) int { return comparePods(a.pod, b.pod) })
		out.byNode[name] = make([]*wire.Endpoint, 0, len(list))
		for _, w := range list {
			p := w.pod
			out.byNode[name] = append(out.byNode[name], &wire.Endpoint{Id: uint32(w.id), Ips: wire.AddrsBytes(p.IPs), HostNetwork: p.HostNetwork, Uid: p.UID})
		}
	}
	e.now = out
}

func comparePods(a, b *identity.Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func lifeOf(p *identity.Pod) string {
	var b strings.Builder
	b.WriteString(p.Key())
	b.WriteByte(' ')
	b.WriteString(p.UID)
	for _, ip := range p.IPs {
		b.WriteByte(' ')
		b.WriteString(ip.String())
	}
	return b.String()
}

// sameEndpoints says whether a probe would see no difference.
func sameEndpoints(a, b []*wire.Endpoint) bool {
	return slices.EqualFunc(a, b, func(x, y *wire.Endpoint) bool { return x.GetId() == y.GetId() })
}

// only takes what isn't in a list from the pods that the probe watches: rules
// for others can't be made now, and an address that went on to another pod must
// not be judged by those of its former owner.
func (n *node) only(eps []*wire.Endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	there := make(map[uint32]bool, len(eps))
	for _, e := range eps {
		there[e.GetId()] = true
	}
	kept := slices.DeleteFunc(slices.Clone(n.endpoints), func(e *wire.Endpoint) bool { return !there[e.GetId()] })
	if len(kept) < len(n.endpoints) {
		n.endpoints = kept
		n.epVersion++
		n.signal()
	}
}
