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

// These are what an Actions may be able to do as well; package page says what
// each means. The screen says so where one is missing.
type (
	// Explainer knows near misses and what would help.
	Explainer = page.Explainer
	// Explanation is what it answers.
	Explanation = page.Explanation
	// Miss is a rule that all but matched.
	Miss = page.Miss
	// Drafter takes edited policies as candidates.
	Drafter = page.Drafter
	// Recorder starts and ends a recording.
	Recorder = page.Recorder
	// Adviser knows what is wrong with policies, and what they cost.
	Adviser = page.Adviser
	// Advice is what it knows of one.
	Advice = page.Advice
	// Finding is a mark of the linter.
	Finding = page.Finding
	// PolicyID names a policy's version.
	PolicyID = page.PolicyID
	// Seeker shows another moment.
	Seeker = page.Seeker
	// Narrower has left out where they are taken samples that nobody wants to see.
	Narrower = page.Narrower
)

// Versioned is a Snapshots that can say cheaply whether the answer to a
// question has changed: while Version answers as before, no snapshot is taken
// until Now, the time that snapshots say, makes ages read otherwise.
type Versioned interface {
	Version(q store.Query) uint64
	Now() time.Time
}

// Waiter is a Versioned that can wait: Wait returns once Version answers
// something else than it was given, Now has come to due (zero: it never does),
// or ctx ends. While nothing that is shown changes the screen then does nothing
// at all.
type Waiter interface {
	Versioned
	Wait(ctx context.Context, q store.Query, version uint64, due time.Time)
}

// Snapshots is where the screen's content comes from.
type Snapshots interface {
	Snapshot(store.Query) *store.Snapshot
}
