// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"net/netip"
	"sync/atomic"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// alive says which endpoints are watched, to a scan that runs beside whoever
// changes that.
type alive struct {
	ids atomic.Pointer[map[uint32]bool]
}

func (a *alive) has(id uint32) bool { return (*a.ids.Load())[id] }

// publish tells scans who is watched now, and who is about to be.
func (k *Kernel) publish(coming map[netip.Addr]ruleset.EndpointID) {
	ids := make(map[uint32]bool, len(k.tables.local)+len(coming))
	for _, l := range k.tables.local {
		if l.watched != 0 {
			ids[l.watched] = true
		}
	}
	for id := range k.hosts.alive {
		ids[uint32(id)] = true
	}
	for _, id := range coming {
		ids[uint32(id)] = true
	}
	k.alive.ids.Store(&ids)
}
