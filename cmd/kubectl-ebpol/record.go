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

	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/version"
)

// runRecorded is runSession, with the frames also written to --record, or from
// any later moment that the user chooses on the screen.
func (g *globals) runRecorded(ctx context.Context, src session.Source, f *liveFlags, v view) error {
	if f.page != "" {
		v.page = f.page
		if !v.screen {
			p, err := g.newPageLines(f.page, lines.Format(f.output), false)
			if err != nil {
				return err
			}
			v.lines, v.every = p, pageEvery
		}
	}
	tee := record.Wrap(src)
	v.control = src
	v.rec = &recorder{tee: tee, opt: record.Options{Source: v.header.Source, Program: "kubectl-ebpol " + version.String()}}
	if f.record == "" {
		return g.runSession(ctx, tee, v)
	}
	if err := v.rec.start(f.record); err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
		defer cancel()
		return errors.Join(err, tee.Close(end))
	}
	v.rec.asked = true
	err := g.runSession(ctx, tee, v)
	if err == nil {
		fmt.Fprintf(g.ErrOut, "recorded in %s; see it again with: replay %s\n", f.record, f.record)
	}
	return err
}

// recorder starts and ends recordings of a session, one at a time.
type recorder struct {
	tee   *record.Tee
	opt   record.Options
	asked bool // by --record: it ends with the session

	mu    sync.Mutex
	file  string // that is being written; "": none
	began time.Time
}

func (r *recorder) start(file string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.tee.Start(file, r.opt); err != nil {
		return err
	}
	r.file, r.began = file, time.Now()
	return nil
}

func (r *recorder) stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file = ""
	return r.tee.Stop()
}

func (r *recorder) name() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.file
}

// history is the recording that is being written; nil if none is.
func (r *recorder) history() *history {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == "" {
		return nil
	}
	file := r.file
	return &history{from: r.began, open: func() (io.ReadCloser, error) { return os.Open(file) }} //nolint:gosec // the user named it
}

// Record implements [tui.Recorder].
func (a *actions) Record(_ context.Context, file string) error {
	if why := a.Can("record"); why != "" {
		return errors.New(why)
	}
	return a.rec.start(file)
}

// StopRecord implements [tui.Recorder].
func (a *actions) StopRecord(context.Context) error {
	switch {
	case a.rec == nil:
		return errors.New(a.Can("record"))
	case a.rec.asked:
		return errors.New("--record asked for all of the session: it ends with it")
	}
	return a.rec.stop()
}

// Recording implements [tui.Recorder].
func (a *actions) Recording() string {
	if a.rec == nil {
		return ""
	}
	return a.rec.name()
}
