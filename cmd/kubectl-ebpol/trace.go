// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

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

  # of all pods with a label, of every pod on a node, and of every pod
  kubectl ebpol trace -l app=web -n shop
  kubectl ebpol trace node/worker-1
  kubectl ebpol trace -A -o json`

// traceCommand is the command's value: what it was asked for.
type traceCommand struct {
	*globals
	flags  liveFlags
	where  where
	target kube.Target
	format lines.Format
	screen bool
	noise  bool
}

func newTrace(g *globals) *cobra.Command {
	c := &traceCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "trace KIND NAME | KIND/NAME | -l SELECTOR | -A",
		GroupID: "live",
		Short:   "Show each flow, verdict and drop of a workload",
		Long:    traceLong,
		Example: traceExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.complete(args); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.flags.add(cmd)
	c.addLooks(cmd)
	c.where.add(cmd)
	cmd.Flags().BoolVar(&c.noise, "noise", false, "also print drops that are part of ordinary life")
	cmd.Flags().DurationVar(&c.flags.limit, "for", 0, "end after so long; 0: when you end it")
	return cmd
}

func (c *traceCommand) complete(args []string) (err error) {
	if c.format, c.screen, err = c.shown(c.flags.output); err != nil {
		return err
	}
	if c.target, err = c.where.target(c.globals); err != nil {
		return err
	}
	if args, err = c.named(args); err != nil || len(args) == 0 {
		return err
	}
	if c.target.Kind, c.target.Name, err = kube.ParseTarget(args); err != nil {
		return err
	}
	switch {
	case c.target.Kind == "node":
		c.target.Namespace = ""
	case c.where.all:
		return fmt.Errorf("%s %q can't be looked for in all namespaces: give its namespace with -n, or -A without a name", c.target.Kind, c.target.Name)
	}
	return nil
}

// named are the words that name one workload; none if the flags choose the
// pods, as in "trace pods -l app=web".
func (c *traceCommand) named(args []string) ([]string, error) {
	chosen := c.where.all || c.where.selector != "" || c.where.node != ""
	switch {
	case len(args) == 0 && !chosen:
		return nil, errors.New("say what to trace: pod NAME, deploy/NAME, sts/NAME, ds/NAME, job/NAME, svc/NAME, node/NAME, pods with -l SELECTOR, or all with -A")
	case len(args) > 2, len(args) == 2 && strings.Contains(args[0], "/"):
		return nil, fmt.Errorf("%q: one workload at a time; several are chosen by a label of their pods with -l SELECTOR", strings.Join(args, " "))
	case len(args) == 1 && chosen:
		if kind, _, err := kube.ParseTarget([]string{args[0], "any"}); err == nil && kind == "pod" {
			return nil, nil
		}
	case len(args) == 1 && !strings.Contains(args[0], "/"):
		if kind, _, err := kube.ParseTarget([]string{args[0], "any"}); err == nil {
			return nil, fmt.Errorf("which %s? Give its name, or choose pods with -l SELECTOR or -A", kind)
		}
	}
	return args, nil
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
