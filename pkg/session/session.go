// SPDX-License-Identifier: Apache-2.0

// Package session is where frames come from. A [Source] is a cluster's probes,
// a probe on this machine, or a recording; nothing above it knows which.
package session

import (
	"context"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Source delivers frames in the order in which they became known. Each frame
// has its node set, or none if it speaks of the whole session (World,
// RuleNames, PolicyStates). A RuleNames frame comes before any flow that a set
// in it judged; a World frame before any flow of its pods' endpoints.
type Source interface {
	// Frames is closed when the source ends; Err then says why, nil for a good end.
	Frames() <-chan *wire.Frame
	Err() error
	// Close ends the source and frees what it holds, on this machine and in
	// the cluster. It returns when all of it is gone, or the context's error.
	Close(ctx context.Context) error
}

// PolicyKey names a policy within a session. Several versions of one policy
// (the cluster's and a file's) share a key; the file's is then the candidate's.
type PolicyKey struct {
	Kind      flow.RuleKind
	Namespace string
	Name      string
}

// Mode is what the session does with a policy's candidate version.
type Mode uint8

// The modes, in the order in which one key walks through them.
const (
	Off      Mode = iota // not part of the candidate set
	DryRun               // judged, nothing dropped
	Enforced             // judged, and its denials dropped while the lease runs
)

func (m Mode) String() string { return [...]string{"off", "dry-run", "enforced"}[m] }

// Controller is a Source whose policies can be changed while it runs. A
// recording's is limited: SetMode works where rules are known, Enforce never.
type Controller interface {
	Source
	// SetMode changes modes at once, as one new generation.
	SetMode(ctx context.Context, modes map[PolicyKey]Mode) error
	// Enforce starts the lease for all policies in mode Enforced and renews it
	// until total is over, Release is called or the session ends. It refuses,
	// with the reason, what is unsafe unless force is set.
	Enforce(ctx context.Context, total time.Duration, force bool) error
	Release(ctx context.Context) error
}
