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
			return Effect{Toast: p.unrecorded()}, true
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
// Without a recording that is all that can be done, and it says so.
func (p *Timeline) jump(by time.Duration) Effect {
	e, ok := p.Row()
	if !ok {
		return Effect{Toast: p.unrecorded()}
	}
	at := e.Time.Add(by)
	step := 1
	if (by > 0) != p.table.Reverse {
		step = -1
	}
	i, _ := p.table.Cursor()
	cursor, _ := p.table.Position()
	first := cursor - i
	for i+step >= 0 && i+step < len(p.rows) {
		i += step
		if t := p.rows[i].Time; by < 0 && !t.After(at) || by > 0 && !t.Before(at) {
			break
		}
	}
	p.table.Go(first + i)
	p.moved()
	return Effect{Toast: p.unrecorded()}
}

// unrecorded says how far back this list goes, and what it takes to see the
// other pages as they were.
func (p *Timeline) unrecorded() string {
	s := "This moves through the list alone"
	if !p.since.IsZero() {
		s += ", which goes back to " + clock(p.since) + " UTC"
	}
	s += ". To see all pages as they were takes a recording: "
	if p.env.records() {
		return s + "s begins one, and from then on this key goes back in it."
	}
	return s + "start the session with --record FILE."
}

// records says whether a recording can be begun here.
func (e *Env) records() bool {
	_, ok := e.Actions.(Recorder)
	return ok && e.Actions.Can("record") == ""
}

// recording says whether one is being written.
func (e *Env) recording() bool {
	r, ok := e.Actions.(Recorder)
	return ok && r.Recording() != ""
}
