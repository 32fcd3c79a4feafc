// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe

import (
	"net/netip"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// A connection to a service names its backend from the message on in which it
// is found, and is asked about until then, but not for ever.
func TestBackendOfAService(t *testing.T) {
	service, at := netip.MustParseAddrPort("10.96.0.9:80"), netip.MustParseAddrPort("10.0.1.3:8080")
	local := netip.MustParseAddrPort("10.0.1.2:40000")
	var asked int
	b := &backends{known: map[uint64]*backend{}, ask: func(got tuple) (netip.AddrPort, bool) {
		asked++
		if want := (tuple{6, local, service}); got != want {
			t.Fatalf("asked for %v, want %v", got, want)
		}
		return at, asked == 2
	}}
	message := func(kind wire.Flow_Kind) *wire.Flow {
		return &wire.Flow{
			Id: 7, Kind: kind, Direction: uint32(flow.Egress), Protocol: uint32(flow.TCP),
			LocalIp: local.Addr().AsSlice(), LocalPort: 40000, PeerIp: service.Addr().AsSlice(), PeerPort: 80,
		}
	}
	for i, want := range []bool{false, true, true} {
		f := message(wire.Flow_COUNTERS)
		b.fill(f)
		if got := len(f.GetBackendIp()) > 0; got != want || got && f.GetBackendPort() != 8080 {
			t.Errorf("message %d: backend %v %d", i, f.GetBackendIp(), f.GetBackendPort())
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want until it was found", asked)
	}
	b.fill(message(wire.Flow_CLOSE))
	if len(b.known) != 0 {
		t.Error("a closed connection is kept")
	}

	// The answer that nobody translates it is an answer.
	at, asked = service, 1
	for range 3 {
		f := message(wire.Flow_COUNTERS)
		if b.fill(f); len(f.GetBackendIp()) > 0 {
			t.Errorf("a connection that nobody translates has backend %v", f.GetBackendIp())
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times about a connection that nobody translates, want once", asked-1)
	}
	b.fill(message(wire.Flow_CLOSE))

	asked = 2
	for range 3 * maxTries {
		b.fill(message(wire.Flow_COUNTERS))
	}
	if asked != 2+maxTries {
		t.Errorf("asked %d times about a service that nobody translates", asked-2)
	}

	came := message(wire.Flow_NEW)
	came.Direction = uint32(flow.Ingress)
	b.fill(came)
	if asked != 2+maxTries || len(came.GetBackendIp()) != 0 {
		t.Error("asked about a connection that came in")
	}
}
