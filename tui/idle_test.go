// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// waiting is a world that says when it changes.
type waiting struct {
	*fake.World
	version uint64
	now     time.Time
	wait    chan waited
}

// waited is what was waited for.
type waited struct {
	version uint64
	due     time.Time
}

var _ Waiter = (*waiting)(nil)

func (w *waiting) Version(store.Query) uint64 { return w.version }

func (w *waiting) Now() time.Time { return w.now }

func (w *waiting) Wait(_ context.Context, _ store.Query, version uint64, due time.Time) {
	w.wait <- waited{version, due}
}

// Snapshot may be of a later time than the world's last change.
func (w *waiting) Snapshot(q store.Query) *store.Snapshot {
	s := w.World.Snapshot(q)
	if w.now.After(s.Time) {
		s.Time = w.now
	}
	return s
}

// TestNothingIsDoneWhileNothingChanges: after a while without changes the
// screen asks for nothing and draws nothing, not even at a tick, until the
// source says that something happened.
func TestNothingIsDoneWhileNothingChanges(t *testing.T) {
	w := &waiting{World: fake.New(), version: 7, wait: make(chan waited, 100)}
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
	if v := <-w.wait; v.version != 7 {
		t.Errorf("waited for a change of version %d, it shows 7", v.version)
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

// TestAgesAreDrawnWhenTheyReadOtherwise: the source is waited for until then,
// and time alone draws nothing before.
func TestAgesAreDrawnWhenTheyReadOtherwise(t *testing.T) {
	w := &waiting{World: fake.New(), version: 7, wait: make(chan waited, 100)}
	d := drive(t, w.World, 160, 40, func(o *Options) { o.StartPage, o.Snapshots = "flows", w })
	w.now = w.World.Snapshot(store.Query{Header: true}).Time
	// still waits for the source, and says until when.
	still := func() time.Time {
		d.m.hurry = 0
		for range quietFor + 5 {
			d.run(d.m.ask())
			if cmd := d.m.tick(); cmd != nil {
				cmd()
				d.m.waits = nil
				return (<-w.wait).due
			}
		}
		t.Fatal("the clock goes on though nothing changes")
		return time.Time{}
	}
	ages := 0
	for range 40 {
		due := still()
		if !due.After(w.now) {
			t.Fatalf("at %s it waits until %s", w.now, due)
		}
		drawn, was := d.m.renders, d.screen()
		w.now = due.Add(-1)
		d.run(d.m.ask())
		if d.m.renders != drawn {
			t.Fatalf("drawn at %s, before %s", w.now, due)
		}
		w.now = due
		d.run(d.m.ask())
		if d.m.renders != drawn+1 {
			t.Fatalf("%d frames at %s", d.m.renders-drawn, due)
		}
		if d.screen() != was {
			ages++
		}
	}
	if ages < 30 {
		t.Errorf("of 40 frames that were drawn for their ages %d read otherwise than the one before", ages)
	}
	if begin := w.World.Snapshot(store.Query{Header: true}).Time; w.now.Sub(begin) < 10*time.Minute {
		t.Errorf("40 frames in %s in which nothing happens", w.now.Sub(begin))
	}
	d.keys("space")
	if due := still(); !due.IsZero() {
		t.Errorf("frozen ages are drawn at %s", due)
	}
}

// TestAKeyEndsAWaitForAnotherPage: what was waited for is not what is shown then.
func TestAKeyEndsAWaitForAnotherPage(t *testing.T) {
	w := &waiting{World: fake.New(), version: 7, wait: make(chan waited, 100)}
	d := drive(t, w.World, 120, 40, func(o *Options) { o.Snapshots = w })
	d.m.hurry, d.m.quiet = 0, quietFor+1
	wait := d.m.tick()
	if wait == nil || d.m.waits == nil {
		t.Fatal("the source isn't waited for")
	}
	chain := d.m.chain
	d.keys("3")
	if d.m.waits != nil {
		t.Error("still waits with the question of the page before")
	}
	if msg := wait(); msg != nil {
		t.Errorf("the wait that is over ends in %v", msg)
	}
	asked := w.Asked
	w.version++
	d.send(tickMsg{chain})
	if w.Asked != asked {
		t.Error("a tick of the chain before asks")
	}
	d.send(tickMsg{d.m.chain})
	if w.Asked == asked {
		t.Error("no tick asks any more")
	}
}
