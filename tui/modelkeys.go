// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// key goes to whoever is listening: the prompt, a page that takes all keys,
// the page, the frame.
func (m *Model) key(msg tea.KeyPressMsg) tea.Cmd {
	k := m.env.Keys
	m.hurry, m.env.Touched = hurryFor, true
	if m.prompt != nil {
		return m.promptKey(msg)
	}
	if t, ok := m.page().(page.Typer); ok && t.Typing() {
		eff, _ := m.page().Key(msg)
		return m.apply(eff)
	}
	leaving := m.leaving
	m.leaving = false
	if eff, handled := m.page().Key(msg); handled {
		return m.apply(eff)
	}
	switch {
	case key.Matches(msg, k.Quit):
		if m.env.Health.Enforcing && !leaving && msg.String() != "ctrl+c" {
			m.leaving = true
			return m.say("Leaving ends the enforcement at once. Press q again to leave.", true)
		}
		return tea.Quit
	case key.Matches(msg, k.Back):
		return m.back()
	case key.Matches(msg, k.Help):
		return m.push(page.NewHelp(m.env, m.page(), commandHelp()))
	case key.Matches(msg, k.Filter):
		return m.openFilter()
	case key.Matches(msg, k.Command):
		return m.openCommand()
	case key.Matches(msg, k.Next):
		return m.tab(1)
	case key.Matches(msg, k.Previous):
		return m.tab(-1)
	case key.Matches(msg, k.Freeze):
		return m.freeze(!m.frozen)
	case key.Matches(msg, k.Trouble):
		return m.trouble(!m.env.Trouble)
	case key.Matches(msg, k.Wide):
		return m.wide()
	case key.Matches(msg, k.Copy):
		return m.copy()
	case key.Matches(msg, k.Export):
		return m.export()
	case key.Matches(msg, k.Record):
		return m.record()
	case key.Matches(msg, k.Release):
		return m.release()
	case key.Matches(msg, k.Present):
		if m.env.Past.IsZero() {
			return nil
		}
		return m.env.Seek(time.Time{})
	}
	if s := msg.String(); len(s) == 1 && s[0] >= '1' && int(s[0]-'1') < len(m.roots) {
		root := m.roots[s[0]-'1']
		if policies, ok := root.(*page.Policies); ok {
			m.follow(policies)
		}
		return m.open(root)
	}
	return nil
}

// follow goes on from a flow to the policy that would change it.
func (m *Model) follow(policies *page.Policies) {
	if from, ok := m.page().(page.Changer); ok {
		if id, ok := from.Changing(); ok {
			policies.Follow(id)
		}
	}
}
