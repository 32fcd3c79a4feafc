// SPDX-License-Identifier: Apache-2.0

package store

import (
	"math"
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// column is what connections are sorted by, as numbers: the lower, the earlier
// it comes.
type column struct {
	key    func(s *Store, v *view, r *row) uint64 // at most mostKey
	counts bool                                   // it changes with the row's numbers, not only with what filters read
	fades  bool                                   // it is mostKey for rows without news for a while
	named  bool                                   // it is the place of a name in a ranking
}

// columnOf is the order of [Store.flowOrder].
func columnOf(by string) column {
	most := func(of func(*row) uint64) column {
		return column{counts: true, key: func(_ *Store, _ *view, r *row) uint64 { return mostKey - min(of(r), mostKey) }}
	}
	least := func(of func(*row) uint64) column {
		return column{key: func(_ *Store, _ *view, r *row) uint64 { return of(r) }}
	}
	text := func(of func(*row) string) column {
		return column{named: true, key: func(_ *Store, v *view, r *row) uint64 { return v.texts.id(of(r)) << 1 }}
	}
	end := func(of func(*row) (*who, netip.Addr)) column {
		return column{named: true, key: func(_ *Store, v *view, r *row) uint64 {
			w, ip := of(r)
			if name := w.called(); name != "" {
				return v.texts.id(name) << 1
			}
			return v.addrs.id(ip.As16())<<1 | 1
		}}
	}
	switch by {
	case "rate":
		return column{counts: true, fades: true, key: func(s *Store, _ *view, r *row) uint64 { return mostKey - math.Float64bits(s.rateOf(r)) }}
	case "bytes":
		return most(func(r *row) uint64 { return r.bytesIn + r.bytesOut })
	case "packets":
		return most(func(r *row) uint64 { return r.packetsIn + r.packetsOut })
	case "drops":
		return most(func(r *row) uint64 { return r.drops + r.enforcedPackets })
	case "last":
		return most(func(r *row) uint64 { return uint64(max(0, r.last)) }) //nolint:gosec // not negative
	case "verdict":
		return column{key: func(s *Store, _ *view, r *row) uint64 { return uint64(gravities - s.gravityOf(r.plight())) }} //nolint:gosec // small
	case "name", "source", "from":
		return end((*row).source)
	case "destination", "to":
		return end((*row).destination)
	case "port":
		return least(func(r *row) uint64 { return uint64(r.port()) })
	case "protocol":
		return least(func(r *row) uint64 { return uint64(r.protocol) })
	case "direction":
		return least(func(r *row) uint64 { return uint64(r.direction) })
	case "node":
		return text(func(r *row) string { return r.id.Node })
	case "rule":
		return text((*row).ruleName)
	case "agreement":
		return least(func(r *row) uint64 { return uint64(doubt(r)) }) //nolint:gosec // small
	case "observed":
		return least(func(r *row) uint64 { return uint64(fate(r)) }) //nolint:gosec // small
	}
	return least(func(*row) uint64 { return 0 }) // arrival
}

// source is who opened the connection, destination for whom.
func (r *row) source() (*who, netip.Addr) {
	if r.direction == flow.Ingress {
		return r.peerWho, r.peer.Addr()
	}
	return r.localWho, r.local.Addr()
}

func (r *row) destination() (*who, netip.Addr) {
	if r.direction == flow.Ingress {
		return r.localWho, r.local.Addr()
	}
	return r.peerWho, r.peer.Addr()
}
