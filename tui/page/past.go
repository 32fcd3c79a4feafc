// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// stride is how far one key goes through the past.
const stride = 10 * time.Second

// span is what of the past can be shown; ok is false if none.
func (e *Env) span() (from, to, at time.Time, ok bool) {
	if s, can := e.Actions.(Seeker); can {
		return s.Span()
	}
	return from, to, at, false
}

// Seek makes all pages show a moment; the zero time is now.
func (e *Env) Seek(to time.Time) tea.Cmd {
	s, ok := e.Actions.(Seeker)
	if !ok {
		return nil
	}
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Seek(ctx, to); err != nil {
			return DoneMsg{Err: err}
		}
		good := "All pages show the world of " + clock(to) + " UTC. n goes back to now."
		if to.IsZero() {
			good = "Back to now."
		}
		return DoneMsg{Good: good, Past: &to}
	}
}

// scrub goes through the past: of a recording on all pages, else through the
// events that are kept.
func (p *Timeline) scrub(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	by := time.Duration(0)
	switch {
	case key.Matches(msg, k.Earlier):
		by = -stride
	case key.Matches(msg, k.Later):
		by = stride
	case key.Matches(msg, k.Moment):
	default:
		return Effect{}, false
	}
	from, to, at, ok := p.env.span()
	if !ok {
		if by == 0 {
			return Effect{Toast: "Only what is recorded can be shown as it was: s begins to record, or start with --record FILE. The events that are kept are in this list."}, true
		}
		return p.jump(by), true
	}
	if by == 0 {
		e, in := p.Row()
		if !in {
			return Effect{}, true
		}
		at = e.Time
	}
	at = at.Add(by)
	switch {
	case at.Before(from):
		at = from
	case !at.Before(to) && by > 0:
		at = time.Time{}
	}
	return Effect{Cmd: p.env.Seek(at)}, true
}

// jump moves the cursor to the first event that is so much older or younger.
func (p *Timeline) jump(by time.Duration) Effect {
	e, ok := p.Row()
	if !ok {
		return Effect{}
	}
	cursor, _ := p.table.Position()
	at := e.Time.Add(by)
	step := 1
	if (by > 0) != p.table.Reverse {
		step = -1
	}
	i := cursor
	for i+step >= 0 && i+step < len(p.rows) {
		i += step
		if t := p.rows[i].Time; by < 0 && !t.After(at) || by > 0 && !t.Before(at) {
			break
		}
	}
	p.table.Go(i)
	p.moved()
	return Effect{}
}
