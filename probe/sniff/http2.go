// SPDX-License-Identifier: Apache-2.0

package sniff

import (
	"strings"

	"golang.org/x/net/http2/hpack"
)

// preface begins what a client says that knows that its server speaks HTTP/2.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	frameHeaders     = 1
	flagPadded       = 0x8
	flagPriority     = 0x20
	maxTable         = 4096
	maxFramesInFirst = 32
)

// http2 looks for the first HEADERS frame behind the preface.
func http2(b []byte) (out Request, more, ok bool) {
	r := &reader{b: b}
	for range maxFramesInFirst {
		if len(r.b) < 9 {
			return out, true, false
		}
		n, kind, flags := r.number(3), r.number(1), r.number(1)
		r.take(4) // stream
		cut := n > len(r.b)
		payload := r.take(min(n, len(r.b)))
		if kind == frameHeaders {
			out, ok = headers(payload, flags)
			return out, cut && !ok, ok
		}
		if cut {
			return out, true, false
		}
	}
	return out, false, false
}

// headers reads the fields that name the request; the block may be cut short.
func headers(b []byte, flags int) (Request, bool) {
	r := &reader{b: b}
	pad := 0
	if flags&flagPadded != 0 {
		pad = r.number(1)
	}
	if flags&flagPriority != 0 {
		r.take(5)
	}
	if r.fail || pad > len(r.b) {
		return Request{}, false
	}
	block := r.b[:len(r.b)-pad]
	out := Request{Kind: "http"}
	d := hpack.NewDecoder(maxTable, func(f hpack.HeaderField) {
		switch f.Name {
		case ":authority":
			out.Host = text(f.Value, maxHost)
		case ":method":
			out.Method = text(f.Value, 16)
		case ":path":
			out.Path = text(bare(f.Value), maxPath)
		case "content-type":
			if strings.HasPrefix(f.Value, "application/grpc") {
				out.Kind = "grpc"
			}
		}
	})
	d.SetMaxStringLength(4096)
	_, _ = d.Write(block) // what was read before a fault stands
	if out.Path == "" && out.Host == "" {
		return Request{}, false
	}
	return out, true
}
