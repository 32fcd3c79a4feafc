// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// A datagram may answer one that left before the pod was watched. Port 80 is
// allowed both ways, and nothing else is.
func TestAnswersToWhatNobodySaw(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	look := func(when string, way flow.Direction, local, peer uint16, verdict flow.Verdict, direction flow.Direction, guess bool) {
		t.Helper()
		for _, end := range [][2]netip.Addr{{local4, peer4}, {local6, peer6}} {
			from, to, sport, dport := end[0], end[1], local, peer
			if way == flow.Ingress {
				from, to, sport, dport = end[1], end[0], peer, local
			}
			run(t, k, way, packet(from, to, flow.UDP, datagram(sport, dport)))
			c := conn(t, k, end[0], flow.UDP, local, peer)
			if got := flow.Verdict(c.Judgement.Verdict); got != verdict {
				t.Errorf("%s, %s: %s, want %s", when, end[0], got, verdict)
			}
			if got := flow.Direction(c.Direction); got != direction {
				t.Errorf("%s, %s: seen as %s, want %s", when, end[0], got, direction)
			}
			if got := c.Flags&uint16(bpf.FlowConnFlagsCONN_OPENER_UNKNOWN) != 0; got != guess {
				t.Errorf("%s, %s: a guess: %t, want %t", when, end[0], got, guess)
			}
		}
	}
	look("long watched, from the lower port", flow.Ingress, 1000, 80, flow.Deny, flow.Ingress, false)

	if err := k.Watch(map[netip.Addr]ruleset.EndpointID{local4: 1, local6: 1}); err != nil {
		t.Fatal(err)
	}
	look("it may be an answer", flow.Ingress, 1001, 80, flow.Allow, flow.Egress, true)
	look("it may be an answer of the pod's", flow.Egress, 80, 1002, flow.Allow, flow.Ingress, true)
	look("whoever asked, it is denied", flow.Ingress, 1003, 81, flow.Deny, flow.Egress, true)
	look("from the higher port", flow.Ingress, 81, 1004, flow.Deny, flow.Ingress, false)
	look("a question", flow.Egress, 1005, 80, flow.Allow, flow.Egress, false)
	look("from the same port", flow.Ingress, 123, 123, flow.Deny, flow.Ingress, false)

	if err := k.Watch(nil); err != nil {
		t.Fatal(err)
	}
	look("nobody watches any more", flow.Ingress, 1006, 80, flow.Deny, flow.Ingress, false)
}
