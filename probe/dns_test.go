// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe_test

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Answers makes sink a serve.AnswerSink.
func (s *sink) Answers(list []*wire.Answer) {
	s.locked(func() { s.answers = append(s.answers, list...) })
}

func dnsQuestion(t *testing.T, name string) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: uint16(len(name)), RecursionDesired: true}) //nolint:gosec // short
	if err := b.StartQuestions(); err != nil {
		t.Fatal(err)
	}
	if err := b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}); err != nil {
		t.Fatal(err)
	}
	out, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// answerDNS knows web.example, says that none.example isn't there, and says
// nothing of anything else.
func answerDNS(c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		var p dnsmessage.Parser
		h, err := p.Start(buf[:n])
		if err != nil {
			continue
		}
		q, err := p.Question()
		if err != nil || strings.HasPrefix(q.Name.String(), "silent") {
			continue
		}
		h.Response = true
		found := strings.HasPrefix(q.Name.String(), "web")
		if !found {
			h.RCode = dnsmessage.RCodeNameError
		}
		b := dnsmessage.NewBuilder(nil, h)
		_ = b.StartQuestions()
		_ = b.Question(q)
		if found {
			_ = b.StartAnswers()
			_ = b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}})
		}
		if out, err := b.Finish(); err == nil {
			_, _ = c.WriteTo(out, from)
		}
	}
}
