// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/ebpol/kubectl-ebpol/bpf"
)

// TestLayouts compares each type that both sides use, byte by byte, as Go lays
// it out and as the object's BTF says that C did.
func TestLayouts(t *testing.T) {
	flow, err := bpf.LoadFlow()
	if err != nil {
		t.Fatal(err)
	}
	drop, err := bpf.LoadDrop()
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"conn4_key": bpf.FlowConn4Key{}, "conn6_key": bpf.FlowConn6Key{}, "conn": bpf.FlowConn{}, "seat": bpf.FlowSeat{}, "judgement": bpf.FlowJudgement{},
		"event": bpf.FlowEvent{}, "opening": bpf.FlowOpening{}, "head": bpf.FlowHead{}, "icmp_error": bpf.FlowIcmpError{}, "counts": bpf.FlowCounts{}, "addr": bpf.FlowAddr{}, "endpoint": bpf.FlowEndpoint{}, "peer": bpf.FlowPeer{},
		"cidr4_key": bpf.FlowCidr4Key{}, "cidr6_key": bpf.FlowCidr6Key{}, "service_key": bpf.FlowServiceKey{}, "service": bpf.FlowService{},
		"port_key": bpf.FlowPortKey{}, "range_key": bpf.FlowRangeKey{}, "match_key": bpf.FlowMatchKey{}, "match": bpf.FlowMatch{},
		"bitmap": bpf.FlowBitmap{}, "set": bpf.FlowSet{},
	} {
		compare(t, flow.Types, name, v)
	}
	for name, v := range map[string]any{
		"drop_event": bpf.DropDropEvent{}, "drop_key": bpf.DropDropKey{}, "drop_count": bpf.DropDropCount{}, "drop_losses": bpf.DropDropLosses{},
	} {
		compare(t, drop.Types, name, v)
	}
}

func compare(t *testing.T, spec *btf.Spec, name string, v any) {
	t.Helper()
	var c *btf.Struct
	if err := spec.TypeByName(name, &c); err != nil {
		t.Error(err)
		return
	}
	goType := reflect.TypeOf(v)
	if uintptr(c.Size) != goType.Size() {
		t.Errorf("%s: %d bytes in C, %d in Go", name, c.Size, goType.Size())
	}
	for _, m := range c.Members {
		var camel strings.Builder
		for part := range strings.SplitSeq(m.Name, "_") {
			camel.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
		f, ok := goType.FieldByName(camel.String())
		if !ok {
			t.Errorf("%s.%s: not in Go", name, m.Name)
			continue
		}
		if uintptr(m.Offset.Bytes()) != f.Offset {
			t.Errorf("%s.%s: at %d in C, at %d in Go", name, m.Name, m.Offset.Bytes(), f.Offset)
		}
	}
}
