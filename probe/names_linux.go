// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
	"github.com/ebpol/kubectl-ebpol/probe/sniff"
)

// sniffer keeps what the heads of payloads name: answers of DNS to be sent,
// and the first request of each connection. Off until enabled; switched off,
// it forgets.
type sniffer struct {
	mu       sync.Mutex
	on       bool
	requests map[uint64]*wire.Request
	order    []uint64 // of requests, oldest first; may name some that are gone
	begun    map[uint64][]byte
	asked    map[question]asking
	answers  []*wire.Answer
	swept    time.Time
}

// question is one that has no answer yet.
type question struct {
	conn uint64
	id   uint16
	name string
	kind uint16
}

type asking struct {
	at       time.Duration // boottime
	heard    time.Time
	endpoint uint32
	server   []byte
}

const (
	maxRequests = 32_768
	maxBegun    = 1024
	maxBegunLen = 8192
	maxAsked    = 16_384
	maxAnswers  = 4096
	// answerWithin is how long a question may wait before it counts as unanswered.
	answerWithin = 5 * time.Second
	sweepEvery   = answerWithin / 10
	dnsPort      = 53
)

func newSniffer() *sniffer {
	s := &sniffer{}
	s.clear()
	return s
}

func (s *sniffer) clear() {
	s.requests, s.begun, s.asked = map[uint64]*wire.Request{}, map[uint64][]byte{}, map[question]asking{}
	s.order, s.answers = nil, nil
}

func (s *sniffer) enable(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on = on; !on {
		s.clear()
	}
}

// head takes the head of a payload.
func (s *sniffer) head(h *kernel.Head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.on:
	case h.Local.Port() == dnsPort || h.Peer.Port() == dnsPort:
		s.dns(h)
	case h.Protocol == flow.TCP && h.Opener:
		s.request(h)
	}
}

// request takes what an opener sent: the kernel gives it until the head of the
// first request is whole, or has come in too many pieces.
func (s *sniffer) request(h *kernel.Head) {
	data := h.Data
	if old, ok := s.begun[h.Conn]; ok {
		delete(s.begun, h.Conn)
		switch {
		case bytes.HasPrefix(data, old): // sent again
		case bytes.HasPrefix(old, data):
			data = old
		default:
			data = append(old, data...)
		}
	} else if _, known := s.requests[h.Conn]; known {
		return
	}
	r, more, ok := sniff.First(data)
	if ok {
		if _, known := s.requests[h.Conn]; !known {
			for len(s.order) >= maxRequests {
				delete(s.requests, s.order[0])
				s.order = s.order[1:]
			}
			s.order = append(s.order, h.Conn)
		}
		s.requests[h.Conn] = &wire.Request{Kind: r.Kind, Host: r.Host, Method: r.Method, Path: r.Path}
	}
	// What was cut off by us can't be continued.
	if more && len(h.Data) == h.Length && len(data) < maxBegunLen {
		if len(s.begun) >= maxBegun {
			clear(s.begun)
		}
		s.begun[h.Conn] = append([]byte(nil), data...)
	}
}

// dns takes a question or an answer, at the end that asked.
func (s *sniffer) dns(h *kernel.Head) {
	if h.Egress != h.Opener || h.Peer.Port() != dnsPort {
		return // the server's end: the other tells
	}
	read := sniff.DNS
	if h.Protocol == flow.TCP {
		read = sniff.DNSOverTCP
	}
	m, ok := read(h.Data)
	if !ok || m.Response == h.Egress {
		return
	}
	q := question{h.Conn, m.ID, m.Question, m.Type}
	if !m.Response {
		if _, again := s.asked[q]; !again && len(s.asked) < maxAsked {
			s.asked[q] = asking{h.Time, time.Now(), h.Endpoint, h.Peer.Addr().AsSlice()}
		}
		return
	}
	a := &wire.Answer{
		TimeNs: h.Time.Nanoseconds(), Endpoint: h.Endpoint, Flow: h.Conn, Server: h.Peer.Addr().AsSlice(),
		Question: m.Question, Type: uint32(m.Type), Rcode: uint32(m.Code), Ttl: m.TTL,
	}
	for _, ip := range m.IPs {
		a.Ips = append(a.Ips, ip.AsSlice())
	}
	if was, ok := s.asked[q]; ok {
		a.TookNs = (h.Time - was.at).Nanoseconds()
		delete(s.asked, q)
	}
	s.tell(a)
}

func (s *sniffer) tell(a *wire.Answer) {
	if len(s.answers) < maxAnswers {
		s.answers = append(s.answers, a)
	}
}

// flush sends what there is to tell; called after each head, and when it says
// that it wants to be called again, if that isn't 0.
func (s *sniffer) flush(sink serve.Sink) (again time.Duration) {
	s.mu.Lock()
	if time.Since(s.swept) >= sweepEvery {
		s.swept = time.Now()
		s.sweep()
	}
	if len(s.asked) > 0 {
		again = sweepEvery
	}
	list := s.answers
	s.answers = nil
	s.mu.Unlock()
	if to, ok := sink.(serve.AnswerSink); ok && len(list) > 0 {
		to.Answers(list)
	}
	return again
}

// sweep tells of questions that nobody has answered.
func (s *sniffer) sweep() {
	for q, was := range s.asked {
		if waited := time.Since(was.heard); waited >= answerWithin {
			delete(s.asked, q)
			s.tell(&wire.Answer{
				TimeNs: (was.at + waited).Nanoseconds(), Endpoint: was.endpoint, Flow: q.conn, Server: was.server,
				Question: q.name, Type: uint32(q.kind), TookNs: waited.Nanoseconds(), Unanswered: true,
			})
		}
	}
}

// fill writes into a connection's message what it asked for first.
func (s *sniffer) fill(f *wire.Flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		return
	}
	f.Request = s.requests[f.GetId()]
	if f.GetKind() == wire.Flow_CLOSE {
		delete(s.requests, f.GetId())
		delete(s.begun, f.GetId())
	}
}
