// SPDX-License-Identifier: Apache-2.0

package sniff

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Message is a DNS message, as far as it is of use: its one question, and the
// addresses that answer it.
type Message struct {
	ID       uint16
	Response bool
	Question string // lower case, without the last dot; empty: the root
	Type     uint16 // of the question
	Code     uint16 // of a response
	IPs      []netip.Addr
	TTL      uint32 // the least of the addresses', seconds
}

// maxAnswers are read of one message.
const maxAnswers = 64

// DNS reads a message; of one that is cut short, what is there. ok is false if
// it isn't DNS, or has not exactly one question.
func DNS(b []byte) (m Message, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.OpCode != 0 {
		return m, false
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) != 1 {
		return m, false
	}
	q := questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	m = Message{ID: h.ID, Response: h.Response, Type: uint16(q.Type), Code: uint16(h.RCode)}
	if m.Question = text(name, maxHost); m.Question != name {
		return Message{}, false // no name that anybody would show
	}
	if !h.Response {
		return m, true
	}
	for range maxAnswers {
		rh, err := p.AnswerHeader()
		if err != nil {
			break
		}
		var ip netip.Addr
		switch rh.Type {
		case dnsmessage.TypeA:
			r, err := p.AResource()
			if err != nil {
				return m, true
			}
			ip = netip.AddrFrom4(r.A)
		case dnsmessage.TypeAAAA:
			r, err := p.AAAAResource()
			if err != nil {
				return m, true
			}
			ip = netip.AddrFrom16(r.AAAA).Unmap()
		default:
			if p.SkipAnswer() != nil {
				return m, true
			}
			continue
		}
		if len(m.IPs) == 0 || rh.TTL < m.TTL {
			m.TTL = rh.TTL
		}
		m.IPs = append(m.IPs, ip)
	}
	return m, true
}

// DNSOverTCP reads the first message of a stream.
func DNSOverTCP(b []byte) (Message, bool) {
	if len(b) < 2 {
		return Message{}, false
	}
	n := int(b[0])<<8 | int(b[1])
	return DNS(b[2:min(len(b), n+2)])
}
