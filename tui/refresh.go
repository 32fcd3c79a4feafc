// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
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
	quietFor = 2                     // ticks without change until the source is waited for
	settle   = 60 * time.Millisecond // how long a resize must rest before it counts
)

// tickMsg asks for the next snapshot. Ticks follow one another; where others
// begin, those that are still to come are none.
type tickMsg struct{ chain int }

func (m *Model) tick() tea.Cmd {
	pace := steady
	if m.hurry > 0 {
		m.hurry--
		pace = hasty
	}
	if w, ok := m.opt.Snapshots.(Waiter); ok && m.quiet > quietFor && m.hurry == 0 && m.fresh && !m.env.Health.Enforcing {
		ctx, cancel := context.WithCancel(context.Background())
		m.waits = cancel
		q, version, due, chain := m.asked.query, m.version, m.env.Next, m.chain
		return func() tea.Msg {
			defer cancel()
			if w.Wait(ctx, q, version, due); ctx.Err() != nil {
				return nil
			}
			return tickMsg{chain}
		}
	}
	// Snapshots take a millisecond or two, sorted and filtered ones too: see
	// store's view. Only flows that a filter sums up anew take longer.
	longest := slowest
	if m.env.Health.Enforcing {
		longest = counting
	}
	pace = max(pace, min(longest, restShare*m.took))
	return m.after(pace, tickMsg{m.chain})
}

// wake begins to tick again if the source is waited for: what is waited for may
// be another question by now, or another moment in which ages change.
func (m *Model) wake() tea.Cmd {
	if m.waits == nil {
		return nil
	}
	m.waits()
	m.waits, m.quiet = nil, 0
	m.chain++
	return m.tick()
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
		q = store.Query{Header: true}
	} else {
		q, digest = p.Ask()
	}
	now, source, seq, last, due := m.opt.Snapshots, m.source(), m.asked.seq, m.version, m.env.Next
	if header {
		source = now
	}
	if header != m.asked.query.Header {
		m.shown = 0 // of another question
	}
	// A lease counts down without the store changing.
	same := m.fresh && header == m.asked.query.Header && !m.env.Health.Enforcing
	m.asked.query = q
	return func() tea.Msg {
		begin := time.Now()
		msg := snapMsg{seq: seq, page: p, header: header}
		if v, ok := now.(Versioned); ok {
			msg.at = v.Version(q)
			if same && msg.at == last && !reached(due, v.Now()) {
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

// reached says whether it is time to draw ages anew.
func reached(due, now time.Time) bool { return !due.IsZero() && !now.Before(due) }

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
	if same := msg.snap == nil || m.fresh && msg.snap.ID == m.shown && msg.snap.Health.LeaseLeft == m.env.Health.LeaseLeft; !same {
		m.quiet = 0
	} else if m.quiet++; msg.snap == nil || !reached(m.env.Next, msg.snap.Time) {
		return nil
	}
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
