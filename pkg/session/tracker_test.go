// SPDX-License-Identifier: Apache-2.0

package session

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Only what is still open can be cut: a client that connects each second must
// not stand in the question before enforcement once for each goodbye.
func TestTrackerForgetsWhatSaidGoodbye(t *testing.T) {
	local, peer := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	set := ruleset.Set{ID: 1, IsolateStart: 0, BaselineStart: 1}
	set.Always.Add(0)
	set.Deny.Add(0)
	set.Candidate.Add(0)
	set.Enforced.Add(0)
	rules := map[string]*ruleset.Pages{"n1": (&ruleset.Ruleset{Sets: []ruleset.Set{set}, Endpoints: []ruleset.Endpoint{{IP: local, ID: 7, Ingress: 1}}}).Pages()}
	opened := func(id uint64, port uint32) *wire.Flow {
		return &wire.Flow{
			Id: id, Kind: wire.Flow_NEW, Endpoint: 7, Direction: uint32(flow.Ingress), Protocol: uint32(flow.TCP),
			LocalIp: local.AsSlice(), LocalPort: 80, PeerIp: peer.AsSlice(), PeerPort: port, TcpFlags: 1 << 1,
		}
	}
	var tr tracker
	tr.note("n1", &wire.Flows{Flows: []*wire.Flow{opened(1, 1001), opened(2, 1002), opened(3, 1003)}})
	if got := tr.cuts(rules); len(got) != 3 {
		t.Fatalf("of three open connections %d would be cut", len(got))
	}
	tr.note("n1", &wire.Flows{Flows: []*wire.Flow{{Id: 1, TcpFlags: 1<<1 | tcpFIN}, {Id: 2, TcpFlags: 1<<1 | tcpRST}}})
	got := tr.cuts(rules)
	if len(got) != 1 || got[0].ID != 3 {
		t.Errorf("after a FIN and a RST %v would be cut, want connection 3 alone", got)
	}
}
