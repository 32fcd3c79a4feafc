// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// sized makes the frame's IP header say how long the packet is.
func sized(frame []byte) []byte {
	n := len(frame) - 14
	if frame[14]>>4 == 4 {
		frame[16], frame[17] = byte(n>>8), byte(n)
	} else {
		frame[18], frame[19] = byte((n-40)>>8), byte(n-40)
	}
	return frame
}

func message(src, dst netip.Addr, sport, dport uint16, flags byte, payload []byte) []byte {
	return sized(packet(src, dst, flow.TCP, append(segment(sport, dport, flags), payload...)))
}

func question(src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	return sized(packet(src, dst, flow.UDP, append(datagram(sport, dport)[:8], payload...)))
}

// read is the heads and records that are in the ring.
func read(t *testing.T, k *kernel.Kernel, n int) (heads []kernel.Head, records []kernel.Record) {
	t.Helper()
	e, err := k.Events()
	if err != nil {
		t.Fatal(err)
	}
	e.Heads(func(h *kernel.Head) {
		c := *h
		c.Data = bytes.Clone(h.Data)
		heads = append(heads, c)
	})
	// What is in the ring is read before the reader waits, and idle closes it.
	err = e.Follow(func(r *kernel.Record) { records = append(records, *r) }, func() time.Duration { e.Close(); return 0 })
	if err != nil {
		t.Fatal(err)
	}
	if len(heads) != n {
		t.Fatalf("%d heads, want %d: %+v", len(heads), n, heads)
	}
	return heads, records
}

func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return b
}

