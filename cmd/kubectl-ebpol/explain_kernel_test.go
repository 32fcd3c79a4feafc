// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// pipes is one end of a stream.
type pipes struct {
	io.Reader
	io.WriteCloser
}

// The kernel's answers come back in order, for as many questions as are asked,
// and rules are sent when they change.
func TestKernelJudge(t *testing.T) {
	toProbe, fromPlugin := io.Pipe()
	toPlugin, fromProbe := io.Pipe()
	deltas := 0
	go func() {
		defer fromProbe.Close()
		r, w := wire.NewReader(toProbe), wire.NewWriter(fromProbe)
		for {
			f, err := r.Read()
			switch {
			case err != nil:
				return
			case f.GetDelta() != nil:
				deltas++
			default:
				for _, q := range f.GetFlows().GetFlows() {
					q.Set, q.Verdict, q.Bit = q.GetPeerPort(), uint32(flow.Deny), 3
				}
				if w.Write(f) != nil {
					return
				}
			}
		}
	}()
	j := &kernelJudge{r: wire.NewReader(toPlugin), w: wire.NewWriter(fromPlugin), stream: pipes{toPlugin, fromPlugin}}
	web := gen.Shop().Pods["shop/web"].IPs[0]
	var packets []ruleset.Packet
	for i := range 3*questionsAFrame + 1 {
		packets = append(packets, ruleset.Packet{Direction: flow.Egress, Protocol: flow.TCP, Local: web, Peer: netip.MustParseAddr("8.8.8.8"), Port: uint16(i)})
	}
	rules := &ruleset.Ruleset{Generation: 9}
	for range 2 {
		out, err := j.Judge(rules, packets)
		if err != nil || len(out) != len(packets) {
			t.Fatalf("%d answers to %d questions: %v", len(out), len(packets), err)
		}
		for i, r := range out {
			if r.Set != ruleset.SetID(i) || r.Current.Verdict != flow.Deny || r.Current.Bit != 2 {
				t.Fatalf("answer %d is %+v", i, r)
			}
		}
	}
	if deltas != 1 {
		t.Errorf("rules were sent %d times", deltas)
	}
	fromPlugin.Close()
	if _, err := j.Judge(rules, packets[:1]); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}
