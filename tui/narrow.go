// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// narrowing is what the probes were asked to leave out: what the filter of the
// page on the screen doesn't want. Each page has its own filter, so leaving a
// page widens again.
type narrowing struct {
	filter  string
	trouble bool
	text    string // in words, for the header; "": everything comes
	seq     int
}

// narrowedMsg says how a request to narrow ended.
type narrowedMsg struct {
	seq  int
	text string
	err  error
}

// wantNarrow asks the probes for what the page wants, if that has changed. A
// filter counts once it was accepted, not at each letter.
func (m *Model) wantNarrow() tea.Cmd {
	n, ok := m.opt.Actions.(page.Narrower)
	if !ok || m.prompt != nil {
		return nil
	}
	filter, trouble := "", m.env.Trouble
	if w, can := m.page().(interface{ FlowFilter() string }); can {
		filter = w.FlowFilter()
	} else {
		trouble = false
	}
	if filter == m.narrow.filter && trouble == m.narrow.trouble {
		return nil
	}
	m.narrow.filter, m.narrow.trouble = filter, trouble
	m.narrow.seq++
	seq := m.narrow.seq
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		text, err := n.Narrow(ctx, filter, trouble)
		return narrowedMsg{seq, text, err}
	}
}

func (m *Model) narrowed(msg narrowedMsg) tea.Cmd {
	if msg.seq != m.narrow.seq {
		return nil // a later request is under way
	}
	m.dirty = true
	m.narrow.text = msg.text
	if msg.err != nil {
		return m.say("The probes send everything: "+msg.err.Error(), true)
	}
	return nil
}
