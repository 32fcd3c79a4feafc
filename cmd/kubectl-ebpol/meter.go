// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
)

// meter tells on stderr, in one line that it writes over, what a command that
// takes long is doing. It says nothing unless somebody sits there.
type meter struct {
	w     io.Writer // nil: nobody does
	began time.Time
	every time.Duration

	mu   sync.Mutex
	last time.Time
	text string // that stands there
}

// patience is how long a command may take before it says what it does.
const patience = 700 * time.Millisecond

func (g *globals) meter() *meter {
	m := &meter{began: time.Now(), every: 200 * time.Millisecond}
	if f, ok := fileOf(g.ErrOut); ok && term.IsTerminal(int(f.Fd())) { //nolint:gosec // a file descriptor fits
		m.w = f
	}
	return m
}

// reading tells how far a file is read.
func (m *meter) reading(r kube.Reading) {
	text := fmt.Sprintf("reading %s: %.1f MB", r.Name, float64(r.Bytes)/1e6)
	if r.Size > 0 {
		text = fmt.Sprintf("reading %s: %d %%", r.Name, 100*r.Bytes/r.Size)
	}
	m.say(text+", "+count.Of(r.Objects, "object"), false)
}

// now tells what is being done.
func (m *meter) now(format string, args ...any) { m.say(fmt.Sprintf(format, args...), true) }

// part tells how far it is with that.
func (m *meter) part(what string, done, all int) {
	m.say(fmt.Sprintf("%s: %d of %d", what, done, all), false)
}

func (m *meter) say(text string, new bool) {
	if m.w == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.began) < patience || !new && now.Sub(m.last) < m.every {
		return
	}
	m.last = time.Now()
	m.put(clip(printable(text), 78))
}

// done takes the line away: what follows is the answer.
func (m *meter) done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.text != "" {
		m.put("")
	}
	m.w = nil
}

func (m *meter) put(text string) {
	if m.w == nil {
		return
	}
	fmt.Fprintf(m.w, "\r\x1b[K%s", text)
	m.text = text
}

func clip(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// endAtOnce ends the program at Ctrl-C, wherever it is: for commands that ask
// and hold nothing that must be freed. The function that it gives undoes it.
func endAtOnce(ctx context.Context, m *meter) func() bool {
	return context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), errInterrupted) {
			return // it has come to its end by itself
		}
		m.done()
		os.Exit(130)
	})
}
