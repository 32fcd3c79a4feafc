// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// Bounds of a [Log].
const (
	MaxSeen  = 200_000 // different flows
	maxNames = 50_000  // addresses with a name
	maxTries = 10_000  // dropped connections that are told from their repetitions
)

// Seen is the connections of one pod, in one direction, with one peer on one
// port, which were all judged alike.
type Seen struct {
	Direction   flow.Direction
	Protocol    flow.Protocol
	Source      flow.Peer  // without port
	Destination flow.Peer  // as the source addressed it
	Backend     *flow.Peer // of a service: who answered, once known

	Verdict, Candidate              flow.Verdict
	Rule, CandidateRule             *flow.Rule
	IsolatedBy, CandidateIsolatedBy []flow.Rule

	Flows       int
	Live        int  // of these, open when the session ended
	Failed      int  // of these, refused, unanswered, dropped or rejected, as far as is known
	Guessed     int  // of these, found in mid-stream: who opened them is a guess
	Dropped     bool // known by drops: it never came to the pod
	First, Last time.Time
	Packets     uint64 // both ways
	Bytes       uint64
}

// Subject is the end that is judged, Peer the other one.
func (s *Seen) Subject() *flow.Peer {
	if s.Direction == flow.Egress {
		return &s.Source
	}
	return &s.Destination
}

// Peer is the end that the subject speaks to: of a service, the service.
func (s *Seen) Peer() *flow.Peer {
	if s.Direction == flow.Egress {
		return &s.Destination
	}
	return &s.Source
}

// WouldChange says whether the candidate set decides otherwise.
func (s *Seen) WouldChange() bool {
	return s.Candidate != flow.NotJudged && s.Verdict != flow.NotJudged && s.Candidate != s.Verdict
}

type key struct {
	direction          flow.Direction
	protocol           flow.Protocol
	source             netip.Addr
	destination        netip.AddrPort
	backend            netip.AddrPort
	from, to           string // pods that had the addresses
	verdict, candidate flow.Verdict
	rule, other        string
	dropped            bool
}

// Log is what was seen so far.
type Log struct {
	seen  map[key]*Seen
	pods  map[string]*identity.Pod // by key: as last seen with an address
	world *identity.World          // last looked at
	names map[netip.Addr][]string  // by DNS answers, else by requests
	tries map[[2]netip.AddrPort]bool
	more  uint64 // flows that found no room
}

// New returns an empty log.
func New() *Log {
	return &Log{
		seen: map[key]*Seen{}, pods: map[string]*identity.Pod{}, names: map[netip.Addr][]string{}, tries: map[[2]netip.AddrPort]bool{},
	}
}

// Know remembers who had which address and labels. Pods that come and go
// between two calls are not known.
func (l *Log) Know(w *identity.World) {
	if w == nil || w == l.world {
		return
	}
	l.world = w
	for k, p := range w.Pods {
		if len(p.IPs) > 0 || l.pods[k] == nil {
			l.pods[k] = p
		}
	}
}

// Event takes note of what is over. It says whether it learned something: a
// drop of a connection whose drops were noted is nothing new.
func (l *Log) Event(e *flow.Event) bool {
	switch e.Type {
	case flow.CloseEvent:
		l.add(e, 0, 0)
	case flow.DNSEvent:
		if a := e.Answer; a != nil && len(l.names) < maxNames {
			for _, ip := range a.IPs {
				l.name(ip, strings.TrimSuffix(a.Question, "."))
			}
		}
	case flow.DropEvent:
		// What something else stops before it arrives.
		if e.Enforced || e.Benign || e.Verdict != flow.Deny || e.Source == nil || e.Destination == nil {
			return false
		}
		k := [2]netip.AddrPort{netip.AddrPortFrom(e.Source.IP, e.Source.Port), netip.AddrPortFrom(e.Destination.IP, e.Destination.Port)}
		if l.tries[k] {
			return false
		}
		if len(l.tries) >= maxTries {
			clear(l.tries)
		}
		l.tries[k] = true
		l.add(e, 0, 0)
	}
	return true
}

// Open takes note of the connections that are open at the end of a session.
func (l *Log) Open(rows []*store.FlowRow) {
	for _, r := range rows {
		if r.Closed {
			continue
		}
		guessed := 0
		if r.Event.OpenerUnknown {
			guessed = 1
		}
		e := r.Event
		e.Time = r.Last
		l.add(&e, 1, guessed)
		if s := l.at(&e); s != nil && r.First.Before(s.First) {
			s.First = r.First
		}
	}
}

