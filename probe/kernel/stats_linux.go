// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ebpol/kubectl-ebpol/bpf"
)

// MapBytes is what the maps take of the kernel's memory, as it accounts for
// them; 0 on kernels that don't say. Asking for all of them costs as much as a
// second's events, so it is done anew only after the tables were written.
func (k *Kernel) MapBytes() uint64 {
	k.size.mu.Lock()
	defer k.size.mu.Unlock()
	writes := k.size.writes.Load()
	if !k.size.known || k.size.after != writes {
		k.size.bytes = Memlock(k.objects.Again)
		for _, m := range k.objects.shared() {
			k.size.bytes += Memlock(m)
		}
		k.size.known, k.size.after = true, writes
	}
	return k.size.bytes
}

// mapSize is what the maps took when they were last asked.
type mapSize struct {
	writes atomic.Uint64 // to tables that take memory as they fill
	mu     sync.Mutex    // guards what follows
	known  bool
	after  uint64 // of the writes
	bytes  uint64
}

// Memlock is what one map takes, 0 if unknown.
func Memlock(m *ebpf.Map) uint64 {
	info, err := m.Info()
	if err != nil {
		return 0
	}
	n, _ := info.Memlock()
	return n
}

// Endpoints is the table of local addresses, for other programs to share.
func (k *Kernel) Endpoints() *ebpf.Map { return k.objects.Endpoints }

// RingFill is how much of the ring waits to be read, in thousandths.
func (k *Kernel) RingFill() uint32 {
	e := k.events.Load()
	if e == nil {
		return 0
	}
	return e.ring.Fill()
}

// Skew is what to add to a stamp of the programs to get boottime.
func Skew() time.Duration { return Boottime() - monotonic() }

// Address is the Go form of a program's address.
func Address(words [4]uint32) netip.Addr { return netAddr(bpf.FlowAddr{Word: words}) }
