// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
	"github.com/ebpol/kubectl-ebpol/tui/terminal"
)

// until is an output that tells when a text was written.
type until struct {
	mu   sync.Mutex
	text []byte
	seen chan struct{}
	all  []byte
}

func (u *until) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all = append(u.all, p...)
	if u.text != nil && bytes.Contains(u.all, u.text) {
		u.text = nil
		close(u.seen)
	}
	return len(p), nil
}

// wait is for a text that comes from now on.
func (u *until) wait(text string) <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.text, u.all, u.seen = []byte(text), nil, make(chan struct{})
	return u.seen
}

// TestTheClockStopsWhenNothingComes, and goes on with the next key: what only
// Bubble Tea writes, such as the window's title, is written then.
func TestTheClockStopsWhenNothingComes(t *testing.T) {
	w := &waiting{World: fake.New(), version: 7, wait: make(chan waited, 100)}
	forever := make(chan struct{})
	defer close(forever)
	m, err := New(Options{Snapshots: resting{w, forever}, Actions: w.World, Light: new(bool)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	in, keys := io.Pipe()
	out := &until{}
	title := out.wait("ebpol top")
	painter := terminal.NewPainter(out, time.Millisecond)
	defer painter.Close()
	rested := make(chan struct{}, 100)
	c := &clock{lasts: time.Second, rested: func() { rested <- struct{}{} }}
	c.program = tea.NewProgram(&screen{m, painter, c}, tea.WithContext(ctx), tea.WithFPS(modes), tea.WithInput(in), tea.WithOutput(painter.Output()),
		tea.WithWindowSize(100, 30), tea.WithColorProfile(colorprofile.ANSI), tea.WithEnvironment([]string{"TERM=xterm-256color"}), tea.WithoutSignalHandler())
	ended := make(chan error, 1)
	go func() {
		_, err := c.program.Run()
		ended <- err
	}()
	within := func(what string, c <-chan struct{}) {
		t.Helper()
		late, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		select {
		case <-c:
		case <-late.Done():
			t.Fatal("not " + what)
		}
	}
	within("titled", title)
	within("stopped", rested)
	title = out.wait("ebpol flows")
	if _, err := keys.Write([]byte("\t")); err != nil {
		t.Fatal(err)
	}
	within("titled after it was stopped", title)
	within("stopped again", rested)
	stop()
	<-ended
	_ = keys.Close()
}

// resting is a world in which nothing happens.
type resting struct {
	*waiting
	forever chan struct{}
}

var _ Waiter = resting{}

func (r resting) Wait(ctx context.Context, _ store.Query, _ uint64, _ time.Time) {
	select {
	case <-r.forever:
	case <-ctx.Done():
	}
}
