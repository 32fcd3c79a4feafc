// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// mostFlows is how many flows that are open at the end are summed up.
const mostFlows = 1 << 20

// observed is a session that has ended, summed up. It is filled as a [liner].
type observed struct {
	log   *traffic.Log
	store *store.Store // once it has ended
	began atomic.Int64 // Unix nanoseconds; 0: it never began

	source   string
	policies []*policy.Policy        // of the cluster
	partly   map[*policy.Policy]bool // whose text is not the cluster's
	tried    bool                    // the session had a candidate of its own
}

func newObserved(source string) *observed { return &observed{log: traffic.New(), source: source} }

var _ liner = (*observed)(nil)

// Event implements [liner].
func (o *observed) Event(e *flow.Event) error {
	o.log.Event(e)
	return nil
}

// Tick implements [liner].
func (o *observed) Tick(s *store.Store) error {
	o.log.Know(s.World())
	return nil
}

// End implements [liner].
func (o *observed) End(s *store.Store) error {
	o.log.Know(s.World())
	o.log.Open(s.Snapshot(store.Query{Flows: true, Limit: mostFlows}).Flows)
	o.store = s
	o.readPolicies()
	return nil
}

// start notes when the first probe was live.
func (o *observed) start(context.Context, *store.Store) error {
	o.began.CompareAndSwap(0, time.Now().UnixNano())
	return nil
}

// coverage is how much could be seen.
func (o *observed) coverage() *traffic.Coverage {
	var began time.Time
	if ns := o.began.Load(); ns != 0 {
		began = time.Unix(0, ns)
	}
	return o.log.Cover(o.store, began)
}

// readPolicies reads the cluster's policies from what the session told.
func (o *observed) readPolicies() {
	o.partly = map[*policy.Policy]bool{}
	snap := o.store.Snapshot(store.Query{Policies: true})
	o.tried = snap.Health.HasCandidate
	for _, r := range snap.Policies {
		if !r.Current || r.YAML == "" {
			continue
		}
		read, err := policy.Parse([]byte(r.YAML), "")
		if err != nil {
			continue // was good when it was compiled; a text cut short isn't
		}
		for _, p := range read.Policies {
			o.policies = append(o.policies, p)
			if r.Candidate && r.Origin != "cluster" && snap.Health.HasCandidate {
				o.partly[p] = true // the text is that of the file which takes its place
			}
		}
	}
}

// readRecording reads a recording to its end, as fast as it can be read.
func (g *globals) readRecording(ctx context.Context, file string) (*observed, error) {
	p, err := record.Open(file, record.Play{})
	if err != nil {
		return nil, err
	}
	defer p.Close(context.WithoutCancel(ctx))
	o := newObserved("recording " + filepath.Base(file))
	st := store.New(store.Options{Source: o.source, Replay: true})
	for f := range p.Frames() {
		if live := f.GetProbeState().GetPhase() == "live" || f.GetFlows() != nil; live && f.GetTimeNs() > 0 {
			o.began.CompareAndSwap(0, f.GetTimeNs())
		}
		events := st.Apply(f)
		if f.GetWorld() != nil {
			o.log.Know(st.World())
		}
		for i := range events {
			if err := o.Event(&events[i]); err != nil {
				return nil, err
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := o.End(st); err != nil {
		return nil, err
	}
	o.began.CompareAndSwap(0, p.Created().UnixNano())
	if o.log.World() == nil {
		return nil, fmt.Errorf("recording %q says nothing of who is who: it was ended before its session began", file)
	}
	return o, nil
}

// state is what a recording knows of its cluster, as a watcher would say it.
func (o *observed) state() *kube.State {
	return &kube.State{World: o.log.World(), Policies: o.policies}
}

// cronJobs asks which there are; empty namespace: in all.
func cronJobs(ctx context.Context, client *kube.Client, namespace string, c *traffic.Coverage) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	jobs, err := client.CronJobs(ctx, namespace)
	if err != nil {
		c.NoJobs = "which there are is not known: " + oneLine(err)
		return
	}
	c.CronJobs = jobs
}

// noJobs is why a recording knows of no CronJobs.
const noJobs = "a recording doesn't hold which there are"

// watch runs a live session for a while and sums it up.
func (g *globals) watch(ctx context.Context, s *liveSession, f *liveFlags, also liner) (*observed, error) {
	o := newObserved(g.sourceName())
	v := view{
		lines: o, limit: f.limit, progress: true, readOnly: true, every: 250 * time.Millisecond, ready: o.start,
		header: store.Options{Source: o.source, Requests: s.client.Requests},
	}
	if also != nil {
		v.lines = liners{o, also}
	}
	err := g.runRecorded(ctx, s, f, v)
	if err == nil && o.store == nil {
		err = fmt.Errorf("nothing was watched")
	}
	return o, err
}

// liners are several at once.
type liners []liner

// Event implements [liner].
func (l liners) Event(e *flow.Event) error {
	return l.each(func(x liner) error { return x.Event(e) })
}

// Tick implements [liner].
func (l liners) Tick(s *store.Store) error { return l.each(func(x liner) error { return x.Tick(s) }) }

// End implements [liner].
func (l liners) End(s *store.Store) error { return l.each(func(x liner) error { return x.End(s) }) }

func (l liners) each(f func(liner) error) error {
	for _, x := range l {
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}
