// SPDX-License-Identifier: Apache-2.0

package ruleset_test

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	. "github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

func bitmap(bits ...int) (b Bitmap) {
	for _, i := range bits {
		b.Add(i)
	}
	return b
}

var all = Bitmap{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// world is one set of every kind of bit: 0 admin deny, 1 admin pass, 2 admin
// allow, 3 allow rule, 100 default deny, 200 baseline deny.
func world() *Ruleset {
	ip := netip.MustParseAddr
	return &Ruleset{
		Generation: 1,
		Sets: []Set{{
			ID: 7, Always: bitmap(100), Deny: bitmap(0, 100, 200), Pass: bitmap(1), AdminEnd: 3, IsolateStart: 100, BaselineStart: 101,
			Ranges: true, Current: all, Candidate: bitmap(3, 200), Enforced: bitmap(0, 1, 2, 3),
		}},
		Endpoints: []Endpoint{{IP: ip("10.0.0.1"), ID: 1, Ingress: 7, Egress: 7}, {IP: ip("10.0.0.9"), ID: 2}},
		Peers: []Peer{
			{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Class: 1},
			{Prefix: netip.MustParsePrefix("10.0.0.2/32"), Class: 2},
			{Prefix: netip.MustParsePrefix("10.0.0.3/32"), Class: 3},
			{Prefix: netip.MustParsePrefix("10.0.0.4/32"), Class: 4, Flags: PeerNode | PeerLocalNode},
			{Prefix: netip.MustParsePrefix("10.0.0.5/32"), Class: 5},
		},
		Services: []Service{
			{IP: ip("10.96.0.1"), Protocol: 6, Port: 80, Class: 10},
			{IP: ip("10.96.0.2"), Protocol: 6, Port: 80, Class: 11},
		},
		Ports:      []Port{{Set: 7, Class: 9}, {Set: 7, Protocol: 6, Class: 8}, {Set: 7, Protocol: 6, Port: 80, Class: 1}},
		PortRanges: []PortRange{{Set: 7, Protocol: 6, Port: 8192, Bits: 3, Class: 2}, {Set: 7, Protocol: 6, Port: 8192, Bits: 16, Class: 3}},
		Matches: []Match{
			{Set: 7, Peer: 1, Ports: 1, Bits: bitmap(3), Alt: bitmap(3)},
			{Set: 7, Peer: 1, Ports: 2, Bits: bitmap(0, 3), Alt: bitmap(0, 3)},
			{Set: 7, Peer: 1, Ports: 3, Bits: bitmap(2), Alt: bitmap(2)},
			{Set: 7, Peer: 1, Ports: 8, Bits: bitmap(200), Alt: bitmap(200)},
			{Set: 7, Peer: 2, Ports: 1, Bits: bitmap(1, 2, 3, 200), Alt: bitmap(1, 2, 3, 200)},
			{Set: 7, Peer: 3, Ports: 1, Bits: bitmap(3), Alt: Bitmap{}},
			{Set: 7, Peer: 5, Ports: 9, Bits: bitmap(0), Alt: bitmap(0)},
			{Set: 7, Peer: 10, Ports: ServicePorts, Bits: bitmap(3), Alt: bitmap(3)},
			{Set: 7, Peer: 11, Ports: ServicePorts, Bits: bitmap(0), Alt: bitmap(0), Open: Current | Candidate},
		},
	}
}

func TestJudge(t *testing.T) {
	r := world()
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	table := NewTable(r)
	judged := func(v flow.Verdict, bit int) Judgement { return Judgement{Verdict: v, Bit: bit} }
	contested := func(bit int, alt flow.Verdict) Judgement {
		return Judgement{Verdict: flow.Contested, Bit: bit, Alt: alt}
	}
	for _, c := range []struct {
		name      string
		direction flow.Direction
		protocol  flow.Protocol
		local     string
		peer      string
		port      uint16
		want      Result
	}{
		{"unknown endpoint", flow.Egress, flow.TCP, "10.0.0.8", "10.1.1.1", 80, Result{0, judged(flow.Allow, -1), judged(flow.Allow, -1), false, false}},
		{"set 0", flow.Egress, flow.TCP, "10.0.0.9", "10.1.1.1", 80, Result{0, judged(flow.Allow, -1), judged(flow.Allow, -1), false, false}},
		{"own address", flow.Egress, flow.TCP, "10.0.0.1", "10.0.0.1", 81, Result{7, judged(flow.Allow, -1), judged(flow.Allow, -1), false, false}},
		{"own node comes in", flow.Ingress, flow.TCP, "10.0.0.1", "10.0.0.4", 81, Result{7, judged(flow.Allow, -1), judged(flow.Allow, -1), false, false}},
		{"out to own node is judged", flow.Egress, flow.TCP, "10.0.0.1", "10.0.0.4", 81, Result{7, judged(flow.Deny, 100), judged(flow.Allow, -1), false, false}},
		{"allow rule before default deny", flow.Ingress, flow.TCP, "10.0.0.1", "10.1.1.1", 80, Result{7, judged(flow.Allow, 3), judged(flow.Allow, 3), false, false}},
		{"range, admin deny wins", flow.Ingress, flow.TCP, "10.0.0.1", "10.1.1.1", 9000, Result{7, judged(flow.Deny, 0), judged(flow.Allow, 3), true, false}},
		{"longer range wins", flow.Ingress, flow.TCP, "10.0.0.1", "10.1.1.1", 8192, Result{7, judged(flow.Allow, 2), judged(flow.Allow, -1), false, false}},
		{"other port of the protocol, baseline denies the candidate", flow.Ingress, flow.TCP, "10.0.0.1", "10.1.1.1", 5, Result{7, judged(flow.Deny, 100), judged(flow.Deny, 200), false, false}},
		{"pass leaves the admin tier", flow.Ingress, flow.TCP, "10.0.0.1", "10.0.0.2", 80, Result{7, judged(flow.Allow, 3), judged(flow.Allow, 3), false, false}},
		{"two readings", flow.Ingress, flow.TCP, "10.0.0.1", "10.0.0.3", 80, Result{7, contested(3, flow.Deny), judged(flow.Allow, 3), false, false}},
		{"no class: default deny", flow.Ingress, flow.UDP, "10.0.0.1", "192.168.0.1", 53, Result{7, judged(flow.Deny, 100), judged(flow.Allow, -1), false, false}},
		{"ICMP by default deny is contested", flow.Ingress, flow.ICMP, "10.0.0.1", "192.168.0.1", 0, Result{7, contested(100, flow.Deny), judged(flow.Allow, -1), false, false}},
		{"ICMP by an admin deny is denied", flow.Ingress, flow.ICMP, "10.0.0.1", "10.0.0.5", 0, Result{7, judged(flow.Deny, 0), judged(flow.Allow, -1), true, false}},
		{"service", flow.Egress, flow.TCP, "10.0.0.1", "10.96.0.1", 80, Result{7, judged(flow.Allow, 3), judged(flow.Allow, 3), false, true}},
		{"service from outside isn't one", flow.Ingress, flow.TCP, "10.0.0.1", "10.96.0.1", 80, Result{7, judged(flow.Allow, 3), judged(flow.Allow, 3), false, false}},
		{"left open in both modes, enforcement denies", flow.Egress, flow.TCP, "10.0.0.1", "10.96.0.2", 80, Result{7, contested(0, flow.Allow), contested(-1, flow.Deny), true, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := table.Judge(Packet{c.direction, c.protocol, netip.MustParseAddr(c.local), netip.MustParseAddr(c.peer), c.port})
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}
