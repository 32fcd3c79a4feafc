// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// MaxLease bounds what a plugin can ask for at once: nobody can make
// enforcement outlive them by more.
const MaxLease = 60 * time.Second

// lease mirrors the kernel's lease for what is told to the plugin. The kernel
// checks the deadline itself, for each packet.
type lease struct {
	set    func(time.Duration) error
	until  time.Time // zero: none
	total  time.Time
	active bool // as last told
}

// ask renews the lease for d, but not past total, both from now; 0 releases.
func (l *lease) ask(now time.Time, d, total time.Duration) error {
	d = max(0, min(d, total, MaxLease))
	if d == 0 {
		l.until, l.total = time.Time{}, time.Time{}
		return l.set(0)
	}
	if err := l.set(d); err != nil {
		return err
	}
	l.until, l.total = now.Add(d), now.Add(total)
	return nil
}

// state returns what to tell, and whether it differs from what was told.
func (l *lease) state(now time.Time) (st *wire.LeaseState, changed bool) {
	st = &wire.LeaseState{}
	if now.Before(l.until) {
		st.Active = true
		st.LeftNs = l.until.Sub(now).Nanoseconds()
		st.TotalLeftNs = l.total.Sub(now).Nanoseconds()
	}
	changed = st.Active != l.active
	l.active = st.Active
	return st, changed
}
