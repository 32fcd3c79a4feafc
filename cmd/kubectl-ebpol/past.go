// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/tui"
)

var (
	_ tui.Seeker = (*actions)(nil)
	_ tui.Waiter = (*lens)(nil)

	_ tui.Freezer = (*lens)(nil)
)

// lens is what the screen looks through: at the world of now, or at that of a
// moment before.
type lens struct {
	now   *store.Store
	past  atomic.Pointer[store.Store] // nil: now
	moved atomic.Uint64
	extra func() uint64 // grows when something beside the store has changed

	mu      sync.Mutex
	waiting []*wait
}

// wait is what somebody waits for.
type wait struct {
	query   store.Query
	version uint64
	due     time.Time     // zero: never
	over    chan struct{} // closed when it has come
}

func (l *lens) come(w *wait) bool {
	return l.Version(w.query) != w.version || !w.due.IsZero() && !l.Now().Before(w.due)
}

// Wait implements [tui.Waiter].
func (l *lens) Wait(ctx context.Context, q store.Query, version uint64, due time.Time) {
	w := &wait{q, version, due, make(chan struct{})}
	l.mu.Lock()
	if l.come(w) {
		l.mu.Unlock()
		return
	}
	l.waiting = append(l.waiting, w)
	l.mu.Unlock()
	select {
	case <-w.over:
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waiting = slices.DeleteFunc(l.waiting, func(o *wait) bool { return o == w })
	}
}

// poke is called when something may have changed. It wakes those alone for whom
// something has.
func (l *lens) poke() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(w *wait) bool {
		if !l.come(w) {
			return false
		}
		close(w.over)
		return true
	})
}

// Snapshot implements [tui.Snapshots]. What the past's header says of a lease
// is what holds now: it bites whatever is looked at.
func (l *lens) Snapshot(q store.Query) *store.Snapshot {
	past := l.past.Load()
	if past == nil {
		return l.now.Snapshot(q)
	}
	s := past.Snapshot(q)
	h := l.now.Health()
	s.Health.Enforcing, s.Health.LeaseLeft, s.Health.EnforceLeft = h.Enforcing, h.LeaseLeft, h.EnforceLeft
	s.Health.Source, s.Health.Replay, s.Health.Requests = h.Source, h.Replay, h.Requests
	return s
}

// Freeze implements [tui.Freezer]. What is past stays as it is anyway.
func (l *lens) Freeze() tui.Snapshots {
	if past := l.past.Load(); past != nil {
		return past
	}
	return l.now.Freeze()
}

// Version implements [tui.Versioned].
func (l *lens) Version(q store.Query) uint64 {
	v := l.moved.Load() << 48
	if l.past.Load() == nil {
		v += l.now.Version(q)
	}
	if l.extra != nil {
		v += l.extra()
	}
	return v
}

// Now implements [tui.Versioned].
func (l *lens) Now() time.Time { return l.shown().Now() }

// shown is the store that the screen looks at.
func (l *lens) shown() *store.Store {
	if past := l.past.Load(); past != nil {
		return past
	}
	return l.now
}

// history is a recording that can be read while it is played, or written.
type history struct {
	open func() (io.ReadCloser, error)
	from time.Time
}

// history is what of the past there is; nil if nothing.
func (a *actions) history() *history {
	if a.played != nil {
		return a.played
	}
	if a.rec == nil {
		return nil
	}
	return a.rec.history()
}

// Span implements [tui.Seeker].
func (a *actions) Span() (from, to, at time.Time, ok bool) {
	h := a.history()
	if h == nil || a.lens == nil {
		return from, to, at, false
	}
	return h.from, a.lens.now.Now(), a.lens.shown().Now(), true
}

// Seek implements [tui.Seeker].
func (a *actions) Seek(ctx context.Context, at time.Time) error {
	if a.lens == nil {
		return errors.New("there is no past to go to")
	}
	if at.IsZero() || !at.Before(a.lens.now.Now()) {
		a.lens.past.Store(nil)
		a.lens.moved.Add(1)
		a.lens.poke()
		return nil
	}
	h := a.history()
	if h == nil {
		return errors.New("only what is recorded can be shown as it was: s begins to record")
	}
	r, err := h.open()
	if err != nil {
		return err
	}
	defer r.Close()
	st := store.New(store.Options{})
	if err := record.Past(r, at, func(f *wire.Frame) {
		if ctx.Err() == nil {
			st.Apply(f)
		}
	}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.lens.past.Store(st)
	a.lens.moved.Add(1)
	a.lens.poke()
	return nil
}
