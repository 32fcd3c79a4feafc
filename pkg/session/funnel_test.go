// SPDX-License-Identifier: Apache-2.0

package session

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

func flowsFrame(node string, list ...*wire.Flow) *wire.Frame {
	return &wire.Frame{Node: node, Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}}}
}

// TestSlowConsumer fills the queue while nobody reads, then reads: memory is
// bounded, no connection loses its name, its newest totals or its end, and
// what is missing is counted.
func TestSlowConsumer(t *testing.T) {
	f := newFunnel()
	const conns, rounds = 30_000, 5
	for id := uint64(1); id <= conns; id++ {
		f.put(flowsFrame("n1", newFlow(id, 1)))
	}
	for round := uint64(1); round <= rounds; round++ {
		for id := uint64(1); id <= conns; id++ {
			kind := wire.Flow_COUNTERS
			switch {
			case round == 2 && id%5 == 0:
				kind = wire.Flow_VERDICT
			case round == rounds && id%3 == 0:
				kind = wire.Flow_CLOSE
			}
			f.put(flowsFrame("n1", &wire.Flow{Id: id, Kind: kind, PacketsIn: id + round}))
		}
		drops := &wire.Drops{Counts: []*wire.DropCount{{ReasonName: "X", Packets: round}}}
		for range 1000 {
			drops.Drops = append(drops.Drops, &wire.Drop{Weight: 2})
		}
		f.put(&wire.Frame{Node: "n1", Body: &wire.Frame_Drops{Drops: drops}})
		f.put(&wire.Frame{Node: "n1", Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{Thinned: 5}}}})
	}
	if f.waiting > maxWaiting+1000 || len(f.queue) > maxWaiting+maxFrames {
		t.Errorf("%d flows and drops wait in %d frames", f.waiting, len(f.queue))
	}

	last, named, closed := map[uint64]uint64{}, map[uint64]bool{}, map[uint64]bool{}
	var count uint64
	samples := uint64(0)
	for fr := f.take(); fr != nil; fr = f.take() {
		for _, fl := range fr.GetFlows().GetFlows() {
			id := fl.GetId()
			if closed[id] {
				t.Fatalf("flow %d after its end", id)
			}
			named[id] = named[id] || fl.GetEndpoint() != 0
			last[id], closed[id] = fl.GetPacketsIn(), fl.GetKind() == wire.Flow_CLOSE
		}
		samples += uint64(len(fr.GetDrops().GetDrops()))
		for _, c := range fr.GetDrops().GetCounts() {
			count = max(count, c.GetPackets())
		}
	}
	for id := uint64(1); id <= conns; id++ {
		if !named[id] || last[id] != id+rounds || closed[id] != (id%3 == 0) {
			t.Fatalf("flow %d: named %v, totals %d of %d, closed %v", id, named[id], last[id], id+rounds, closed[id])
		}
	}
	if count != rounds {
		t.Errorf("the newest drop count is %d, want %d", count, rounds)
	}
	if f.waiting != 0 || len(f.merged) != 0 || len(f.counts) != 0 {
		t.Errorf("left over: %d waiting, %d merged, %d counts", f.waiting, len(f.merged), len(f.counts))
	}
	f.put(&wire.Frame{Node: "n1", Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{Thinned: 5}}}})
	const dropped = 2 * 1000 * rounds // by weight
	if told := f.take().GetHeartbeat().GetLoss().GetThinned(); told < 5+dropped-2*samples || told != 5+f.lost["n1"] {
		t.Errorf("%d lost, %d told, %d samples came", f.lost["n1"], told, samples)
	}
}

func TestDNSThatEnforcementWouldCut(t *testing.T) {
	dns := netip.MustParseAddr("10.96.0.10")
	web := pod("shop", "web", "n1", "10.0.0.1")
	w := worldOf(web, &identity.Pod{Namespace: "shop", Name: "gone", IPs: web.IPs, Done: true})
	w.ClusterDNS = []netip.Addr{dns, netip.MustParseAddr("fd96::10")}
	var deny, none ruleset.Bitmap
	deny.Add(0)
	for name, c := range map[string]struct {
		current, enforced ruleset.Bitmap
		want              int
	}{
		"cut":           {none, deny, 1},
		"not enforced":  {none, none, 0},
		"is cut anyway": {deny, deny, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := &ruleset.Ruleset{
				Sets:      []ruleset.Set{{ID: 1, Always: deny, Deny: deny, BaselineStart: 1, Current: c.current, Enforced: c.enforced}},
				Endpoints: []ruleset.Endpoint{{IP: web.IPs[0], ID: 1, Egress: 1}},
			}
			got := vitalsOf(w).withoutDNS(map[string]*ruleset.Pages{"n1": r.Pages()}, w)
			if len(got) != c.want || c.want == 1 && got[0] != "shop/web" {
				t.Errorf("got %v", got)
			}
		})
	}
}
