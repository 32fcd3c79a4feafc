// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/session"
)

// gather is how long changes are collected before they are told, counted from
// the last telling: a rollout comes as hundreds of them, and each telling
// compiles policies. A change that comes alone doesn't wait.
const gather = 10 * time.Millisecond

var _ session.Cluster = (*Watcher)(nil)

// Watch implements [session.Cluster].
func (w *Watcher) Watch(ctx context.Context, fn func(session.State)) error {
	var last *State
	for {
		changed := w.Changed() // before State: another reader may take the change
		s := w.State()
		told := time.Now()
		if s != last {
			last = s
			fn(s.forSession())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(told.Add(gather))):
		}
	}
}

func (s *State) forSession() session.State {
	out := session.State{World: s.World, Policies: s.Policies}
	for _, f := range s.NotEvaluated {
		out.NotEvaluated = append(out.NotEvaluated, session.NotEvaluated(f))
	}
	return out
}
