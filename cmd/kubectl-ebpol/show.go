// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/tui"
)

// liner prints a session where there is no screen.
type liner interface {
	// Event is called for each event, in order.
	Event(e *flow.Event) error
	// Tick is called now and then while the session goes on.
	Tick(s *store.Store) error
	// End is called once when the session is over, however it ended.
	End(s *store.Store) error
}

// view says how a session is shown.
type view struct {
	page   string // of the screen: top, flows, drops, policies, nodes, timeline, changes
	title  string
	lines  liner
	screen bool // else lines
	header store.Options

	limit    time.Duration // end when it has been live for so long; 0: when the user ends it
	every    time.Duration // between ticks; 0: a second
	progress bool          // tell on stderr how it goes with the probes
	readOnly bool
	force    bool
	propose  time.Duration  // how long the screen proposes to enforce
	control  session.Source // what the screen's actions go to, if it isn't the source itself
	rec      *recorder      // records what comes; nil: it can't
	played   *history       // the recording that is shown
	// ready, if set, runs once the first probe is live, before the screen
	// opens and beside the lines. Its error ends the session.
	ready func(ctx context.Context, st *store.Store) error
}

// starting is how long the first probe may take before --for counts all the same.
const starting = 2 * time.Minute

// closing is how long the end of a session may take. What isn't gone by then
// goes by itself: pods by their deadline, enforcement by its lease.
const closing = 25 * time.Second

// runSession shows a source until the user, the clock or the source ends it,
// and then closes it. Cancelled contexts are a good end.
func (g *globals) runSession(ctx context.Context, src session.Source, v view) (err error) {
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
		defer cancel()
		err = errors.Join(err, src.Close(end))
	}()
	if v.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, v.limit+starting)
		defer cancel()
	}
	if v.control == nil {
		v.control = src
	}
	if s, ok := v.control.(interface{ Verified() (uint64, uint64) }); ok {
		v.header.Verified = s.Verified
	}
	v.header.Quiet = v.screen
	st := store.New(v.header)
	p := &pump{g: g, src: src, st: st, v: v, live: make(chan struct{}), done: make(chan struct{}), lens: &lens{now: st}}
	p.speak.Store(v.progress)
	run, stop := context.WithCancel(ctx)
	defer stop()
	go p.run(run)
	if v.limit > 0 {
		go p.endAfter(run, v.limit, stop)
	}

	if v.ready != nil || v.screen {
		select {
		case <-p.live:
		case <-p.done:
			return p.err()
		}
	}
	if v.ready != nil {
		if err := v.ready(run, st); err != nil {
			stop()
			<-p.done
			return err
		}
	}
	if v.screen {
		p.speak.Store(false)
		err := g.screen(run, stop, p)
		stop()
		<-p.done
		return errors.Join(err, p.err())
	}
	<-p.done
	return p.err()
}

// screen opens the TUI. It ends with the user, or when a live source breaks.
func (g *globals) screen(ctx context.Context, stop context.CancelFunc, p *pump) error {
	go func() {
		select {
		case <-p.done:
			if p.err() != nil {
				stop()
			}
		case <-ctx.Done():
		}
	}()
	a := &actions{
		source: p.v.control, store: p.st, readOnly: p.v.readOnly, force: p.v.force, rec: p.v.rec, played: p.v.played,
		lens: p.lens,
	}
	a.lens.extra = a.adviceVersion
	o := tui.Options{
		Snapshots: a.lens, Actions: a,
		StartPage: p.v.page, Title: p.v.title, EnforceFor: p.v.propose,
		Parse:     func(s string) (func(*flow.Event) bool, error) { return store.ParseFilter(s, p.st.Labels) },
		PodLabels: p.st.PodLabels,
	}
	g.looks.apply(&o)
	return tui.Run(ctx, o)
}

// pump moves frames from the source into the store and to whoever prints.
type pump struct {
	g     *globals
	src   session.Source
	st    *store.Store
	v     view
	speak atomic.Bool // progress on stderr
	live  chan struct{}
	done  chan struct{}
	lens  *lens // what the screen looks through
	fault error // of printing
}

// endAfter ends the session when it has been live for so long.
func (p *pump) endAfter(ctx context.Context, limit time.Duration, stop func()) {
	select {
	case <-p.live:
	case <-ctx.Done():
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-timer.C:
		stop()
	case <-ctx.Done():
	}
}

// err is why the session broke; nil after a good end. Valid once done.
func (p *pump) err() error {
	if p.fault != nil {
		return p.fault
	}
	return p.src.Err()
}

func (p *pump) run(ctx context.Context) {
	defer close(p.done)
	every := p.v.every
	if every <= 0 {
		every = time.Second
	}
	printing := p.v.lines != nil && !p.v.screen
	var ticks <-chan time.Time // nobody wakes up for a screen, which has a pace of its own
	if printing {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		ticks = ticker.C
	}
	progress := newProgress(p.g.ErrOut)
	isLive := false
	for {
		select {
		case f, ok := <-p.src.Frames():
			if !ok {
				p.end(printing)
				return
			}
			events := p.st.Apply(f)
			p.lens.poke()
			if st := f.GetProbeState(); st != nil && p.speak.Load() {
				progress.tell(f.GetNode(), st)
			}
			if n := f.GetNotice(); n.GetLevel() == wire.Notice_WARN && f.GetNode() == "" && (printing || p.speak.Load()) {
				progress.warn(n.GetText())
			}
			if !isLive && (f.GetProbeState().GetPhase() == "live" || f.GetFlows() != nil) {
				isLive = true
				close(p.live)
			}
			wire.Release(f) // the store has taken what it needs, and whoever records has written it
			for i := range events {
				if printing && p.fault == nil {
					p.fault = p.v.lines.Event(&events[i])
				}
			}
		case <-ticks:
			if p.fault == nil {
				p.fault = p.v.lines.Tick(p.st)
			}
		case <-ctx.Done():
			p.end(printing)
			return
		}
		if p.fault != nil {
			return // nobody reads what is printed
		}
	}
}

func (p *pump) end(printing bool) {
	if printing && p.fault == nil {
		p.fault = p.v.lines.End(p.st)
	}
}

// eachEvent prints every event as it comes, but drops that are no fault only
// if asked for.
type eachEvent struct {
	*lines.Printer
	noise bool
}

// Event implements [liner].
func (l eachEvent) Event(e *flow.Event) error {
	if e.Benign && !l.noise {
		return nil
	}
	return l.Print(e)
}

// Tick implements [liner].
func (eachEvent) Tick(*store.Store) error { return nil }

// End implements [liner].
func (l eachEvent) End(s *store.Store) error {
	return l.Isolation(s.Snapshot(store.Query{Nodes: true}).Isolation)
}

var _ liner = eachEvent{}

var errNegative = errors.New("--for can't be negative: say how long, such as --for 10m, or leave it out")

// shown decides between screen and lines: a screen needs a terminal at both
// ends and no -o.
func (g *globals) shown(output string) (format lines.Format, screen bool, err error) {
	format, err = lines.ParseFormat(output)
	if err != nil {
		return "", false, err
	}
	return format, output == "" && g.onTerminal(), nil
}

// sourceName is what the header calls a cluster.
func (g *globals) sourceName() string {
	raw, err := g.config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return "cluster"
	}
	name := raw.CurrentContext
	if g.config.Context != nil && *g.config.Context != "" {
		name = *g.config.Context
	}
	if name == "" {
		return "cluster"
	}
	return fmt.Sprintf("cluster %s", name)
}
