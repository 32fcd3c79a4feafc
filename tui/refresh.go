// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// The pace of the screen. These few numbers decide how calm it looks and what
// it costs.
const (
	hasty  = 100 * time.Millisecond // just after a key: what was asked for comes soon
	steady = 240 * time.Millisecond // while things change: a little more than four times a second

	slowest   = 2 * time.Second // however dear a snapshot is
	counting  = time.Second     // the same while a lease counts down
	restShare = 100             // the screen rests so much longer than a snapshot took: a hundredth of a core

	hurryFor = 10                    // ticks at the hasty pace after a key
	quietFor = 10                    // ticks without change until the source is waited for
	settle   = 60 * time.Millisecond // how long a resize must rest before it counts
)

// tickMsg asks for the next snapshot.
type tickMsg struct{}

func (m *Model) tick() tea.Cmd {
	pace := steady
	if m.hurry > 0 {
		m.hurry--
		pace = hasty
	}
	if w, ok := m.opt.Snapshots.(Waiter); ok && m.quiet > quietFor && m.hurry == 0 && m.fresh && !m.env.Health.Enforcing {
		version := m.version
		return func() tea.Msg {
			w.Wait(version)
			return tickMsg{}
		}
	}
	// Snapshots take a millisecond or two, sorted and filtered ones too: see
	// store's view. Only flows that a filter sums up anew take longer.
	longest := slowest
	if m.env.Health.Enforcing {
		longest = counting
	}
	pace = max(pace, min(longest, restShare*m.took))
	return m.after(pace, tickMsg{})
}

// snapMsg brings a snapshot, digested for the page that asked.
type snapMsg struct {
	seq    uint64 // of the question
	page   page.Page
	snap   *store.Snapshot // nil: nothing has changed since the version before
	digest any
	header bool // only the header is to be updated
	took   time.Duration
	at     uint64 // the source's version, if it has one
}

// ask takes a snapshot outside the loop. One is under way at a time.
func (m *Model) ask() tea.Cmd {
	m.inflight = true
	p := m.page()
	if m.asked.page != p || m.asked.rev != p.Rev() {
		m.asked.page, m.asked.rev = p, p.Rev()
		m.asked.seq++
		m.fresh = false
		// Whoever comes back to a page of a frozen screen finds it as it was.
		if h, ok := m.held[p]; ok && m.frozen && m.moment == nil && h.rev == p.Rev() {
			m.fresh, m.env.Now, m.dirty = true, h.at, true
		}
	}
	header := m.frozen && m.fresh
	var q store.Query
	digest := func(*store.Snapshot) any { return nil }
	if header {
		q = store.Query{Nodes: true}
	} else {
		q, digest = p.Ask()
	}
	now, source, seq, last := m.opt.Snapshots, m.source(), m.asked.seq, m.version
	if header {
		source = now
	}
	same := m.fresh && !m.env.Health.Enforcing // a lease counts down without the store changing
	return func() tea.Msg {
		begin := time.Now()
		msg := snapMsg{seq: seq, page: p, header: header}
		if v, ok := now.(Versioned); ok {
			msg.at = v.Version()
			if same && msg.at == last {
				return msg
			}
		}
		msg.snap = source.Snapshot(q)
		if msg.snap != nil {
			msg.digest = digest(msg.snap)
		}
		msg.took = time.Since(begin)
		return msg
	}
}

// measure takes note of what a snapshot took. One that waited for others is no
// reason to rest: the quickest of the last few counts.
func (m *Model) measure(took time.Duration) {
	m.tooks = [3]time.Duration{took, m.tooks[0], m.tooks[1]}
	m.took = slices.Min(m.tooks[:])
}

// take puts a snapshot on the screen, unless it shows already or the question
// has changed meanwhile.
func (m *Model) take(msg snapMsg) tea.Cmd {
	m.inflight = false
	if msg.seq != m.asked.seq || msg.page != m.page() || m.asked.rev != m.page().Rev() {
		return m.ask()
	}
	if msg.at != 0 {
		m.version = msg.at
	}
	if msg.snap == nil || m.fresh && msg.snap.ID == m.shown && msg.snap.Health.LeaseLeft == m.env.Health.LeaseLeft {
		m.quiet++
		return nil
	}
	m.quiet = 0
	m.measure(msg.took)
	m.shown = msg.snap.ID
	var news tea.Cmd
	if h := msg.snap.Health; h.Notices > m.noticed {
		m.noticed = h.Notices
		news = m.say(h.Notice, true)
	}
	if m.toast == "" && m.env.Health.Enforcing && !msg.snap.Health.Enforcing && !m.released && m.env.Past.IsZero() && !msg.snap.Health.Replay {
		news = tea.Batch(news, m.say("The lease is over: nothing is enforced any more.", false))
	}
	m.released = m.released && msg.snap.Health.Enforcing
	m.env.Health = msg.snap.Health
	m.dirty = true
	if msg.header {
		return news
	}
	m.fresh = true
	m.env.Now = msg.snap.Time
	msg.page.Set(msg.digest)
	if m.frozen {
		m.held[msg.page] = held{msg.page.Rev(), m.env.Now}
	}
	return tea.Batch(news, m.renew())
}

// renew asks at once if the page's question has changed.
func (m *Model) renew() tea.Cmd {
	if cmd := m.wantNarrow(); cmd != nil {
		return tea.Batch(cmd, m.again())
	}
	return m.again()
}

func (m *Model) again() tea.Cmd {
	p := m.page()
	if m.asked.page == p && m.asked.rev == p.Rev() {
		return nil
	}
	m.hurry = hurryFor
	if m.inflight {
		return nil // take will see that the answer is stale and ask again
	}
	return m.ask()
}
