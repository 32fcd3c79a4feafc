// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestCountersThatWaitAreWhole: what is packed while it waits comes out as it
// went in, the newest of each connection, and the end is the last word.
func TestCountersThatWaitAreWhole(t *testing.T) {
	const n = 4 * packAbove
	owner, request := &wire.Owner{Pid: 7, Command: "db"}, &wire.Request{Host: "shop"}
	total := func(id, round uint64) *wire.Flow {
		kind := wire.Flow_COUNTERS
		if id%5 == 0 {
			kind = wire.Flow_CLOSE
		}
		return &wire.Flow{
			Id: id, Kind: kind, LocalIp: []byte{10, 0, 0, byte(id)}, LocalPort: 80, PacketsIn: id + round, BytesOut: round,
			Owner: owner, Request: request,
		}
	}
	q := newFlowQueue()
	for round := range uint64(3) {
		for id := range uint64(n) {
			q.total(total(id, round))
		}
	}
	for got := uint64(0); got < n; {
		out := q.take()
		if len(out.Flows) == 0 {
			t.Fatalf("%d of %d came out", got, n)
		}
		for _, f := range out.Flows {
			round := uint64(2)
			if f.Id%5 == 0 {
				round = 0 // nothing comes after the end
			}
			if want := total(f.Id, round); f.Id != got || !proto.Equal(f, want) || f.Owner != owner || f.Request != request {
				t.Fatalf("%v, want %v", f, want)
			}
			got++
		}
	}
	if !q.empty() {
		t.Error("something waits")
	}
}
