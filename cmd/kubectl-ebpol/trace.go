// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

type stream = io.ReadWriteCloser

const traceLong = `Shows each new flow, verdict change and drop of a workload, with names, the
rule that decided, and who dropped it. A probe is put on the nodes that the
workload's pods run on, for as long as you look.

On a terminal it opens a screen; otherwise, or with -o, it prints lines.`

const traceExample = `  # what goes in and out of a pod
  kubectl ebpol trace pod web-5c7d

  # of all pods of a deployment, as JSON Lines
  kubectl ebpol trace deploy/web -n shop -o json | jq .verdict

  # of every pod on a node, and of every pod
  kubectl ebpol trace node/worker-1
  kubectl ebpol trace -A -o json`

// traceCommand is the command's value: what it was asked for.
type traceCommand struct {
	*globals
	flags  liveFlags
	target kube.Target
	all    bool
	format lines.Format
	screen bool
	noise  bool
}

func newTrace(g *globals) *cobra.Command {
	c := &traceCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "trace KIND NAME | KIND/NAME | -A",
		GroupID: "live",
		Short:   "Show each flow, verdict and drop of a workload",
		Long:    traceLong,
		Example: traceExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if c.all {
				return cobra.MaximumNArgs(2)(cmd, args)
			}
			return cobra.RangeArgs(1, 2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.complete(args); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.flags.add(cmd)
	c.addLooks(cmd)
	cmd.Flags().BoolVarP(&c.all, "all-namespaces", "A", false, "the pods of all namespaces")
	cmd.Flags().BoolVar(&c.noise, "noise", false, "also print drops that are part of ordinary life")
	cmd.Flags().DurationVar(&c.flags.limit, "for", 0, "end after so long; 0: when you end it")
	return cmd
}

func (c *traceCommand) complete(args []string) (err error) {
	if c.format, c.screen, err = c.shown(c.flags.output); err != nil {
		return err
	}
	if c.all && len(args) == 0 {
		return nil // no kind, no namespace: every pod
	}
	if c.target.Kind, c.target.Name, err = kube.ParseTarget(args); err != nil {
		return err
	}
	if c.target.Kind == "node" {
		return nil
	}
	if c.all {
		return fmt.Errorf("%s %q can't be looked for in all namespaces: give its namespace with -n, or -A without a name", c.target.Kind, c.target.Name)
	}
	c.target.Namespace, _, err = c.config.ToRawKubeConfigLoader().Namespace()
	return err
}

func (c *traceCommand) run(ctx context.Context) error {
	s, err := c.openLive(ctx, &c.flags, wanted{target: c.target})
	if err != nil {
		return err
	}
	return c.runRecorded(ctx, s, &c.flags, view{
		page: "flows", title: c.target.String(), screen: c.screen, lines: eachEvent{lines.New(c.Out, c.format), c.noise},
		limit: c.flags.limit, progress: true, readOnly: c.flags.readOnly, header: store.Options{Source: c.sourceName(), Requests: s.client.Requests},
	})
}