// TestHeads reads what may be read, whole up to its limit, and once.
func TestHeads(t *testing.T) {
	const in, out = flow.Ingress, flow.Egress
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	if err := k.ReadHeads(true); err != nil {
		t.Fatal(err)
	}
	hello, long, reply := []byte("GET / HTTP/1.1\r\n\r\n"), text(1400), []byte("HTTP/1.1 200 OK")
	type step struct {
		d     flow.Direction
		frame []byte
	}
	// pieces are what one opener sends, heads what is read of it.
	pieces := func(port uint16, list ...[]byte) []step {
		steps := []step{{out, message(local4, peer4, port, 80, syn, nil)}}
		for _, b := range list {
			steps = append(steps, step{out, message(local4, peer4, port, 80, ack, b)}, step{in, message(peer4, local4, 80, port, ack, reply)})
		}
		return steps
	}
	heads := func(list ...[]byte) (out []kernel.Head) {
		for _, b := range list {
			out = append(out, kernel.Head{Protocol: flow.TCP, Egress: true, Opener: true, Length: len(b), Data: b})
		}
		return out
	}
	preface, settings := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []byte{0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100}
	call, tls := []byte{0, 0, 1, 1, 4, 0, 0, 0, 1, 0x82}, append([]byte{0x16, 3, 1, 0, 195}, text(195)...)
	for _, c := range []struct {
		name  string
		steps []step
		want  []kernel.Head // Data, Egress, Opener, Length, Protocol
	}{
		{"a request", []step{
			{out, message(local4, peer4, 1000, 80, syn, nil)},
			{in, message(peer4, local4, 80, 1000, syn|ack, nil)},
			{out, message(local4, peer4, 1000, 80, ack, nil)},
			{out, message(local4, peer4, 1000, 80, ack, hello)},
			{in, message(peer4, local4, 80, 1000, ack, reply)},
			{out, message(local4, peer4, 1000, 80, ack, hello)},
		}, []kernel.Head{{Protocol: flow.TCP, Egress: true, Opener: true, Length: len(hello), Data: hello}}},
		{"the other end asks, IPv6", []step{
			{in, message(peer6, local6, 1000, 80, syn, nil)},
			{out, message(local6, peer6, 80, 1000, syn|ack, nil)},
			{out, message(local6, peer6, 80, 1000, ack, reply)},
			{in, message(peer6, local6, 1000, 80, ack, long)},
		}, []kernel.Head{{Protocol: flow.TCP, Opener: true, Length: 1400, Data: long[:1024]}}},
		{"with the SYN", []step{
			{out, message(local4, peer4, 1001, 80, syn, hello)}, {out, message(local4, peer4, 1001, 80, ack, reply)},
		}, []kernel.Head{{Protocol: flow.TCP, Egress: true, Opener: true, Length: len(hello), Data: hello}}},
		{"mid-stream", []step{{out, message(local4, peer4, 1002, 80, ack, hello)}}, nil},
		{"names over UDP, all of them", []step{
			{out, question(local4, peer4, 1003, 53, text(256))},
			{in, question(peer4, local4, 53, 1003, text(257))},
			{out, question(local4, peer4, 1003, 53, text(1))},
		}, []kernel.Head{
			{Protocol: flow.UDP, Egress: true, Opener: true, Length: 256, Data: text(256)},
			{Protocol: flow.UDP, Length: 257, Data: text(257)},
			{Protocol: flow.UDP, Egress: true, Opener: true, Length: 1, Data: text(1)},
		}},
		{"a server of names, IPv6", []step{
			{in, question(peer6, local6, 1004, 53, hello)}, {out, question(local6, peer6, 53, 1004, reply)},
		}, []kernel.Head{
			{Protocol: flow.UDP, Opener: true, Length: len(hello), Data: hello},
			{Protocol: flow.UDP, Egress: true, Length: len(reply), Data: reply},
		}},
		{"names over TCP", []step{
			{out, message(local4, peer4, 1005, 53, syn, nil)},
			{out, message(local4, peer4, 1005, 53, ack, hello)},
			{in, message(peer4, local4, 53, 1005, ack, reply)},
			{in, message(peer4, local4, 53, 1005, ack, reply)},
		}, []kernel.Head{
			{Protocol: flow.TCP, Egress: true, Opener: true, Length: len(hello), Data: hello},
			{Protocol: flow.TCP, Length: len(reply), Data: reply},
		}},
		{"other UDP", []step{{out, question(local4, peer4, 1006, 80, hello)}, {in, question(peer4, local4, 80, 1006, reply)}}, nil},
		{"a request in two pieces", pieces(1010, hello[:8], hello[8:], hello), heads(hello[:8], hello[8:])},
		{"a request in too many pieces", pieces(1011, hello[:4], hello[4:5], hello[5:6], hello[6:7], hello[7:]), heads(hello[:4], hello[4:5], hello[5:6], hello[6:7])},
		{"a body follows", pieces(1012, []byte("POST /a HTTP/1.1\r\nHost: b\r\n\r\nsecret"), long), heads([]byte("POST /a HTTP/1.1\r\nHost: b\r\n\r\nsecret"))},
		{"a long head", pieces(1013, append([]byte("GET "), long...), long, hello, long), []kernel.Head{
			{Protocol: flow.TCP, Egress: true, Opener: true, Length: 1404, Data: append([]byte("GET "), long[:1020]...)},
			{Protocol: flow.TCP, Egress: true, Opener: true, Length: 1400, Data: long[:1024]},
			{Protocol: flow.TCP, Egress: true, Opener: true, Length: len(hello), Data: hello},
		}},
		{"gRPC, settings first", pieces(1014, slices.Concat(preface, settings), settings, slices.Concat(settings, call), call), heads(slices.Concat(preface, settings), settings, slices.Concat(settings, call))},
		{"gRPC, at once", pieces(1015, slices.Concat(preface, settings, call), call), heads(slices.Concat(preface, settings, call))},
		{"TLS in two pieces", pieces(1016, tls[:100], tls[100:], long, long, long), heads(tls[:100], tls[100:])},
		{"TLS, whole", pieces(1017, tls, long), heads(tls)},
		{"no request", pieces(1018, []byte("ssh"), long), heads([]byte("ssh"))},
		{"padding is no payload", []step{
			{out, message(local4, peer4, 1007, 80, syn, nil)}, {out, append(message(local4, peer4, 1007, 80, ack, nil), 0, 0, 0, 0, 0, 0)},
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k.Forget(t)
			for _, s := range c.steps {
				run(t, k, s.d, s.frame)
			}
			got, records := read(t, k, len(c.want))
			for i, w := range c.want {
				g := got[i]
				if g.Protocol != w.Protocol || g.Egress != w.Egress || g.Opener != w.Opener || g.Length != w.Length || !bytes.Equal(g.Data, w.Data) {
					t.Errorf("head %d: got %+v, want %+v", i, g, w)
				}
				r := records[0]
				if g.Conn != r.Conn.Id || g.Endpoint != 1 || g.Local != netip.AddrPortFrom(r.Local, r.LocalPort) || g.Peer != netip.AddrPortFrom(r.Peer, r.PeerPort) || g.Time < r.Time {
					t.Errorf("head %d: %+v isn't of %+v", i, g, r)
				}
			}
		})
	}
}

