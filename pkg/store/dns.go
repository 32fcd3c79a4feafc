// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// dnsNames are the names by which pods asked for addresses. A name is the
// pod's own: another pod may have got the same address under another.
type dnsNames struct {
	byPod map[askedKey]asked
	age   []askedKey // oldest first; may repeat
}

type askedKey struct {
	pod *who
	ip  netip.Addr
}

type asked struct {
	name  string
	until time.Time
}

const (
	maxAsked = 100_000
	// grace is how much longer than its time to live an answer names an
	// address: resolvers and connection pools keep it.
	grace  = 5 * time.Minute
	maxTTL = 24 * time.Hour
)

func (d *dnsNames) put(k askedKey, a asked) {
	if d.byPod == nil {
		d.byPod = map[askedKey]asked{}
	}
	for len(d.age) >= maxAsked {
		delete(d.byPod, d.age[0])
		d.age = d.age[1:]
	}
	if _, ok := d.byPod[k]; !ok {
		d.age = append(d.age, k)
	}
	d.byPod[k] = a
}

// of is the name that a pod knows an address by; empty: none that is fresh.
func (d *dnsNames) of(pod *who, ip netip.Addr, at time.Time) string {
	if a, ok := d.byPod[askedKey{pod, ip}]; ok && !at.After(a.until) {
		return a.name
	}
	return ""
}

// answers takes DNS answers that pods got.
func (a *applying) answers(m *wire.Answers) {
	for _, n := range m.GetAnswers() {
		a.answer(n)
	}
}

func (a *applying) answer(m *wire.Answer) {
	s := a.s
	at := a.when(m.GetTimeNs())
	id := FlowID{a.node, m.GetFlow()}
	r := s.rows.get(id)
	out := &flow.Answer{Question: clean(m.GetQuestion()), Type: queryType(m.GetType()), IPs: wire.Addrs(m.GetIps()), Unanswered: m.GetUnanswered()}
	if !out.Unanswered {
		out.Code = responseCode(m.GetRcode())
	}
	e := flow.Event{Type: flow.DNSEvent, Time: at, Node: a.node, Protocol: flow.UDP}
	if r != nil {
		e = s.answerOf(r, at)
	} else if p := s.names.decoder.Pod(ruleset.EndpointID(m.GetEndpoint())); p != nil {
		e.Direction, e.Subject = flow.Egress, flow.Egress.Subject()
		e.Source = &flow.Peer{Namespace: p.Namespace, Pod: p.Name, Workload: p.Workload, Node: p.Node}
		if server, ok := wire.Addr(m.GetServer()); ok {
			e.Destination = s.names.of(server, a.here(at)).peer(netip.AddrPortFrom(server, 53))
		}
	}
	e.Answer, e.AnswerSeconds = out, time.Duration(m.GetTookNs()).Seconds()
	if r == nil && m.GetFlow() != 0 && len(s.early) < maxEarly {
		s.early = append(s.early, early{id, s.now, e})
	} else {
		a.emit(e, id)
	}
	if len(out.IPs) == 0 || out.Question == "" {
		return
	}
	pod := a.asker(r, m.GetEndpoint())
	if pod == nil {
		return
	}
	until := a.here(at).Add(min(time.Duration(m.GetTtl())*time.Second, maxTTL) + grace)
	for _, ip := range out.IPs {
		s.dns.put(askedKey{pod, ip}, asked{out.Question, until})
	}
}

// answerOf is an event of an answer on a connection, whose counters aren't its.
func (s *Store) answerOf(r *row, at time.Time) flow.Event {
	e := s.event(r, flow.DNSEvent, at)
	e.Note, e.Packets, e.Bytes = "", 0, 0
	return e
}

// early is an answer that came before the first news of its connection, which
// the node holds back until it knows who answers for the service. It is told
// after that news, with its ports and verdict, or alone if there is none.
type early struct {
	id    FlowID
	since time.Time
	event flow.Event // as it is told alone
}

const (
	maxEarly  = 1024
	earlyWait = time.Second
)

// placeEarly tells those that waited for a connection.
func (a *applying) placeEarly(r *row) {
	s := a.s
	if len(s.early) == 0 {
		return
	}
	s.early = slices.DeleteFunc(s.early, func(w early) bool {
		if w.id != r.id {
			return false
		}
		e := s.answerOf(r, w.event.Time)
		e.Answer, e.AnswerSeconds = w.event.Answer, w.event.AnswerSeconds
		a.emit(e, r.id)
		return true
	})
}

// giveUpEarly tells those alone that have waited long enough.
func (a *applying) giveUpEarly() {
	s := a.s
	s.early = slices.DeleteFunc(s.early, func(w early) bool {
		if s.now.Sub(w.since) < earlyWait {
			return false
		}
		a.emit(w.event, w.id)
		return true
	})
}

// asker is the pod that asked; nil if it isn't known, or if this is the
// server's end.
func (a *applying) asker(r *row, endpoint uint32) *who {
	if r != nil {
		if r.direction != flow.Egress {
			return nil
		}
		return r.localWho
	}
	if p := a.s.names.decoder.Pod(ruleset.EndpointID(endpoint)); p != nil {
		return a.s.names.intern(podWho(p))
	}
	return nil
}

// nameByAnswer names an address that is nobody's of the cluster by what the
// pod asked for before.
func (s *Store) nameByAnswer(r *row) {
	if r.direction != flow.Egress || *r.peerWho != (who{}) {
		return
	}
	if name := s.dns.of(r.localWho, r.peer.Addr(), r.since); name != "" {
		r.peerWho = s.names.intern(who{name: name})
	}
}

// queryTypes are those that pods ask for.
var queryTypes = map[uint32]string{
	1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR", 64: "SVCB", 65: "HTTPS", 255: "ANY",
}

func queryType(n uint32) string {
	if t := queryTypes[n]; t != "" {
		return t
	}
	return "TYPE" + strconv.FormatUint(uint64(n), 10)
}

var responseCodes = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}

func responseCode(n uint32) string {
	if n < uint32(len(responseCodes)) {
		return responseCodes[n]
	}
	return "RCODE" + strconv.FormatUint(uint64(n), 10)
}
