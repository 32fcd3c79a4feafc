// SPDX-License-Identifier: Apache-2.0

package session

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// A first packet that something else dropped before a pod is judged by the
// pod's rules; answers, our own drops and packets for others are not.
func TestUnseen(t *testing.T) {
	db, web := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")
	first := ruleset.Bitmap{1}
	rules := (&ruleset.Ruleset{
		Generation: 1,
		Sets:       []ruleset.Set{{ID: 7, Always: first, Deny: first, BaselineStart: 1, Current: first}},
		Endpoints:  []ruleset.Endpoint{{IP: db, ID: 1, Ingress: 7}},
	}).Pages()
	drop := func(change func(*wire.Drop)) *wire.Drop {
		d := &wire.Drop{Protocol: uint32(flow.TCP), Src: web.AsSlice(), Dst: db.AsSlice(), Sport: 4000, Dport: 80, TcpFlags: tcpSyn}
		change(d)
		return d
	}
	list := []*wire.Drop{
		drop(func(*wire.Drop) {}),
		drop(func(d *wire.Drop) { d.TcpFlags |= tcpAck }),
		drop(func(d *wire.Drop) { d.Enforced = true }),
		drop(func(d *wire.Drop) { d.Src, d.Dst = d.Dst, d.Src }),
		drop(func(d *wire.Drop) { d.TcpFlags, d.Verdict, d.Set = 0, 2, 9 }), // not for a probe to say
		{ReasonName: "NO_ADDRESSES"},
	}
	var u unseen
	u.judge(rules, &wire.Drops{Drops: list})
	for i, d := range list {
		want := [3]uint32{}
		if i == 0 {
			want = [3]uint32{uint32(flow.Deny), uint32(flow.Allow), 7}
		}
		if got := [3]uint32{d.GetVerdict(), d.GetCandidate(), d.GetSet()}; got != want {
			t.Errorf("drop %d: verdict, candidate and set %v, want %v", i, got, want)
		}
	}
	if list[0].GetBit() != 1 || list[0].GetCandidateBit() != 0 {
		t.Errorf("bits %d and %d", list[0].GetBit(), list[0].GetCandidateBit())
	}
	u.judge(nil, &wire.Drops{Drops: list[:1]})
	if list[0].GetVerdict() != 0 {
		t.Error("judged without rules")
	}
}
