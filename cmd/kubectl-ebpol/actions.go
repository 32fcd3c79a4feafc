// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui"
)

// actions is what the screen can ask of a session.
type actions struct {
	source   session.Source
	store    *store.Store
	readOnly bool
	force    bool

	rec    *recorder // nil: what comes can't be recorded
	played *history  // the recording that is shown; nil: none is
	lens   *lens     // nil: there is no screen
	advice adviser
	narrow narrower
}

var (
	_ tui.Actions  = (*actions)(nil)
	_ tui.Drafter  = (*actions)(nil)
	_ tui.Recorder = (*actions)(nil)
)

// Draft implements [tui.Drafter]: the edited policies take the place of those
// with the same names and are dry-run. One that names no namespace stays in
// that of the policy it was made of, as its file may name none.
func (a *actions) Draft(ctx context.Context, of tui.PolicyID, yaml []byte) ([]tui.PolicyID, error) {
	c, ok := a.source.(interface {
		Draft(ctx context.Context, list []*policy.Policy) error
	})
	if !ok {
		return nil, errors.New(a.Can("mode"))
	}
	o := &policy.Objects{Namespace: of.Namespace}
	if err := o.Read(yaml, "edited"); err != nil {
		return nil, err
	}
	if len(o.Policies) == 0 {
		var but string
		if len(o.Skipped) > 0 {
			but = ", but " + strings.Join(slices.Sorted(maps.Keys(o.Skipped)), ", ")
		}
		return nil, errors.New("the text holds no policy that is evaluated" + but)
	}
	drafted := make([]tui.PolicyID, 0, len(o.Policies))
	for _, p := range o.Policies {
		drafted = append(drafted, tui.PolicyID{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name})
	}
	return drafted, c.Draft(ctx, o.Policies)
}

// previewer is a session that can say beforehand what enforcement would cut.
type previewer interface {
	Preview(modes map[session.PolicyKey]session.Mode) ([]session.Cut, error)
}

func parseMode(s string) (session.Mode, error) {
	for _, m := range []session.Mode{session.Off, session.DryRun, session.Enforced} {
		if m.String() == s {
			return m, nil
		}
	}
	return 0, errors.New("modes are off, dry-run and enforced")
}

// SetMode implements [tui.Actions].
func (a *actions) SetMode(ctx context.Context, kind flow.RuleKind, namespace, name, mode string) error {
	c, ok := a.source.(session.Controller)
	if !ok {
		return errors.New(a.Can("mode"))
	}
	m, err := parseMode(mode)
	if err != nil {
		return err
	}
	return c.SetMode(ctx, map[session.PolicyKey]session.Mode{{Kind: kind, Namespace: namespace, Name: name}: m})
}

// Preview implements [tui.Actions].
func (a *actions) Preview(_ context.Context, kind flow.RuleKind, namespace, name string) ([]*store.FlowRow, error) {
	return a.preview(map[session.PolicyKey]session.Mode{{Kind: kind, Namespace: namespace, Name: name}: session.Enforced})
}

func (a *actions) preview(modes map[session.PolicyKey]session.Mode) ([]*store.FlowRow, error) {
	p, ok := a.source.(previewer)
	if !ok {
		return nil, errors.New(a.Can("enforce"))
	}
	cuts, err := p.Preview(modes)
	if err != nil {
		return nil, err
	}
	rows := make([]*store.FlowRow, 0, len(cuts))
	for _, c := range cuts {
		id := store.FlowID{Node: c.Node, ID: c.ID}
		if snap := a.store.Snapshot(store.Query{Selected: &id}); snap.Selected != nil {
			rows = append(rows, snap.Selected)
			continue
		}
		// Let go by the store, but alive: its addresses are known at least.
		rows = append(rows, &store.FlowRow{ID: id, Event: flow.Event{
			Type: flow.FlowEvent, Node: c.Node, Direction: c.Direction, Subject: c.Direction.Subject(), Protocol: c.Tuple.Protocol,
			Source:      &flow.Peer{IP: c.Tuple.Source.Addr(), Port: c.Tuple.Source.Port()},
			Destination: &flow.Peer{IP: c.Tuple.Destination.Addr(), Port: c.Tuple.Destination.Port()},
		}})
	}
	return rows, nil
}

// Enforce implements [tui.Actions].
func (a *actions) Enforce(ctx context.Context, total time.Duration) error {
	c, ok := a.source.(session.Controller)
	if !ok {
		return errors.New(a.Can("enforce"))
	}
	return c.Enforce(ctx, total, a.force)
}

// Release implements [tui.Actions].
func (a *actions) Release(ctx context.Context) error {
	c, ok := a.source.(session.Controller)
	if !ok {
		return nil
	}
	return c.Release(ctx)
}

// Can implements [tui.Actions].
func (a *actions) Can(what string) string {
	_, controls := a.source.(session.Controller)
	_, live := a.source.(previewer)
	if (what == "mode" || what == "enforce") && a.lens != nil && a.lens.past.Load() != nil {
		return "the screen shows the past; n goes back to now, where policies can be changed"
	}
	switch what {
	case "mode":
		if !controls {
			return "policies can't be changed in a recording"
		}
	case "enforce":
		if !live {
			return "nothing can be enforced in a recording"
		}
		if a.readOnly {
			return session.ErrReadOnly.Error()
		}
	case "record":
		switch {
		case !live:
			return "this is a recording already"
		case a.rec == nil:
			return "this session can't be recorded from here: start it with --record FILE"
		}
	}
	return ""
}
