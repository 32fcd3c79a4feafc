// SPDX-License-Identifier: Apache-2.0

package store

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// fault is a drop as far as the row that it hit needs to know.
type fault struct {
	at        time.Time // by the node's clock
	reason    string
	culprit   string
	answer    bool         // of a packet of the destination's
	delivered bool         // in the far pod: nothing between the pods dropped it
	inside    bool         // in the far pod, before it came to a socket: by what stands there
	verdict   flow.Verdict // of the rules at the end that it was for; not judged: not known
	deniedBy  []flow.Rule  // if that is deny
}

// inPod are functions that free packets at the end of their way: in the
// socket, so within the pod that they were for.
var inPod = []string{"tcp_", "__udp", "udp_", "udpv6_", "__udp4", "__udp6", "sk_", "sock_", "raw_", "tcp4", "tcp6", "icmp_", "icmpv6_"}

// hit tells the rows of a connection of a drop: what it means for them.
func (a *applying) hit(e *flow.Event, why Explanation) {
	if e.Source == nil || e.Enforced {
		return
	}
	t := tupleOf(e)
	hit := struck{since: a.s.now, event: e, why: why}
	for _, r := range a.s.rowsOf(t) {
		hit.ends = append(hit.ends, end{r.id.Node, r.direction})
		if !e.Time.Before(r.first.Add(-apart)) {
			a.droppedRow(r, e, why)
		}
	}
	if len(hit.ends) < 2 {
		a.s.strikes.add(t, &hit)
	}
}

func tupleOf(e *flow.Event) flow.Tuple {
	return flow.Tuple{
		Protocol: e.Protocol, Source: netip.AddrPortFrom(e.Source.IP, e.Source.Port),
		Destination: netip.AddrPortFrom(e.Destination.IP, e.Destination.Port),
	}
}

// strikes are drops of late, by both addresses of their packets: the node that
// dropped a packet may be heard of before the one that sent it.
type strikes map[strikeKey][]*struck

type strikeKey struct {
	protocol flow.Protocol
	at       netip.AddrPort
}

// struck is a drop with the ends of its connection that were known then.
type struck struct {
	since time.Time
	event *flow.Event
	why   Explanation
	ends  []end
}

type end struct {
	node      string
	direction flow.Direction
}

// maxStrikes bounds them: in a storm the rows that come are told of no earlier
// drop, which the drops page counts all the same.
const maxStrikes = 2048

func (s strikes) add(t flow.Tuple, hit *struck) {
	if len(s) >= maxStrikes {
		return
	}
	for _, at := range [2]netip.AddrPort{t.Source, t.Destination} {
		k := strikeKey{t.Protocol, at}
		if len(s[k]) < maxOutcomes {
			s[k] = append(s[k], hit)
		}
	}
}

// forget lets those go that no row can be of any more.
func (s strikes) forget(now time.Time) {
	maps.DeleteFunc(s, func(_ strikeKey, list []*struck) bool { return now.Sub(list[len(list)-1].since) > apart })
}

// recall hits a row that is new with what its connection had been hit by before.
func (a *applying) recall(r *row) {
	s := a.s
	if len(s.strikes) == 0 {
		return
	}
	opener := r.local
	if r.direction == flow.Ingress {
		opener = r.peer
	}
	for _, hit := range s.strikes[strikeKey{r.protocol, opener}] {
		e := hit.event
		mine := end{r.id.Node, r.direction}
		if e.Time.Before(r.first.Add(-apart)) || slices.Contains(hit.ends, mine) || !slices.Contains(s.rowsOf(tupleOf(e)), r) {
			continue
		}
		hit.ends = append(hit.ends, mine)
		r.drops += e.Packets
		if !hit.why.Benign {
			r.faults += e.Packets
		}
		a.droppedRow(r, e, hit.why)
	}
}

// droppedRow remembers a drop with the connection that it hit.
func (a *applying) droppedRow(r *row, e *flow.Event, why Explanation) {
	if why.Benign {
		return
	}
	f := &fault{at: e.Time, reason: e.Reason, culprit: why.Culprit}
	sender := r.local
	if r.direction == flow.Ingress {
		sender = r.peer
	}
	f.answer = netip.AddrPortFrom(e.Source.IP, e.Source.Port) != sender
	for _, prefix := range inPod {
		f.delivered = f.delivered || strings.HasPrefix(e.Location, prefix)
	}
	f.inside = why.inside && !f.answer && !f.delivered
	if !f.answer && e.Direction == flow.Ingress && e.Verdict != flow.NotJudged {
		f.verdict = e.Verdict
		if e.Verdict == flow.Deny {
			f.deniedBy = e.IsolatedBy
			if e.Rule != nil {
				f.deniedBy = []flow.Rule{*e.Rule}
			}
		}
	}
	r.fault = f
	a.settle(r)
}
