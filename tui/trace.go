// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"log"
	"os"

	tea "charm.land/bubbletea/v2"
)

// traceEnv names the file to which messages are traced, for finding out what
// a screen did: its standard output is the terminal that it draws on.
const traceEnv = "EBPOL_TUI_TRACE"

// tracer writes every message but the ones that come with the clock.
func tracer() (func(tea.Msg), func()) {
	name := os.Getenv(traceEnv)
	if name == "" {
		return nil, func() {}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, func() {}
	}
	l := log.New(f, "", log.LstdFlags|log.Lmicroseconds)
	return func(msg tea.Msg) {
		switch msg := msg.(type) {
		case tickMsg:
		case snapMsg:
			if msg.snap != nil {
				l.Printf("snapshot %d for %s took %s", msg.snap.ID, msg.page.Name(), msg.took)
			}
		default:
			l.Printf("%T %+.200v", msg, msg)
		}
	}, func() { _ = f.Close() }
}
