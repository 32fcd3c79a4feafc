// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write the golden files")

// golden is one stream with a frame of most kinds: a change of its bytes
// breaks recordings and probes of other versions.
func golden() []*Frame {
	return []*Frame{
		{TimeNs: 1, Body: &Frame_Hello{&Hello{
			Version: 1, Program: "ebpol-probe v0.1.0", Node: "n1", Kernel: "6.18.0", BootOffsetNs: 5, Instance: "abc", Generation: 7,
			Features: []*Feature{{Name: "tcx", Present: true}, {Name: "btf", Why: "no /sys/kernel/btf/vmlinux: drops have no names"}},
		}}},
		{Seq: 1, Ack: 2, TimeNs: 2, Body: &Frame_EndpointStates{&EndpointStates{States: []*EndpointState{{Id: 3, Attached: true, Device: "eth0", Hook: "tcx", AfterNs: 1000}}}}},
		{Seq: 2, TimeNs: 3, Body: &Frame_Flows{&Flows{Flows: []*Flow{{
			Id: 9, Kind: Flow_NEW, Endpoint: 3, Direction: 1, Protocol: 6, LocalIp: []byte{10, 0, 0, 1}, PeerIp: []byte{10, 0, 0, 2}, LocalPort: 80, PeerPort: 40000,
			Set: 4, Verdict: 1, Bit: 2, Candidate: 2, CandidateBit: 5, PacketsIn: 1, BytesIn: 60, FirstNs: 11, LastNs: 12, TcpFlags: 2,
		}}}}},
		{Seq: 3, TimeNs: 4, Body: &Frame_Drops{&Drops{
			Drops:  []*Drop{{TimeNs: 13, Reason: 7, ReasonName: "NETFILTER_DROP", Location: "nft_do_chain+0x1", Src: []byte{10, 0, 0, 2}, Dst: []byte{10, 0, 0, 1}, Dport: 80}},
			Counts: []*DropCount{{ReasonName: "NETFILTER_DROP", Packets: 4}},
		}}},
		{Seq: 4, TimeNs: 5, Body: &Frame_Applied{&Applied{Generation: 8, TookNs: 99}}},
		{TimeNs: 6, Body: &Frame_Heartbeat{&Heartbeat{Loss: &Loss{Thinned: 3}}}},
		{TimeNs: 7, Body: &Frame_Bye{&Bye{Reason: "the session ended"}}},
		{Node: "n1", TimeNs: 8, Body: &Frame_World{&World{Reset_: true, Pods: []*Pod{{Namespace: "shop", Name: "web", Endpoint: 3, Ips: [][]byte{{10, 0, 0, 1}}}}, Scope: []string{"shop"}}}},
	}
}

func encode(t testing.TB, frames []*Frame) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for _, f := range frames {
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Written(); got != uint64(buf.Len()) {
		t.Errorf("Written() = %d, wrote %d", got, buf.Len())
	}
	return buf.Bytes()
}

