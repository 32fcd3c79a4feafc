// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Still is the screen after some keys, without a terminal and without a
// clock: the frame that Run would show, text with SGR sequences. Keys are
// named as the help names them ("down", "enter", "D"). For pictures and for
// looking at a screen from a script.
func Still(o Options, width, height int, keys ...string) (string, error) {
	onDark := false
	if o.Light == nil {
		o.Light = &onDark
	}
	m, err := New(o)
	if err != nil {
		return "", err
	}
	m.after = func(time.Duration, tea.Msg) tea.Cmd { return nil }
	s := still{m}
	s.run(m.Init())
	s.send(tea.WindowSizeMsg{Width: width, Height: height})
	for _, name := range keys {
		k, ok := keyNamed(name)
		if !ok {
			return "", fmt.Errorf("key %q: name one character, or one of enter, esc, tab, space, up, down, left, right, pgup, pgdown, home, end", name)
		}
		s.send(k)
	}
	return m.View().Content, nil
}

type still struct{ m *Model }

// run executes a command and all that follows from it, one after the other.
func (s still) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil, tea.QuitMsg:
	case tea.BatchMsg:
		for _, c := range msg {
			s.run(c)
		}
	default:
		s.send(msg)
	}
}

func (s still) send(msg tea.Msg) {
	_, cmd := s.m.Update(msg)
	s.run(cmd)
}

func keyNamed(name string) (tea.KeyPressMsg, bool) {
	if r := []rune(name); len(r) == 1 {
		return tea.KeyPressMsg{Code: r[0], Text: name}, true
	}
	k, ok := map[string]tea.KeyPressMsg{
		"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "tab": {Code: tea.KeyTab}, "space": {Code: tea.KeySpace, Text: " "},
		"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight},
		"pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd},
		"ctrl+z": {Code: 'z', Mod: tea.ModCtrl},
	}[name]
	return k, ok
}
