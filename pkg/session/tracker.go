// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"slices"
	"sync"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const maxTracked = 200_000

// One end has said goodbye: the close itself follows when the probe reads its
// table, and until then there is nothing left to cut. RFC 9293 section 3.1.
const (
	tcpFIN = 1 << 0
	tcpRST = 1 << 2
)

// tracker knows the open connections by their tuples and nothing else: enough
// to say which of them enforcement would cut.
type tracker struct {
	mu   sync.Mutex
	open map[flowAt]tracked
}

type tracked struct {
	tuple     flow.Tuple
	direction flow.Direction
	endpoint  ruleset.EndpointID
}

func (t *tracker) note(node string, flows *wire.Flows) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range flows.GetFlows() {
		at := flowAt{node, f.GetId()}
		if f.GetKind() == wire.Flow_CLOSE || f.GetTcpFlags()&(tcpFIN|tcpRST) != 0 {
			delete(t.open, at)
			continue
		}
		tuple, direction, ok := f.Tuple()
		if !ok || len(t.open) >= maxTracked {
			continue
		}
		if t.open == nil {
			t.open = map[flowAt]tracked{}
		}
		t.open[at] = tracked{tuple, direction, ruleset.EndpointID(f.GetEndpoint())}
	}
}

func (t *tracker) forget(node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at := range t.open {
		if at.node == node {
			delete(t.open, at)
		}
	}
}

// Cut is an open connection that enforcement would drop, and that the
// cluster's policies allow.
type Cut struct {
	Node      string
	ID        uint64 // of the wire's Flow
	Endpoint  ruleset.EndpointID
	Tuple     flow.Tuple
	Direction flow.Direction // in which the endpoint is the subject
}

// cuts lists, in a stable order, what the rulesets drop of what is open.
func (t *tracker) cuts(rules map[string]*ruleset.Pages) []Cut {
	tables := make(map[string]*ruleset.Table, len(rules))
	for name, r := range rules {
		tables[name] = r.Table()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Cut
	for at, f := range t.open {
		table := tables[at.node]
		if table == nil {
			continue
		}
		if r := table.Judge(packetOf(f.tuple, f.direction)); r.Drop && r.Current.Verdict != flow.Deny {
			out = append(out, Cut{Node: at.node, ID: at.id, Endpoint: f.endpoint, Tuple: f.tuple, Direction: f.direction})
		}
	}
	slices.SortFunc(out, func(a, b Cut) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID)) })
	return out
}

// packetOf is a connection's first packet as its subject sees it.
func packetOf(t flow.Tuple, d flow.Direction) ruleset.Packet {
	p := ruleset.Packet{Direction: d, Protocol: t.Protocol, Local: t.Source.Addr(), Peer: t.Destination.Addr(), Port: t.Destination.Port()}
	if d == flow.Ingress {
		p.Local, p.Peer = p.Peer, p.Local
	}
	if !t.Protocol.HasPorts() {
		p.Port = 0
	}
	return p
}
