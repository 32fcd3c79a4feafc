// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// Actions is all that the screen can ask of the world. Every method may block;
// the screen calls them from commands, never from Update.
type Actions interface {
	// SetMode sets the mode of policies: "off", "dry-run" or "enforced".
	SetMode(ctx context.Context, kind flow.RuleKind, namespace, name, mode string) error
	// Preview lists the live flows that enforcing the candidate set with this
	// policy enforced would cut, and refuses (error) what is unsafe.
	Preview(ctx context.Context, kind flow.RuleKind, namespace, name string) ([]*store.FlowRow, error)
	// Enforce starts or extends the lease.
	Enforce(ctx context.Context, total time.Duration) error
	Release(ctx context.Context) error
	// Can says why something is impossible here, or "" if it is possible:
	// "enforce", "mode", "record".
	Can(what string) string
}

// What an Actions may be able to do as well; page says what each means.
type (
	Explainer   = page.Explainer
	Explanation = page.Explanation
	Miss        = page.Miss
	Drafter     = page.Drafter
	Recorder    = page.Recorder
)

// Versioned is a Snapshots that can say cheaply whether anything changed: if
// Version answers as before, no snapshot is taken.
type Versioned interface{ Version() uint64 }

// Snapshots is where the screen's content comes from.
type Snapshots interface {
	Snapshot(store.Query) *store.Snapshot
}
