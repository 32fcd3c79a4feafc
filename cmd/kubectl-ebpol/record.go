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

// runRecorded is runSession, with the frames also written to --record.
func (g *globals) runRecorded(ctx context.Context, src session.Source, f *liveFlags, v view) error {
	v.control = src
	if f.record == "" {
		return g.runSession(ctx, src, v)
	}
	tee, err := record.Create(f.record, src, record.Options{Source: v.header.Source, Program: "kubectl-ebpol " + version.String()})
	if err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
		defer cancel()
		return errors.Join(err, src.Close(end))
	}
	err = g.runSession(ctx, tee, v)
	if err == nil {
		fmt.Fprintf(g.ErrOut, "recorded in %s; see it again with: replay %s\n", f.record, f.record)
	}
	return err
}
