// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// who is an end's name without address and port, shared by all rows that have
// it. The empty one is nobody known.
type who struct {
	namespace, pod, workload, service, node, name string

	// Made of these when a name is interned: many ask for them, again and again.
	owner, full string
}

// group is what rows are summed up under; "": the address.
func (w *who) group() string {
	if w.owner != "" {
		return w.owner
	}
	p := flow.Peer{Namespace: w.namespace, Pod: w.pod, Workload: w.workload, Service: w.service, Name: w.name}
	return p.Owner()
}

func (w *who) fill(p *flow.Peer, addr netip.AddrPort) {
	*p = flow.Peer{
		Namespace: w.namespace, Pod: w.pod, Workload: w.workload, Service: w.service, Node: w.node, Name: w.name,
		IP: addr.Addr(), Port: addr.Port(),
	}
}

func (w *who) peer(addr netip.AddrPort) *flow.Peer {
	p := new(flow.Peer)
	w.fill(p, addr)
	return p
}

// names joins addresses with who had them.
type names struct {
	decoder wire.WorldDecoder
	ledger  identity.Ledger
	interns map[who]*who
	pods    map[*identity.Pod]*who // of the world that is known now
	fresh   []*row                 // young rows whose peer may yet be named otherwise
}

// How long after its first packet a row's peer may still be renamed: the API
// may tell of a new owner only after the first packet has passed.
const renaming = 10 * time.Second

const maxInterns = 100_000

func (n *names) init() { n.interns, n.pods = map[who]*who{}, map[*identity.Pod]*who{} }

func (n *names) intern(w who) *who {
	if p, ok := n.interns[w]; ok {
		return p
	}
	if len(n.interns) >= maxInterns {
		clear(n.interns) // rows keep what they point to
	}
	p := new(who)
	*p = w
	p.owner, p.full = w.group(), nameOf(&w, func() string { return "" })
	n.interns[w] = p
	return p
}

// pod is the name of a pod.
func (n *names) pod(p *identity.Pod) *who {
	w := n.pods[p]
	if w == nil {
		w = n.intern(podWho(p))
		n.pods[p] = w
	}
	return w
}

func podWho(p *identity.Pod) who {
	return who{namespace: p.Namespace, pod: p.Name, workload: p.Workload, node: p.Node}
}

// of names an address as of a time.
func (n *names) of(ip netip.Addr, at time.Time) *who {
	o := n.ledger.Who(ip, at)
	switch {
	case o.Pod != nil:
		return n.pod(o.Pod)
	case o.Service != nil:
		return n.intern(who{service: o.Service.Key()})
	case o.Node != nil:
		return n.intern(who{node: o.Node.Name, name: o.Node.Name})
	}
	return n.intern(who{})
}

// endpoint names a local address by the endpoint that the probe was told of,
// which needs no guess about time.
func (n *names) endpoint(id uint32, ip netip.Addr, at time.Time) *who {
	if p := n.decoder.Pod(ruleset.EndpointID(id)); p != nil {
		return n.pod(p)
	}
	return n.of(ip, at)
}

func (a *applying) world(m *wire.World) {
	n := &a.s.names
	n.decoder.Apply(m)
	a.becameReady(m)
	clear(n.pods)
	a.s.rows.relabelled()
	changed := n.ledger.Update(n.decoder.World(), a.at)
	a.s.known.Store(n.ledger.World())
	if len(changed) == 0 || len(n.fresh) == 0 {
		return
	}
	moved := make(map[netip.Addr]bool, len(changed))
	for _, ip := range changed {
		moved[ip] = true
	}
	keep := n.fresh[:0]
	for _, r := range n.fresh {
		if a.at.Sub(r.since) > renaming {
			continue
		}
		keep = append(keep, r)
		if moved[r.peer.Addr()] {
			r.peerWho = n.of(r.peer.Addr(), r.since)
			a.s.nameByAnswer(r)
			if r.sum.pair != nil {
				a.s.sum(r)
			}
		}
	}
	clear(n.fresh[len(keep):])
	n.fresh = keep
}

// remember keeps a new row among the young ones for a while.
func (n *names) remember(r *row, now time.Time) {
	if len(n.fresh) >= 20_000 {
		keep := n.fresh[:0]
		for _, f := range n.fresh[len(n.fresh)/2:] {
			if now.Sub(f.since) <= renaming {
				keep = append(keep, f)
			}
		}
		clear(n.fresh[len(keep):])
		n.fresh = keep
	}
	n.fresh = append(n.fresh, r)
}
