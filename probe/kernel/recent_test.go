// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// TestForgetsWhatNoLongerHolds opens the same kind of connection again and
// again: each is judged by the tables of its moment, however lately one like
// it was judged.
func TestForgetsWhatNoLongerHolds(t *testing.T) {
	k := open(t, kernel.Options{})
	pin(t) // what is remembered is each processor's own
	type answer struct {
		verdict  flow.Verdict
		endpoint uint32
	}
	port := uint16(1000)
	opens := func(flags byte) answer {
		t.Helper()
		port++
		run(t, k, flow.Egress, packet(local4, peer4, flow.TCP, segment(port, 80, flags)))
		c := conn(t, k, local4, flow.TCP, port, 80)
		return answer{flow.Verdict(c.Judgement.Verdict), c.Endpoint}
	}
	expect := func(when string, want answer) {
		t.Helper()
		for range 3 {
			if got := opens(syn); got != want {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
	}
	r := isolated(1, 1)
	load(t, k, r)
	expect("port 80 is allowed", answer{flow.Allow, 1})
	if got := opens(ack); got != (answer{flow.Allow, 1}) {
		t.Errorf("in mid-stream: %+v", got)
	}

	loadWithout(t, k, r)
	expect("nothing is", answer{flow.Deny, 1})

	for _, step := range []struct {
		when string
		ids  map[netip.Addr]ruleset.EndpointID
		want answer
	}{
		{"the address has another owner", map[netip.Addr]ruleset.EndpointID{local4: 7}, answer{flow.Allow, 7}},
		{"the owner is the one that the rules know", map[netip.Addr]ruleset.EndpointID{local4: 1}, answer{flow.Deny, 1}},
		{"nobody watches", nil, answer{flow.Deny, 1}},
	} {
		if err := k.Watch(step.ids); err != nil {
			t.Fatal(err)
		}
		expect(step.when, step.want)
	}
}
