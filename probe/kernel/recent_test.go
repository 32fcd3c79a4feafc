// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/bpf"
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

// TestForgetsWhatPeersOfAClassAreAnswered opens connections to peers none of
// which was seen before: of each only its class is looked up.
func TestForgetsWhatPeersOfAClassAreAnswered(t *testing.T) {
	k := open(t, kernel.Options{})
	pin(t) // what is remembered is each processor's own
	r := isolated(1, 1)
	r.Peers = []ruleset.Peer{{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Class: 1}, {Prefix: netip.MustParsePrefix("10.8.0.0/16"), Class: 2}}
	r.Matches[0].Peer = 1
	r.Sort()
	load(t, k, r)
	last := byte(0)
	expect := func(when string, subnet byte, port uint16, verdict flow.Verdict, set uint32) {
		t.Helper()
		for range 3 {
			last++
			to := netip.AddrFrom4([4]byte{10, subnet, 0, last})
			run(t, k, flow.Egress, packet(local4, to, flow.TCP, segment(1000, port, syn)))
			c, err := k.Conn(kernel.Existing{Local: local4, Peer: to, LocalPort: 1000, PeerPort: port, Protocol: flow.TCP})
			if err != nil {
				t.Fatal(err)
			}
			if v := flow.Verdict(c.Judgement.Verdict); v != verdict || c.Judgement.Set != set || c.Endpoint != 1 {
				t.Errorf("%s: %v to 10.%d:%d by set %d of endpoint %d, want %v by set %d", when, v, subnet, port, c.Judgement.Set, c.Endpoint, verdict, set)
			}
		}
	}
	expect("one class is allowed", 9, 80, flow.Allow, 1)
	expect("one class is allowed", 8, 80, flow.Deny, 1)
	expect("one class is allowed", 9, 81, flow.Deny, 1)
	expect("one class is allowed", 9, 80, flow.Allow, 1)

	other := isolated(2, 1)
	other.Peers = r.Peers
	other.Matches[0].Peer = 2
	other.Sort()
	load(t, k, other)
	expect("it is the other one", 9, 80, flow.Deny, 1)
	expect("it is the other one", 8, 80, flow.Allow, 1)

	// In the middle of a change: the address has another set already, the epoch
	// is the old one still. What isn't remembered is judged by what there is.
	endpoints := k.Endpoints()
	var local bpf.FlowEndpoint
	at := local4.As16()
	if err := endpoints.Lookup(at[:], &local); err != nil {
		t.Fatal(err)
	}
	local.Egress.Id, local.Egress.Always = 7, bpf.FlowBitmap{}
	if err := endpoints.Put(at[:], &local); err != nil {
		t.Fatal(err)
	}
	expect("the set has just changed", 8, 82, flow.Allow, 7)
}