func TestGoldenBytes(t *testing.T) {
	got := encode(t, golden())
	path := filepath.Join("testdata", "stream.hex")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(hex.Dump(got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if hex.Dump(got) != string(want) {
		t.Errorf("the bytes of the wire changed: recordings and probes of other versions would break.\nIf a field was only added, run go test ./pkg/wire -update\n%s", hex.Dump(got))
	}
	r := NewReader(bytes.NewReader(got))
	for i, f := range golden() {
		g, err := r.Read()
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if !proto.Equal(f, g) {
			t.Errorf("frame %d: read %v, wrote %v", i, g, f)
		}
	}
	if _, err := r.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want EOF", err)
	}
	if r.Offset() != uint64(len(got)) {
		t.Errorf("Offset() = %d, want %d", r.Offset(), len(got))
	}
}

func TestUnknownFramesAndFieldsAreSkipped(t *testing.T) {
	// A frame of kind 499 and one with an unknown field, as a later version would send.
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, 41)
	b = protowire.AppendTag(b, 499, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte("of the future"))
	stream := protowire.AppendVarint(nil, uint64(len(b)))
	stream = append(stream, b...)
	known, err := proto.Marshal(&Frame{Seq: 42, Body: &Frame_Bye{&Bye{Reason: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	known = protowire.AppendTag(known, 600, protowire.VarintType)
	known = protowire.AppendVarint(known, 1)
	stream = protowire.AppendVarint(stream, uint64(len(known)))
	stream = append(stream, known...)

	r := NewReader(bytes.NewReader(stream))
	f, err := r.Read()
	if err != nil || f.GetBody() != nil || f.GetSeq() != 41 {
		t.Errorf("unknown kind: %v, %v; want seq 41 without a body", f, err)
	}
	f, err = r.Read()
	if err != nil || f.GetBye().GetReason() != "x" {
		t.Errorf("unknown field: %v, %v", f, err)
	}
}

func TestHostileStreams(t *testing.T) {
	whole := encode(t, golden()[:1])
	empties := func(n int) []byte { // a frame of n empty flows
		inner := bytes.Repeat([]byte{0x0a, 0}, n)
		b := protowire.AppendTag(nil, 31, protowire.BytesType)
		b = protowire.AppendBytes(b, inner)
		return append(protowire.AppendVarint(nil, uint64(len(b))), b...)
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"empty":              {nil, io.EOF},
		"cut in the length":  {[]byte{0x80}, io.ErrUnexpectedEOF},
		"cut in the frame":   {whole[:len(whole)-1], io.ErrUnexpectedEOF},
		"only a length":      {[]byte{5}, io.ErrUnexpectedEOF},
		"length of 1 GiB":    {[]byte{0x80, 0x80, 0x80, 0x80, 0x04}, ErrMalformed},
		"length without end": {bytes.Repeat([]byte{0xff}, 20), ErrMalformed},
		"not protobuf":       {[]byte{3, 0xff, 0xff, 0xff}, ErrMalformed},
		"bad text":           {[]byte{4, 0x22, 2, 0xc3, 0x28}, ErrMalformed},
		"many empty flows":   {empties(MaxItems + 1), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewReader(bytes.NewReader(c.in)).Read(); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if f, err := NewReader(bytes.NewReader(empties(MaxItems - 1))).Read(); err != nil || len(f.GetFlows().GetFlows()) != MaxItems-1 {
		t.Errorf("as many as allowed: %v", err)
	}
}

func TestTooLargeFrameLeavesTheStreamIntact(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	var large *TooLargeError
	if err := w.Write(&Frame{Node: strings.Repeat("x", MaxFrame)}); !errors.As(err, &large) || large.What != "bytes" {
		t.Fatalf("got %v, want a TooLargeError of bytes", err)
	}
	if err := w.Write(&Frame{Seq: 1}); err != nil {
		t.Fatal(err)
	}
	if f, err := NewReader(&buf).Read(); err != nil || f.GetSeq() != 1 {
		t.Errorf("next frame: %v, %v", f, err)
	}
}

// FuzzReader feeds bytes to the decoder. Whatever it accepts must be written
// and read again as the same frame.
func FuzzReader(f *testing.F) {
	f.Add(encode(f, golden()))
	for _, g := range golden() {
		f.Add(encode(f, []*Frame{g}))
	}
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x04})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		var d WorldDecoder
		var j DeltaJoiner
		for {
			fr, err := r.Read()
			if err != nil {
				return
			}
			var buf bytes.Buffer
			if err := NewWriter(&buf).Write(fr); err != nil {
				if _, large := errors.AsType[*TooLargeError](err); !large { // what was shortest may be written longer
					t.Fatalf("read but not written: %v", err)
				}
				continue
			}
			again, err := NewReader(&buf).Read()
			if err != nil {
				t.Fatalf("written but not read: %v", err)
			}
			if !proto.Equal(fr, again) {
				t.Fatalf("changed on the way: %v, %v", fr, again)
			}
			if w := fr.GetWorld(); w != nil {
				d.Apply(w)
				_ = d.World()
			}
			if x := fr.GetDelta(); x != nil {
				_, _ = j.Add(x)
			}
			for _, fl := range fr.GetFlows().GetFlows() {
				_, _, _ = fl.Tuple()
			}
			for _, dr := range fr.GetDrops().GetDrops() {
				_, _ = dr.Tuple()
			}
		}
	})
}