// TestHeadsOff reads nothing before it is asked to, nothing any more after it
// was asked not to, and of connections that were open only what asks for names.
func TestHeadsOff(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	var want [][]byte
	step := func(on bool, expect bool, payload string, frame func([]byte) []byte) {
		t.Helper()
		if err := k.ReadHeads(on); err != nil {
			t.Fatal(err)
		}
		run(t, k, flow.Egress, frame([]byte(payload)))
		if expect {
			want = append(want, []byte(payload))
		}
	}
	tcp := func(port uint16, flags byte) func([]byte) []byte {
		return func(b []byte) []byte { return message(local4, peer4, port, 80, flags, b) }
	}
	udp := func(b []byte) []byte { return question(local4, peer4, 2000, 53, b) }
	step(false, false, "", tcp(1000, syn))
	step(false, false, "off", tcp(1000, ack))
	step(false, false, "off", udp)
	step(true, false, "open already", tcp(1000, ack))
	step(true, true, "a name", udp)
	step(true, false, "", tcp(1001, syn))
	step(false, false, "off again", tcp(1001, ack))
	step(false, false, "off again", udp)
	step(true, true, "another name", udp)
	heads, _ := read(t, k, len(want))
	for i, h := range heads {
		if !bytes.Equal(h.Data, want[i]) {
			t.Errorf("head %d: %q, want %q", i, h.Data, want[i])
		}
	}
}

// TestHeadsLimit counts what is too much.
func TestHeadsLimit(t *testing.T) {
	k := open(t, kernel.Options{Heads: 10})
	load(t, k, isolated(1, 1))
	if err := k.ReadHeads(true); err != nil {
		t.Fatal(err)
	}
	const sent = 1000 // on any CPU; takes milliseconds
	for range sent {
		run(t, k, flow.Egress, question(local4, peer4, 2000, 53, []byte("name")))
	}
	c, err := k.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if c.HeadsLeftOut == 0 || c.HeadsLeftOut >= sent {
		t.Errorf("%d of %d left out", c.HeadsLeftOut, sent)
	}
	read(t, k, sent-int(c.HeadsLeftOut))
}

// TestTimings measures from the first packet to what came back.
func TestTimings(t *testing.T) {
	const in, out = flow.Ingress, flow.Egress
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	run(t, k, out, message(local4, peer4, 1000, 80, syn, nil))
	if c := conn(t, k, local4, flow.TCP, 1000, 80); c.AnswerNs != 0 || c.FirstByteNs != 0 {
		t.Errorf("before an answer: %+v", c)
	}
	run(t, k, in, message(peer4, local4, 80, 1000, syn|ack, nil))
	answered := conn(t, k, local4, flow.TCP, 1000, 80)
	if answered.AnswerNs == 0 || answered.FirstByteNs != 0 {
		t.Errorf("after the handshake: %+v", answered)
	}
	run(t, k, out, message(local4, peer4, 1000, 80, ack, text(10)))
	run(t, k, in, message(peer4, local4, 80, 1000, ack, nil))
	if c := conn(t, k, local4, flow.TCP, 1000, 80); c.FirstByteNs != 0 || c.AnswerNs != answered.AnswerNs {
		t.Errorf("after the request: %+v", c)
	}
	run(t, k, in, message(peer4, local4, 80, 1000, ack, text(10)))
	first := conn(t, k, local4, flow.TCP, 1000, 80)
	if first.FirstByteNs <= first.AnswerNs || first.AnswerNs != answered.AnswerNs {
		t.Errorf("after the first byte: %+v", first)
	}
	run(t, k, in, message(peer4, local4, 80, 1000, ack, text(10)))
	if c := conn(t, k, local4, flow.TCP, 1000, 80); c.FirstByteNs != first.FirstByteNs || c.Packets != [2]uint64{4, 2} {
		t.Errorf("after more: %+v", c)
	}
	// Over UDP one packet is both; what is found in mid-stream has neither.
	run(t, k, in, question(peer6, local6, 1000, 80, text(1)))
	run(t, k, out, question(local6, peer6, 80, 1000, text(1)))
	if c := conn(t, k, local6, flow.UDP, 80, 1000); c.AnswerNs == 0 || c.FirstByteNs != c.AnswerNs {
		t.Errorf("UDP: %+v", c)
	}
	run(t, k, out, message(local4, peer4, 1001, 80, ack, nil))
	run(t, k, in, message(peer4, local4, 80, 1001, ack, text(1)))
	if c := conn(t, k, local4, flow.TCP, 1001, 80); c.AnswerNs != 0 || c.FirstByteNs != 0 {
		t.Errorf("mid-stream: %+v", c)
	}
	// Opened anew, it is measured anew.
	run(t, k, in, message(peer4, local4, 80, 1000, rst, nil))
	run(t, k, out, message(local4, peer4, 1000, 80, syn, nil))
	if c := conn(t, k, local4, flow.TCP, 1000, 80); c.AnswerNs != 0 || c.FirstByteNs != 0 {
		t.Errorf("opened anew: %+v", c)
	}
}

