// SPDX-License-Identifier: Apache-2.0

package sniff

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/http2/hpack"
)

// hello is what Go's own TLS client says first.
func hello(t testing.TB, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: name == ""}).Handshake() }() //nolint:gosec // nobody answers
	_ = b.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 4096)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// grpc is a connection's beginning: preface, settings, a call.
func grpc(fields ...string) []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	b := append([]byte(preface), 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100)
	n := block.Len()
	b = append(b, byte(n>>16), byte(n>>8), byte(n), frameHeaders, 4, 0, 0, 0, 1)
	return append(b, block.Bytes()...)
}

func TestFirst(t *testing.T) {
	call := grpc(":method", "POST", ":scheme", "http", ":path", "/shop.Cart/Add?x=1", ":authority", "cart:50051", "content-type", "application/grpc+proto", "authorization", "secret")
	for name, c := range map[string]struct {
		in   []byte
		want Request
		more bool
	}{
		"TLS":                 {hello(t, "shop.example"), Request{Kind: "tls", Host: "shop.example"}, false},
		"TLS, cut short":      {hello(t, "shop.example")[:400], Request{Kind: "tls", Host: "shop.example"}, false},
		"TLS without a name":  {hello(t, ""), Request{Kind: "tls"}, false},
		"HTTP":                {[]byte("GET /a/b?token=1#x HTTP/1.1\r\nCookie: a\r\nhOst: shop:80\r\n\r\n"), Request{"http", "shop:80", "GET", "/a/b"}, false},
		"HTTP without a host": {[]byte("HEAD / HTTP/1.0\r\n\r\nHost: body"), Request{"http", "", "HEAD", "/"}, false},
		"HTTP, a line":        {[]byte("GET /a HTTP/1.1\r\n"), Request{"http", "", "GET", "/a"}, true},
		"HTTP, cut in a path": {[]byte("GET /a/b"), Request{"http", "", "GET", "/a/b"}, true},
		"HTTP, cut in a word": {[]byte("DEL"), Request{}, true},
		"HTTP to a proxy":     {[]byte("GET http://user:pw@shop/a?b HTTP/1.1\r\n\r\n"), Request{"http", "shop", "GET", "/a"}, false},
		"HTTP, CONNECT":       {[]byte("CONNECT shop:443 HTTP/1.1\r\n\r\n"), Request{"http", "shop:443", "CONNECT", ""}, false},
		"HTTP, cut in a line": {[]byte("GET /a HTTP/1.1\r\nHost: sho"), Request{"http", "", "GET", "/a"}, true},
		"session in the path": {[]byte("GET /a;jsessionid=1 HTTP/1.1\r\n"), Request{"http", "", "GET", "/a"}, true},
		"gRPC":                {call, Request{"grpc", "cart:50051", "POST", "/shop.Cart/Add"}, false},
		"gRPC, later":         {call[:len(preface)+15], Request{}, true},
		"HTTP/2":              {grpc(":method", "GET", ":path", "/", ":authority", "web"), Request{"http", "web", "GET", "/"}, false},
		"preface only":        {[]byte(preface), Request{}, true},
		"half a preface":      {[]byte(preface[:10]), Request{}, true},
		"control characters":  {[]byte("GET /\x1b[2J HTTP/1.1\r\n"), Request{"http", "", "GET", ""}, true},
		"other":               {[]byte("SSH-2.0-OpenSSH\r\n"), Request{}, false},
		"a word":              {[]byte("GETTING on"), Request{}, false},
		"nothing":             {nil, Request{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, more, ok := First(c.in)
			if got != c.want || more != c.more || ok != (c.want != Request{}) {
				t.Errorf("%+v, more %v, ok %v; want %+v, more %v", got, more, ok, c.want, c.more)
			}
		})
	}
}

// message builds a DNS message with one question and A and AAAA answers.
func message(t testing.TB, name string, h dnsmessage.Header, ttls ...uint32) []byte {
	t.Helper()
	n := dnsmessage.MustNewName(name)
	b := dnsmessage.NewBuilder(nil, h)
	b.EnableCompression()
	_ = b.StartQuestions()
	_ = b.Question(dnsmessage.Question{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
	_ = b.StartAnswers()
	if len(ttls) > 0 {
		_ = b.CNAMEResource(dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET, TTL: 1}, dnsmessage.CNAMEResource{CNAME: n})
	}
	for i, ttl := range ttls {
		rh := dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET, TTL: ttl}
		if i%2 == 0 {
			_ = b.AResource(rh, dnsmessage.AResource{A: [4]byte{192, 0, 2, byte(i)}})
		} else {
			_ = b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::1").As16()})
		}
	}
	out, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDNS(t *testing.T) {
	m, ok := DNS(message(t, "Web.Example.", dnsmessage.Header{ID: 7, Response: true}, 60, 30))
	want := Message{ID: 7, Response: true, Question: "web.example", Type: 1, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("2001:db8::1")}, TTL: 30}
	if !ok || !reflect.DeepEqual(m, want) {
		t.Errorf("%+v, want %+v", m, want)
	}
	if m, ok := DNS(message(t, "none.", dnsmessage.Header{ID: 1, Response: true, RCode: dnsmessage.RCodeNameError})); !ok || m.Code != 3 || len(m.IPs) != 0 {
		t.Errorf("%+v", m)
	}
	tcp := message(t, "web.example.", dnsmessage.Header{ID: 9})
	if m, ok := DNSOverTCP(append([]byte{0, byte(len(tcp))}, tcp...)); !ok || m.Response || m.Question != "web.example" || m.ID != 9 {
		t.Errorf("%+v", m)
	}
	whole := message(t, "web.example.", dnsmessage.Header{Response: true}, 60, 60, 60)
	if m, ok := DNS(whole[:len(whole)-5]); !ok || len(m.IPs) != 2 {
		t.Errorf("cut short: %+v %v", m, ok)
	}
	for name, b := range map[string][]byte{"nothing": nil, "noise": bytes.Repeat([]byte{0xff}, 64), "escape": message(t, "a\x1b[2J.", dnsmessage.Header{})} {
		if m, ok := DNS(b); ok {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func shown(t *testing.T, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if len(s) > maxPath || !utf8.ValidString(s) || strings.ContainsAny(s, "\x1b\r\n\x00 ") {
			t.Errorf("text %q", s)
		}
	}
}

func FuzzFirst(f *testing.F) {
	f.Add(hello(f, "shop.example"))
	f.Add(grpc(":method", "POST", ":path", "/a"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		was := bytes.Clone(b)
		r, _, ok := First(b)
		if !bytes.Equal(was, b) {
			t.Error("the input was written to")
		}
		if !ok && r != (Request{}) && r.Kind == "" {
			t.Errorf("not ok, and %+v", r)
		}
		shown(t, r.Host, r.Method, r.Path)
		if strings.ContainsAny(r.Path, "?#") {
			t.Errorf("path %q has a query", r.Path)
		}
	})
}

func FuzzDNS(f *testing.F) {
	f.Add(message(f, "web.example.", dnsmessage.Header{Response: true}, 60, 30))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func([]byte) (Message, bool){DNS, DNSOverTCP} {
			m, ok := read(b)
			shown(t, m.Question)
			if len(m.IPs) > maxAnswers || !ok && m.Question != "" {
				t.Errorf("%v %+v", ok, m)
			}
		}
	})
}