func keyOf(e *flow.Event) key {
	e = e.Ported()
	k := key{
		direction: e.Direction, protocol: e.Protocol, source: e.Source.IP, destination: netip.AddrPortFrom(e.Destination.IP, e.Destination.Port),
		from: e.Source.Namespace + "/" + e.Source.Pod, to: e.Destination.Namespace + "/" + e.Destination.Pod,
		verdict: e.Verdict, candidate: e.Candidate, dropped: e.Type == flow.DropEvent,
	}
	if e.Backend != nil {
		k.backend = netip.AddrPortFrom(e.Backend.IP, e.Backend.Port)
	}
	if e.Rule != nil {
		k.rule = string(e.Rule.Kind) + e.Rule.String()
	}
	if e.CandidateRule != nil {
		k.other = string(e.CandidateRule.Kind) + e.CandidateRule.String()
	}
	return k
}

func (l *Log) at(e *flow.Event) *Seen { return l.seen[keyOf(e)] }

func (l *Log) add(e *flow.Event, live, guessed int) {
	if e.Source == nil || e.Destination == nil || e.Direction == 0 {
		return
	}
	e = e.Ported()
	k := keyOf(e)
	s := l.seen[k]
	if s == nil {
		if len(l.seen) >= MaxSeen {
			l.more++
			return
		}
		s = &Seen{
			Direction: e.Direction, Protocol: e.Protocol, Source: *e.Source, Destination: *e.Destination, Backend: e.Backend,
			Verdict: e.Verdict, Candidate: e.Candidate, Rule: e.Rule, CandidateRule: e.CandidateRule,
			IsolatedBy: e.IsolatedBy, CandidateIsolatedBy: e.CandidateIsolatedBy, First: e.Time, Last: e.Time, Dropped: k.dropped,
		}
		s.Source.Port = 0
		l.seen[k] = s
	}
	s.Flows++
	s.Live += live
	s.Guessed += guessed
	s.Packets += e.Packets
	s.Bytes += e.Bytes
	if failed(e) {
		s.Failed++
	}
	if e.Time.Before(s.First) {
		s.First = e.Time
	}
	if e.Time.After(s.Last) {
		s.Last = e.Time
	}
	if r := e.Request; r != nil && r.Host != "" && len(l.names) < maxNames {
		l.name(e.Destination.IP, r.Host)
	}
}

// maxAliases bounds the names of one address: those of a large front serve
// thousands of sites.
const maxAliases = 8

func (l *Log) name(ip netip.Addr, name string) {
	if known := l.names[ip]; len(known) < maxAliases && !slices.Contains(known, name) {
		l.names[ip] = append(known, name)
	}
}

func failed(e *flow.Event) bool {
	switch e.Observed {
	case flow.Unanswered, flow.Refused, flow.NotArrived, flow.Dropped, flow.Rejected, flow.HalfOpen:
		return true
	}
	return e.Type == flow.DropEvent
}

// Seen is all that was seen, in an order that depends on nothing else.
func (l *Log) Seen() []*Seen {
	out := make([]*Seen, 0, len(l.seen))
	for _, s := range l.seen {
		out = append(out, s)
	}
	slices.SortFunc(out, compare)
	return out
}

func compare(a, b *Seen) int {
	return cmp.Or(
		strings.Compare(a.Subject().Namespace, b.Subject().Namespace), strings.Compare(a.Subject().Workload, b.Subject().Workload),
		strings.Compare(a.Subject().Pod, b.Subject().Pod), cmp.Compare(a.Direction, b.Direction),
		strings.Compare(a.Peer().Namespace, b.Peer().Namespace), strings.Compare(a.Peer().Workload, b.Peer().Workload),
		strings.Compare(a.Peer().Pod, b.Peer().Pod), a.Peer().IP.Compare(b.Peer().IP), cmp.Compare(a.Destination.Port, b.Destination.Port),
		cmp.Compare(a.Protocol, b.Protocol), a.Subject().IP.Compare(b.Subject().IP), cmp.Compare(a.Verdict, b.Verdict),
		cmp.Compare(a.Candidate, b.Candidate), a.First.Compare(b.First), comparePeers(a.Backend, b.Backend), a.Last.Compare(b.Last),
	)
}

func comparePeers(a, b *flow.Peer) int {
	if a == nil || b == nil {
		return cmp.Compare(boolean(a != nil), boolean(b != nil))
	}
	return cmp.Or(a.IP.Compare(b.IP), cmp.Compare(a.Port, b.Port))
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Names are what an address was called in DNS answers and requests, in the
// order in which they came; none: not known.
func (l *Log) Names(ip netip.Addr) []string { return l.names[ip] }

// Pod is a pod as it was when it last had an address; nil: never seen.
func (l *Log) Pod(key string) *identity.Pod { return l.pods[key] }

// Pods are all that were ever there.
func (l *Log) Pods() map[string]*identity.Pod { return l.pods }

// World is the newest one that the log knows; nil: none came.
func (l *Log) World() *identity.World { return l.world }

// LeftOut is how many flows found no room.
func (l *Log) LeftOut() uint64 { return l.more }
