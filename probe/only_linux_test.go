// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestOnlyWhatIsWantedIsTold walks connections through a pattern: those that
// don't match are kept back until they do, and never end on a screen that
// didn't see them begin.
func TestOnlyWhatIsWantedIsTold(t *testing.T) {
	web, db, ext := []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, []byte{203, 0, 113, 9}
	var o only
	in := func(id uint64, kind wire.Flow_Kind, peer []byte, port uint32, verdict, candidate uint32) *wire.Flow {
		return &wire.Flow{Id: id, Kind: kind, Endpoint: 1, Direction: 1, Protocol: 6, LocalIp: db, PeerIp: peer, LocalPort: port, PeerPort: 50000, Verdict: verdict, Candidate: candidate}
	}
	told := func(f *wire.Flow, want bool) {
		t.Helper()
		if got := !o.keeps(f); got != want {
			t.Errorf("%v of connection %d: told %v, want %v", f.Kind, f.Id, got, want)
		}
	}
	told(in(1, wire.Flow_NEW, ext, 80, 1, 1), true) // no pattern yet
	if o.set(&wire.Pattern{From: []*wire.Prefix{{Ip: web, Bits: 32}}, To: []*wire.Prefix{{Ip: []byte{10, 0, 0, 0}, Bits: 24}}, Protocol: 6, Port: 5432, Trouble: true}) {
		t.Error("nothing was kept back before the first pattern")
	}
	told(in(1, wire.Flow_COUNTERS, ext, 80, 1, 1), false)
	told(in(1, wire.Flow_VERDICT, ext, 80, 2, 1), true) // the screen shows it: a change must come
	told(in(1, wire.Flow_CLOSE, ext, 80, 2, 1), true)
	told(in(2, wire.Flow_NEW, web, 5432, 2, 2), true)
	told(in(3, wire.Flow_NEW, web, 5432, 1, 1), false)
	told(in(3, wire.Flow_VERDICT, web, 5432, 1, 1), false)
	told(in(3, wire.Flow_VERDICT, web, 5432, 1, 2), true) // now it is trouble
	told(in(3, wire.Flow_CLOSE, web, 5432, 1, 1), true)
	told(in(4, wire.Flow_NEW, ext, 5432, 2, 2), false)
	told(in(5, wire.Flow_NEW, web, 80, 2, 2), false)
	told(in(5, wire.Flow_CLOSE, web, 80, 2, 2), false)
	out := in(6, wire.Flow_NEW, db, 40000, 2, 2)
	out.Direction, out.LocalIp, out.PeerIp, out.PeerPort = 2, web, []byte{10, 96, 0, 1}, 5432
	told(out, false) // to a service
	out.Kind, out.BackendIp, out.BackendPort = wire.Flow_COUNTERS, db, 5432
	told(out, true) // whose backend is meant
	if !o.set(nil) {
		t.Error("what was kept back must be told")
	}
	told(in(4, wire.Flow_COUNTERS, ext, 5432, 2, 2), true)
	told(in(3, wire.Flow_COUNTERS, web, 5432, 1, 1), true)
}
