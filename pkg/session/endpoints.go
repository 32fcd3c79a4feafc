// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
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
type endpoints struct {
	last  ruleset.EndpointID
	known map[string]ruleset.EndpointID // by life
	lives map[*identity.Pod]string      // of the pods that were watched last
}

// assigned are the endpoints of one generation.
type assigned struct {
	byNode map[string][]*wire.Endpoint
	judged map[netip.Addr]ruleset.EndpointID
	pods   map[*identity.Pod]ruleset.EndpointID
}

func (a *assigned) id(p *identity.Pod) ruleset.EndpointID { return a.pods[p] }

// assign numbers the pods that run on the nodes and that pick wants.
func (e *endpoints) assign(w *identity.World, nodes map[string]*node, pick func(*identity.Pod) bool) *assigned {
	out := &assigned{
		byNode: make(map[string][]*wire.Endpoint, len(nodes)),
		judged: map[netip.Addr]ruleset.EndpointID{}, pods: map[*identity.Pod]ruleset.EndpointID{},
	}
	var watched []*identity.Pod
	for _, p := range w.Pods {
		if _, ours := nodes[p.Node]; ours && !p.Done && len(p.IPs) > 0 && (pick == nil || pick(p)) {
			watched = append(watched, p)
		}
	}
	slices.SortFunc(watched, func(a, b *identity.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	known := make(map[string]ruleset.EndpointID, len(watched))
	lives := make(map[*identity.Pod]string, len(watched))
	for _, p := range watched {
		life, ok := e.lives[p]
		if !ok {
			life = lifeOf(p)
		}
		lives[p] = life
		id, ok := e.known[life]
		if !ok {
			e.last++
			id = e.last
		}
		known[life] = id
		out.pods[p] = id
		out.byNode[p.Node] = append(out.byNode[p.Node], &wire.Endpoint{Id: uint32(id), Ips: wire.AddrsBytes(p.IPs), HostNetwork: p.HostNetwork, Uid: p.UID})
		if !p.HostNetwork {
			for _, ip := range p.IPs {
				out.judged[ip.Unmap()] = id
			}
		}
	}
	e.known, e.lives = known, lives
	return out
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
