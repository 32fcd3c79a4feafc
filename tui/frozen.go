// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// Freezer is a Snapshots that can hold a moment: what Freeze gives answers from
// then on as this one would have at the time. Without it a frozen page keeps
// the rows that it has loaded, and sorting or filtering it takes a newer moment.
type Freezer interface{ Freeze() Snapshots }

// moment is what a frozen screen looks at. The header goes on: what it says of
// nodes and of the lease is never old.
type moment struct {
	now  Snapshots
	once sync.Once
	then Snapshots
}

// hold copies what there is, the first time.
func (h *moment) hold() {
	h.once.Do(func() {
		if f, ok := h.now.(Freezer); ok {
			h.then = f.Freeze()
		}
	})
}

// Snapshot implements [Snapshots].
func (h *moment) Snapshot(q store.Query) *store.Snapshot {
	h.hold()
	s := h.then.Snapshot(q)
	s.Health = h.now.Snapshot(store.Query{Header: true}).Health
	return s
}

// held is what a page shows while the screen is frozen, if no moment can be
// held: the answer to its question of this revision, at this moment.
type held struct {
	rev int
	at  time.Time
}

func (m *Model) freeze(on bool) tea.Cmd {
	m.frozen, m.held, m.moment = on, map[page.Page]held{}, nil
	m.fresh = false
	if _, ok := m.opt.Snapshots.(Freezer); ok {
		m.asked.page = nil
		return tea.Batch(m.grasp(), m.renew())
	}
	for _, p := range append(append([]page.Page(nil), m.roots...), m.stack...) {
		if f, ok := p.(page.Freezer); ok {
			f.Freeze(on)
		}
	}
	return m.renew()
}

// grasp holds the moment that is shown now, if the screen is frozen. Copying
// it begins at once, whatever is asked meanwhile.
func (m *Model) grasp() tea.Cmd {
	if _, ok := m.opt.Snapshots.(Freezer); !ok || !m.frozen {
		return nil
	}
	h := &moment{now: m.opt.Snapshots}
	m.moment = h
	return func() tea.Msg {
		h.hold()
		return nil
	}
}

// source is where the content of pages comes from.
func (m *Model) source() Snapshots {
	if m.moment != nil {
		return m.moment
	}
	return m.opt.Snapshots
}
