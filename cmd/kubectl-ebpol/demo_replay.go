// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"

	"github.com/ebpol/kubectl-ebpol/pkg/demo"
	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// replayRecording shows the recording that ships with this program, as it was.
func (c *demoCommand) replayRecording(ctx context.Context) error {
	p, err := record.OpenReader("demo", demo.Recording(), record.Play{Speed: 1})
	if err != nil {
		return err
	}
	v := c.view(store.Options{Source: "recording of the demo", Replay: true})
	v.progress = false
	if c.flags.page != "" {
		v.page = c.flags.page
		if !v.screen {
			if v.lines, err = c.newPageLines(c.flags.page, c.format, true); err != nil {
				return errors.Join(err, p.Close(ctx))
			}
		}
	}
	v.played = &history{from: p.Created(), open: func() (io.ReadCloser, error) { return demo.Recording(), nil }}
	return c.runSession(ctx, p, v)
}