// TestICMPErrors tells of each error about a connection once, at once.
func TestICMPErrors(t *testing.T) {
	router4, router6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	icmp := func(from, to netip.Addr, kind, code byte, rest []byte, about []byte) []byte {
		protocol := flow.ICMP
		if from.Is6() {
			protocol = flow.ICMPv6
		}
		return sized(packet(from, to, protocol, slices.Concat([]byte{kind, code, 0, 0}, rest, about[14:])))
	}
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	syn4, ask6 := message(local4, peer4, 1000, 80, syn, nil), question(local6, peer6, 1000, 80, nil)
	asked := question(peer4, local4, 1000, 81, nil)
	run(t, k, flow.Egress, syn4)
	run(t, k, flow.Egress, ask6)
	run(t, k, flow.Ingress, asked)
	steps := []struct {
		d     flow.Direction
		frame []byte
		want  kernel.ICMPError // none: not told
	}{
		{flow.Ingress, icmp(router4, local4, 3, 4, []byte{0, 0, 0x05, 0x14}, syn4), kernel.ICMPError{Type: 3, Code: 4, From: router4, MTU: 1300}},
		{flow.Ingress, icmp(router4, local4, 3, 4, []byte{0, 0, 0x05, 0x14}, syn4), kernel.ICMPError{}},
		{flow.Ingress, icmp(router4, local4, 3, 13, make([]byte, 4), syn4), kernel.ICMPError{Type: 3, Code: 13, From: router4}},
		{flow.Ingress, icmp(router6, local6, 2, 0, []byte{0, 0, 5, 0}, ask6), kernel.ICMPError{Type: 2, From: router6, MTU: 1280}},
		{flow.Egress, icmp(local4, peer4, 3, 3, make([]byte, 4), asked), kernel.ICMPError{Type: 3, Code: 3, From: local4}},
		{flow.Ingress, icmp(router4, local4, 3, 1, make([]byte, 4), message(local4, peer4, 9, 9, syn, nil)), kernel.ICMPError{}},
	}
	for _, s := range steps {
		run(t, k, s.d, s.frame)
	}
	_, records := read(t, k, 0)
	var told []kernel.ICMPError
	for _, r := range records {
		if r.Kind == kernel.Counters && r.Error != nil {
			told = append(told, *r.Error)
		}
	}
	// The record of an error says what is known when it is read: the first
	// connection's two are told twice, as the second of them.
	want := []kernel.ICMPError{steps[2].want, steps[2].want, steps[3].want, steps[4].want}
	if !slices.Equal(told, want) {
		t.Errorf("told %+v, want %+v", told, want)
	}
	n := 0
	if err := k.Scan(true, func(r *kernel.Record) {
		if r.Error != nil {
			n++
		}
	}); err != nil || n != 3 {
		t.Errorf("%d connections have an error, want 3; %v", n, err)
	}
	c, err := k.Counts()
	if err != nil || c.Related != 5 || c.Unrelated != 1 {
		t.Errorf("%+v %v", c, err)
	}
}

// TestTagged judges what carries VLAN tags in its frame as what it is.
func TestTagged(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	tag := func(frame []byte, tags ...uint16) []byte {
		var b []byte
		for _, id := range tags {
			b = append(b, 0x81, 0, byte(id>>8), byte(id))
		}
		return slices.Concat(frame[:12], b, frame[12:])
	}
	for i, f := range [][]byte{
		tag(message(local4, peer4, 1000, 81, syn, nil), 5), tag(message(local4, peer4, 1001, 81, syn, nil), 5, 6),
	} {
		run(t, k, flow.Egress, f)
		if c := conn(t, k, local4, flow.TCP, 1000+uint16(i), 81); c.Judgement.Verdict != uint8(flow.Deny) || c.Packets[1] != 1 {
			t.Errorf("%d: %+v", i, c)
		}
	}
	run(t, k, flow.Egress, tag(message(local6, peer6, 1002, 80, syn, nil), 5))
	if c := conn(t, k, local6, flow.TCP, 1002, 80); c.Judgement.Verdict != uint8(flow.Allow) {
		t.Errorf("IPv6: %+v", c)
	}
	if c, err := k.Counts(); err != nil || c.NotIp != 0 {
		t.Errorf("%+v %v", c, err)
	}
	run(t, k, flow.Egress, tag(message(local4, peer4, 1003, 80, syn, nil), 5, 6, 7))
	if c, err := k.Counts(); err != nil || c.NotIp != 1 {
		t.Errorf("%+v %v", c, err)
	}
}
