// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// fullFlow has every field of the message, each with a value of its own.
func fullFlow() *Flow {
	return &Flow{
		Id: 1 << 40, Kind: Flow_VERDICT, Endpoint: 3, Direction: 2, Protocol: 6, LocalIp: []byte{10, 0, 0, 1}, PeerIp: make([]byte, 16),
		LocalPort: 443, PeerPort: 65535, Set: 10, Verdict: 2, Bit: 12, Candidate: 1, CandidateBit: 14, Enforced: true, Service: true,
		OpenerUnknown: true, PacketsIn: 18, PacketsOut: 19, BytesIn: 20, BytesOut: 1 << 63, FirstNs: -22, LastNs: 23, TcpFlags: 24,
		BackendIp: []byte{10, 0, 0, 9}, BackendPort: 26, Preexisting: true, CloseReason: "größe", EnforcedPackets: 29, Alt: 30,
		TcpFlagsIn: 31, TcpFlagsOut: 32, AnswerNs: 33, FirstByteNs: 34, Retransmits: 35, IcmpError: &IcmpError{Type: 3, From: []byte{1, 2, 3, 4}},
		Owner: &Owner{Pid: 7, Command: "nginx"}, Request: &Request{Kind: "http", Host: "db"},
	}
}

// TestFlowsAreReadAsTheGenericDecoderReads fails when a field is added to the
// message and not to the reader.
func TestFlowsAreReadAsTheGenericDecoderReads(t *testing.T) {
	full := fullFlow()
	fields := full.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if fd := fields.Get(i); !full.ProtoReflect().Has(fd) {
			t.Errorf("field %q isn't tried", fd.Name())
		}
	}
	f := &Frame{Seq: 5, Ack: 6, TimeNs: -7, Node: "n1", Body: &Frame_Flows{Flows: &Flows{Flows: []*Flow{full, {Id: 2}, {}}}}}
	b, err := proto.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // the second time into memory that was used before
		got := decodeFlows(b)
		if got == nil {
			t.Fatal("left to the generic decoder")
		}
		if !proto.Equal(got, f) {
			t.Fatalf("read %v, want %v", got, f)
		}
		Release(got)
	}
}

// TestReleasedFlowsLeaveNothingBehind reads a bare message into the memory of a
// full one.
func TestReleasedFlowsLeaveNothingBehind(t *testing.T) {
	read := func(flows ...*Flow) *Frame {
		b, err := proto.Marshal(&Frame{Body: &Frame_Flows{Flows: &Flows{Flows: flows}}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := read(fullFlow(), fullFlow(), fullFlow())
	kept := first.GetFlows().GetFlows()[1]
	first.GetFlows().Flows = append(first.GetFlows().Flows[:1], first.GetFlows().Flows[2]) // as one who keeps the second does
	Release(first)
	for i, got := range read(&Flow{Id: 1}, &Flow{Id: 2}, &Flow{Id: 3}, &Flow{Id: 4}).GetFlows().GetFlows() {
		if want := (&Flow{Id: uint64(i + 1)}); !proto.Equal(got, want) { //nolint:gosec // small
			t.Errorf("read %v, want %v", got, want)
		}
		if got == kept {
			t.Error("what was kept was used again")
		}
	}
	if !proto.Equal(kept, fullFlow()) {
		t.Errorf("what was kept became %v", kept)
	}
}

func FuzzFlows(f *testing.F) {
	for _, flows := range [][]*Flow{{}, {{}}, {fullFlow()}, {{Id: 1, CloseReason: "fin"}, fullFlow()}} {
		b, err := proto.Marshal(&Frame{Seq: 1, Node: "n", Body: &Frame_Flows{Flows: &Flows{Flows: flows}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(append(b, 0x20, 0x01)) // the node as a number
	}
	twice, err := proto.Marshal(&Owner{Pid: 1})
	if err != nil {
		f.Fatal(err)
	}
	owner := protowire.AppendBytes(protowire.AppendTag(nil, 37, protowire.BytesType), twice)
	flow := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), append(owner, owner...))
	f.Add(protowire.AppendBytes(protowire.AppendTag(nil, frameFlows, protowire.BytesType), flow))
	f.Fuzz(func(t *testing.T, in []byte) {
		got := decodeFlows(in)
		if got == nil {
			return
		}
		want := new(Frame)
		if err := proto.Unmarshal(in, want); err != nil {
			t.Fatalf("%v was read, but is wrong: %v", got, err)
		}
		if !proto.Equal(got, want) {
			t.Fatalf("read %v, want %v", got, want)
		}
		Release(got)
	})
}

func BenchmarkReadFlows(b *testing.B) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	flows := &Flows{}
	for i := range 250 {
		flows.Flows = append(flows.Flows, &Flow{Id: uint64(i), BytesIn: 1 << 20, PacketsIn: 1000, LastNs: 1 << 50}) //nolint:gosec // small
	}
	if err := w.Write(&Frame{Body: &Frame_Flows{Flows: flows}}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f, err := NewReader(bytes.NewReader(buf.Bytes())).Read()
		if err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		Release(f)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/250, "ns/flow")
}

// TestTooManyFlows holds the reader of flows to the bound of every frame.
func TestTooManyFlows(t *testing.T) {
	inner := bytes.Repeat([]byte{0x0a, 0}, MaxItems+1)
	b := binary.AppendUvarint(protowire.AppendTag(nil, frameFlows, protowire.BytesType), uint64(len(inner)))
	_, err := Decode(append(b, inner...))
	if _, large := errors.AsType[*TooLargeError](err); !large {
		t.Fatalf("got %v, want a frame with too many messages", err)
	}
}
