// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// waiting is a world that says when it changes.
type waiting struct {
	*fake.World
	version uint64
	wait    chan uint64 // versions that were waited for
}

func (w *waiting) Version() uint64 { return w.version }

func (w *waiting) Wait(version uint64) { w.wait <- version }

// TestNothingIsDoneWhileNothingChanges: after a while without changes the
// screen asks for nothing and draws nothing, not even at a tick, until the
// source says that something happened.
func TestNothingIsDoneWhileNothingChanges(t *testing.T) {
	w := &waiting{World: fake.New(), version: 7, wait: make(chan uint64, 100)}
	ticks := 0
	d := drive(t, w.World, 120, 40, func(o *Options) { o.Snapshots = w })
	d.m.after = func(_ time.Duration, msg tea.Msg) tea.Cmd {
		if _, tick := msg.(tickMsg); tick {
			ticks++
		}
		return nil
	}
	// one is a tick, with all that follows at once; it says whether another one
	// was ordered, or whether the source is waited for.
	one := func() (cmd tea.Cmd) {
		before := ticks
		if d.m.inflight {
			t.Fatal("a question is open")
		}
		d.run(d.m.ask())
		if cmd = d.m.tick(); ticks > before {
			return nil
		}
		return cmd
	}
	asked, drawn := w.Asked, d.m.renders
	var wait tea.Cmd
	for range hurryFor + quietFor + 5 {
		if wait = one(); wait != nil {
			break
		}
	}
	if wait == nil {
		t.Fatal("the clock goes on though nothing changes")
	}
	if w.Asked != asked || d.m.renders != drawn {
		t.Errorf("%d snapshots and %d frames for nothing", w.Asked-asked, d.m.renders-drawn)
	}
	if _, ok := wait().(tickMsg); !ok {
		t.Error("what comes after the wait is no tick")
	}
	if v := <-w.wait; v != 7 {
		t.Errorf("waited for a change of version %d, it shows 7", v)
	}
	w.version = 8
	w.Step(time.Second)
	if one() != nil {
		t.Error("waits though something has just changed")
	}
	if w.Asked != asked+1 || d.m.renders != drawn+1 {
		t.Errorf("a change took %d snapshots and %d frames", w.Asked-asked, d.m.renders-drawn)
	}
	_ = w.World.Enforce(t.Context(), time.Minute)
	w.version = 9
	for range quietFor + 5 {
		if one() != nil {
			t.Fatal("stands still while a lease counts down")
		}
	}
}
