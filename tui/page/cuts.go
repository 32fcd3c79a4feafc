// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// cut is a group of live connections that enforcing would end.
type cut struct {
	source, destination, port string
	connections               int
	rate                      float64
	asks                      string // what the newest of them asked for, or who opened it
}

// cutsOf groups connections by who talks to whom on which port, the busiest
// first. A connection that both of its ends know is one.
func cutsOf(flows []*store.FlowRow) (cuts []cut, live int) {
	type connection struct {
		protocol flow.Protocol
		source   netip.AddrPort
		to       netip.Addr // only where the source port doesn't tell connections apart
	}
	known := map[connection]*store.FlowRow{}
	var order []connection
	for _, r := range flows {
		e := &r.Event
		if e.Source == nil {
			continue
		}
		k := connection{protocol: e.Protocol, source: netip.AddrPortFrom(e.Source.IP, e.Source.Port)}
		if e.Protocol != flow.TCP && e.Destination != nil {
			k.to = e.Destination.IP
			if r.Backend != nil {
				k.to = r.Backend.IP
			}
		}
		old := known[k]
		if old == nil {
			order = append(order, k)
		}
		// The end that arrives names the pod behind a service.
		if old == nil || e.Direction == flow.Ingress {
			known[k] = r
		}
	}
	groups := map[[3]string]*cut{}
	for _, k := range order {
		r := known[k]
		e := &r.Event
		to := e.Destination
		if r.Backend != nil {
			to = r.Backend
		}
		key := [3]string{peerGroup(e.Source), peerGroup(to), port(e)}
		c := groups[key]
		if c == nil {
			c = &cut{source: key[0], destination: key[1], port: key[2]}
			groups[key] = c
		}
		c.connections++
		c.rate += r.Rate
		switch {
		case e.Request != nil:
			c.asks = request(e.Request)
		case e.Owner != nil && c.asks == "":
			c.asks = owner(e.Owner)
		}
	}
	for _, c := range groups {
		cuts = append(cuts, *c)
	}
	slices.SortFunc(cuts, func(a, b cut) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.source, b.source), cmp.Compare(a.destination, b.destination), cmp.Compare(a.port, b.port))
	})
	return cuts, len(order)
}
