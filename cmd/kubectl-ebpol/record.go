// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/version"
)

// runRecorded is runSession, with the frames also written to --record, or from
// any later moment that the user chooses on the screen.
func (g *globals) runRecorded(ctx context.Context, src session.Source, f *liveFlags, v view) error {
	tee := record.Wrap(src)
	v.control = src
	v.record = func(file string) error {
		return tee.Start(file, record.Options{Source: v.header.Source, Program: "kubectl-ebpol " + version.String()})
	}
	if f.record == "" {
		return g.runSession(ctx, tee, v)
	}
	if err := v.record(f.record); err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
		defer cancel()
		return errors.Join(err, tee.Close(end))
	}
	v.record = nil // one at a time
	err := g.runSession(ctx, tee, v)
	if err == nil {
		fmt.Fprintf(g.ErrOut, "recorded in %s; see it again with: replay %s\n", f.record, f.record)
	}
	return err
}
