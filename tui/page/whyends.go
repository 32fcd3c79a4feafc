// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strconv"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

func (p *Why) target() *flow.Peer {
	if p.row != nil && p.row.Backend != nil {
		return p.row.Backend
	}
	return p.event.Destination
}

// happened says where and when something that no connection did.
func (p *Why) happened(add func(...string)) {
	e := &p.event
	if e.Node != "" {
		add(p.field("NODE", part.Clean(e.Node)))
	}
	add(p.field("AT", clock(e.Time)+" UTC"))
	if e.Reason != "" {
		p.wrapped(add, "REASON", part.Clean(e.Reason), p.env.Theme.Text)
	}
	if e.Lost > 0 {
		add(p.field("LOST", part.Of(e.Lost, "sample")+"; counters stay exact"))
	}
}

// ends shows both addresses, the service's and the backend's where there is one.
func (p *Why) ends(add func(...string)) {
	e := &p.event
	who := func(q *flow.Peer) string {
		if q == nil {
			return "not known"
		}
		s := peerName(q)
		if q.Pod != "" && q.Workload != "" {
			s += " (" + part.Clean(q.Workload) + ")"
		}
		s += "  " + p.env.Theme.Dim.S(endpoint(q))
		if q.Node != "" {
			s += p.env.Theme.Dim.S("  on " + part.Clean(q.Node))
		}
		return s
	}
	add(p.field("FROM", who(e.Source)))
	add(p.field("TO", who(e.Destination)))
	if p.row != nil && p.row.Backend != nil {
		add(p.field("", "answered by "+who(p.row.Backend)))
	} else if e.Destination != nil && e.Destination.Service != "" && e.Destination.Pod == "" {
		add(p.field("", p.env.Theme.Dim.S("a service; which backend answers is not known yet")))
	}
	if e.Direction != 0 {
		subject, _ := judged(e)
		add(p.field("JUDGED", e.Direction.String()+" of "+peerName(subject)))
	}
}

func endpoint(q *flow.Peer) string {
	if !q.IP.IsValid() {
		return "address not known"
	}
	if q.Port == 0 {
		return q.IP.String()
	}
	if q.IP.Is6() {
		return "[" + q.IP.String() + "]:" + strconv.Itoa(int(q.Port))
	}
	return q.IP.String() + ":" + strconv.Itoa(int(q.Port))
}

// address is an end's address for a column.
func address(q *flow.Peer) string {
	if q == nil || !q.IP.IsValid() {
		return ""
	}
	return q.IP.String()
}
