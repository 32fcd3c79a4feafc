// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

const replayLong = `Shows a recording as if it were live: on a terminal the screen, otherwise
lines. It needs neither a cluster nor rights nor Linux.`

const replayExample = `  kubectl ebpol trace deploy/web --record web.ebpol
  kubectl ebpol replay web.ebpol
  kubectl ebpol replay web.ebpol -o json | jq 'select(.verdict=="deny")'`

type replayCommand struct {
	*globals
	file   string
	output string
	page   string
	speed  float64
	format lines.Format
	screen bool
	noise  bool
	paged  bool // a page was asked for
}

func newReplay(g *globals) *cobra.Command {
	c := &replayCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "replay FILE",
		GroupID: "live",
		Short:   "Show a recording as if it were live",
		Long:    replayLong,
		Example: replayExample,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.complete(cmd, args[0]); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.addLooks(cmd)
	cmd.Flags().StringVarP(&c.output, "output", "o", "", "lines instead of the screen: wide or json")
	cmd.Flags().BoolVar(&c.noise, "noise", false, "also print drops that are part of ordinary life")
	cmd.Flags().StringVar(&c.page, "page", "top", "page to begin with; without a screen, print it as it is at the end instead of events: top, flows, changes, connections, drops, policies, policy, nodes, timeline, matrix or why")
	cmd.Flags().Float64Var(&c.speed, "speed", 1, "1: as it was, 2: twice as fast, 0: at once; lines come at once unless it is given")
	return cmd
}

func (c *replayCommand) complete(cmd *cobra.Command, file string) (err error) {
	c.file, c.paged = file, cmd.Flags().Changed("page")
	if c.format, c.screen, err = c.shown(c.output); err != nil {
		return err
	}
	if c.speed < 0 {
		return fmt.Errorf("--speed %g: from 0", c.speed)
	}
	if !c.screen && !cmd.Flags().Changed("speed") {
		c.speed = 0
	}
	return nil
}

func (c *replayCommand) run(ctx context.Context) error {
	p, err := record.Open(c.file, record.Play{Speed: c.speed, Calm: true})
	if err != nil {
		return err
	}
	var printed liner = eachEvent{lines.New(c.Out, c.format), c.noise}
	if c.paged && !c.screen {
		if printed, err = c.newPageLines(c.page, c.format, true); err != nil {
			return errors.Join(err, p.Close(ctx))
		}
	}
	return c.runSession(ctx, p, view{
		page: c.page, screen: c.screen, lines: printed,
		header: store.Options{Source: "recording " + filepath.Base(c.file), Replay: true},
		played: &history{from: p.Created(), open: func() (io.ReadCloser, error) { return os.Open(c.file) }},
	})
}
