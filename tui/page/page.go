// SPDX-License-Identifier: Apache-2.0

// Package page holds the screen's pages, one file each. A page says what it
// wants from the store ([Page.Ask]), takes what comes ([Page.Set]), and draws
// it in the room it was given. It does no I/O: what may block goes into the
// command of an [Effect].
package page

import (
	"context"
	"os"
	"sync"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Env is what all pages share. The root model changes it, pages read it.
type Env struct {
	Theme   *style.Theme
	Keys    *keys.Map
	Actions Actions
	Parse   func(string) (func(*flow.Event) bool, error) // compiles a filter
	Health  store.Health                                 // of the newest snapshot
	Now     time.Time                                    // of the newest snapshot; never the wall clock
	Trouble bool                                         // only rows with trouble
	Past    time.Time                                    // the moment that all pages show; zero: now
	Wide    bool
	Touched bool      // somebody pressed a key, or clicked: rows that are read stay where they are
	Next    time.Time // when what View drew reads otherwise by time alone; zero: never

	EnforceFor time.Duration // proposed total of a lease
	ExportDir  string        // where exports go
	Terminal   *os.File      // what an editor writes to; nil: standard output

	refused sync.Map // PolicyID to the text that was edited and could not be tried
}

// Until says that what is drawn reads otherwise from then on.
func (e *Env) Until(at time.Time) {
	if e.Next.IsZero() || at.Before(e.Next) {
		e.Next = at
	}
}

// age writes how long ago something was. The ages on a page don't change at
// one moment, but are drawn together: those of minutes and more are drawn up to
// half a minute late where nothing else is.
func (e *Env) age(at time.Time) string {
	d := max(0, e.Now.Sub(at))
	step := part.AgeStep(d)
	together := max(time.Second, min(step/2, 30*time.Second))
	e.Until(at.Add(d.Truncate(step) + step - 1).Truncate(together).Add(together))
	return part.Age(d)
}

// Page is one page. Methods are called by one goroutine, except the function
// that Ask returns.
type Page interface {
	// Name is the page's name in commands, tabs and crumbs.
	Name() string
	Crumb() string
	// Ask says what the page needs from the store, and how to digest it: a
	// pure function that runs outside the screen's loop. Its result is given to Set.
	Ask() (store.Query, func(*store.Snapshot) any)
	// Rev grows whenever Ask would answer otherwise than before.
	Rev() int
	Set(digest any)
	// Key handles a key; handled is false if it means nothing to the page.
	Key(tea.KeyPressMsg) (eff Effect, handled bool)
	// Sections are the page's own keys for the help; Footer those worth a
	// place on the screen, best first.
	Sections() []keys.Section
	Footer() []key.Binding
	Resize(width, height int)
	// View is exactly as many lines as Resize said, none wider.
	View() []string
}

// Optional abilities of pages.
type (
	// Filterer can be narrowed by the text of the `/` prompt.
	Filterer interface {
		Filter() string
		SetFilter(string) error // an error leaves the filter as it was
	}
	// Fielder is filtered by fields of its own; Values are what one can be, if
	// that is known.
	Fielder interface {
		Fields() []string
		Values(field string) []string
	}
	// Mouser reacts to clicks; x and y are within the page.
	Mouser interface {
		Click(x, y int) Effect
		Wheel(lines int)
	}
	// Counter says where the cursor is among how many rows.
	Counter interface{ Position() (cursor, total int) }
	// Scroller has text that may be longer than its room.
	Scroller interface{ Scrolls() bool }
	// Copier gives the text that `y` takes away.
	Copier interface{ Copy() string }
	// Exporter gives the lines that `x` writes to a file, and the file's extension.
	Exporter interface {
		Export() (lines []string, ext string)
	}
	// Wholer shows part of its rows, and exports all of them: Whole is what
	// ask, its Ask, says then; Lend gives it the digest of the answer while it does
	// something, and says how many of how many rows that were.
	Wholer interface {
		Whole(ask func() (store.Query, func(*store.Snapshot) any)) (store.Query, func(*store.Snapshot) any)
		Lend(digest any, do func()) (rows, total int)
	}
	// Sorted names what the rows are sorted by where no column shows it.
	Sorted interface{ SortedOut() string }
	// Sifter has rows that aren't trouble, which can be left out.
	Sifter interface{ Sifts() bool }
	// Widener has columns that are shown in wide mode only.
	Widener interface{ Widens() bool }
	// Typer takes all keys while it is on the screen.
	Typer interface{ Typing() bool }
	// Taker is given results of its commands.
	Taker interface{ Take(tea.Msg) Effect }
	// Freezer wants more rows loaded when the screen is frozen.
	Freezer interface{ Freeze(bool) }
)

// Effect is what a key did beyond the page.
type Effect struct {
	Push  Page
	Pop   bool
	Cmd   tea.Cmd
	Toast string
	Bad   bool   // the toast is an error
	Run   string // a command, as behind ":"
	Again bool   // a click hit what stood under the cursor already: it is opened
}

// DoneMsg ends an action: the toast says how. Ask, if set, comes next.
type DoneMsg struct {
	Good string
	Err  error
	Past *time.Time // what all pages show from now on; zero: now
}

// Actions is what pages ask of the world: tui.Actions, method by method, for
// pages can't import the package that shows them.
type Actions interface {
	SetMode(ctx context.Context, kind flow.RuleKind, namespace, name, mode string) error
	Preview(ctx context.Context, kind flow.RuleKind, namespace, name string) ([]*store.FlowRow, error)
	Enforce(ctx context.Context, total time.Duration) error
	Release(ctx context.Context) error
	Can(what string) string
}

// patience bounds every action, so that a hanging API server ends in a
// message instead of nothing.
const patience = 30 * time.Second

// act runs an action in a command and reports how it ended.
func act(good string, do func(ctx context.Context) error) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := do(ctx); err != nil {
			return DoneMsg{Err: err}
		}
		return DoneMsg{Good: good}
	}
}
