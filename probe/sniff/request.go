// SPDX-License-Identifier: Apache-2.0

package sniff

import (
	"bytes"
	"slices"
	"strings"
)

// Request is the head of the first request on a connection.
type Request struct {
	Kind   string // "tls", "http", "grpc"
	Host   string
	Method string
	Path   string // without the query
}

// First reads the first payload that a connection's opener sent, with what
// followed it as far as that is known. more is true if the bytes that come next
// may say what these don't, even where ok says that these say something.
func First(b []byte) (r Request, more, ok bool) {
	switch {
	case len(b) >= 6 && b[0] == 0x16 && b[1] == 3:
		r, ok = clientHello(b)
		more = ok && r.Host == "" && 5+int(b[3])<<8+int(b[4]) > len(b)
	case bytes.HasPrefix(b, []byte(preface)):
		return http2(b[len(preface):])
	case len(b) > 0 && len(b) < len(preface) && strings.HasPrefix(preface, string(b)):
		return r, true, false
	default:
		r, more, ok = http1(b)
	}
	return r, more, ok
}

// methods are those that begin a line of HTTP/1.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// http1 reads a head of HTTP/1; more: it isn't whole, and names no host yet.
func http1(b []byte) (r Request, more, ok bool) {
	line, rest, whole := bytes.Cut(b, []byte("\r\n"))
	method, target, found := strings.Cut(string(line[:min(len(line), 8192)]), " ")
	if !found {
		begun := len(b) > 0 && !whole && slices.ContainsFunc(methods[:], func(m string) bool { return strings.HasPrefix(m, method) })
		return Request{}, begun, false
	}
	target, version, cut := strings.Cut(target, " ")
	if !slices.Contains(methods[:], method) || whole && (!cut || !strings.HasPrefix(version, "HTTP/1.")) {
		return Request{}, false, false
	}
	r = Request{Kind: "http", Method: method}
	more = !whole
	switch {
	case method == "CONNECT":
		r.Host = text(target, maxHost)
	case strings.HasPrefix(target, "http://"):
		host, path, _ := strings.Cut(strings.TrimPrefix(target, "http://"), "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:] // who asks isn't ours to keep
		}
		r.Host, r.Path = text(bare(host), maxHost), text(bare("/"+path), maxPath)
	default:
		r.Path = text(bare(target), maxPath)
	}
	for len(rest) > 0 && r.Host == "" {
		line, rest, whole = bytes.Cut(rest, []byte("\r\n"))
		if len(line) == 0 || !whole {
			break // the end of the head, or a line that is cut short
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if strings.EqualFold(string(name), "host") {
			r.Host = text(strings.TrimSpace(string(value)), maxHost)
		}
	}
	return r, more || r.Host == "" && !bytes.Contains(b, []byte("\r\n\r\n")), true
}

// reader takes a packet apart; after the end it gives nothing.
type reader struct {
	b    []byte
	fail bool
}

func (r *reader) take(n int) []byte {
	if r.fail || n < 0 || n > len(r.b) {
		r.fail = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) number(bytes int) int {
	n := 0
	for _, c := range r.take(bytes) {
		n = n<<8 | int(c)
	}
	return n
}

// clientHello finds the server's name. The message may be cut short: the name
// often stands near its beginning.
func clientHello(b []byte) (Request, bool) {
	r := &reader{b: b}
	r.take(5) // the record's header
	if r.number(1) != 1 {
		return Request{}, false
	}
	r.take(3 + 2 + 32)       // length, version, random
	r.take(r.number(1))      // session
	r.take(r.number(2))      // ciphers
	r.take(r.number(1))      // compressions
	if r.number(2); r.fail { // length of the extensions
		return Request{}, false
	}
	out := Request{Kind: "tls"}
	for len(r.b) >= 4 {
		kind, n := r.number(2), r.number(2)
		body := &reader{b: r.take(n)}
		if r.fail {
			break
		}
		if kind != 0 {
			continue
		}
		body.number(2) // length of the list
		if body.number(1) != 0 {
			break
		}
		out.Host = text(string(body.take(body.number(2))), maxHost)
		break
	}
	return out, true
}
