// SPDX-License-Identifier: Apache-2.0

// Package tui is the screen: a root model that routes messages to pages,
// which draw what a snapshot of the store holds. Events never reach it one by
// one. Four to ten times a second a command asks for a snapshot outside the
// screen's loop; if its id is the one that is shown already, nothing is drawn.
// Update and View do no I/O, never wait, and touch only what is visible.
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/terminal"
)

// Options say what the screen shows and how. Snapshots and Actions must be
// set; everything else has a sane zero value.
type Options struct {
	Snapshots Snapshots
	Actions   Actions

	// StartPage is a page's name: top (default), flows, connections, drops,
	// policies, nodes, timeline, matrix; or "changes": flows that the
	// candidate changes.
	StartPage string
	Filter    string // of the start page, as behind "/"
	Sort      string // column that the start page is sorted by
	Title     string // left in the header; empty: Health.Source
	// Parse compiles a filter; nil: store.ParseFilter, to which labels are unknown.
	Parse func(string) (func(*flow.Event) bool, error)
	// PodLabels are those that some pod has, as app=web, for completion; nil: none are known.
	PodLabels func() []string

	EnforceFor time.Duration // proposed when enforcing; 0: 10 minutes
	ExportDir  string        // where `x` writes; empty: the working directory

	Input   io.Reader // nil: the terminal
	Output  io.Writer // nil: standard output
	NoColor bool      // attributes only; NO_COLOR in the environment sets it too
	ASCII   bool      // glyphs from ASCII only
	Light   *bool     // background; nil: ask the terminal, dark if it doesn't say
	NoMouse bool      // leave the mouse to the terminal, for selecting text
}

func (o *Options) complete() error {
	var errs []error
	if o.Snapshots == nil {
		errs = append(errs, errors.New("no snapshots: set Options.Snapshots"))
	}
	if o.Actions == nil {
		errs = append(errs, errors.New("no actions: set Options.Actions"))
	}
	if o.Parse == nil {
		o.Parse = func(s string) (func(*flow.Event) bool, error) { return store.ParseFilter(s, nil) }
	}
	if o.EnforceFor <= 0 {
		o.EnforceFor = 10 * time.Minute
	}
	return errors.Join(errs...)
}

// fps is how often the terminal is written to at most; modes is how often
// Bubble Tea wakes up to find that there is no mode of the terminal to set,
// while messages come.
const (
	fps   = 15
	modes = 5
)

// roomy lets the heap grow to three times what is in use between two garbage
// collections, until the function that it returns is called. The rows of a
// session live long, so that each collection finds a hundred thousand of them
// alive again; at 10,000 events a second that was a quarter of all the work.
// With a store at its limits this is some 200 MB more.
func roomy() func() {
	before := debug.SetGCPercent(200)
	return func() { debug.SetGCPercent(before) }
}

// Run shows the screen until the user quits or ctx ends; both are a good end.
func Run(ctx context.Context, o Options) error {
	m, err := New(o)
	if err != nil {
		return err
	}
	defer roomy()()
	trace, end := tracer()
	defer end()
	m.trace = trace
	if o.Output == nil {
		o.Output = os.Stdout
	}
	m.env.Terminal, _ = o.Output.(*os.File)
	painter := terminal.NewPainter(o.Output, time.Second/fps)
	defer painter.Close()
	// Signals are the caller's, who ends ctx. Bubble Tea would hear them too, and
	// hang for ever where it hears one after ctx has ended its loop.
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithFPS(modes), tea.WithOutput(painter.Output())}
	if o.Input != nil {
		options = append(options, tea.WithInput(o.Input))
	}
	clock := &clock{lasts: lately}
	clock.program = tea.NewProgram(&screen{m, painter, clock}, options...)
	_, err = clock.program.Run()
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, tea.ErrInterrupted):
		return nil
	}
	return fmt.Errorf("the screen ended: %w; without a terminal use -o wide or -o json", err)
}
