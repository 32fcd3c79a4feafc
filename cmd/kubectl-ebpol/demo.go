// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/demo"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const demoLong = `Makes a small shop of pods in network namespaces on this machine, without a way
out, and observes it with the real probe: web, cart, orders, a database, a
nightly report, monitoring, and an intruder. The shop has one policy; a stricter
set is being dry-run, whose author forgot somebody. Try to enforce it: press 4
or tab to the policies, then e.

It needs root on Linux and leaves nothing behind, however it ends. Elsewhere, or
with --replay, it replays a recording of the same.`

const demoExample = `  sudo kubectl-ebpol demo
  sudo kubectl-ebpol demo --headless
  sudo kubectl-ebpol demo --headless --page nodes
  sudo kubectl-ebpol demo -o json --for 5s | jq 'select(.candidate == "deny")'`

// headlessFor is how long the demo prints lines unless told otherwise.
const headlessFor = 10 * time.Second

type demoCommand struct {
	*globals
	flags    liveFlags
	headless bool
	replay   bool
	probe    string
	format   lines.Format
	screen   bool
}

func newDemo(g *globals) *cobra.Command {
	c := &demoCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: "live",
		Short:   "Try it without a cluster: a small shop on this machine",
		Long:    demoLong,
		Example: demoExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.complete(cmd.Flags().Changed("for")); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.addLooks(cmd)
	fs := cmd.Flags()
	fs.StringVarP(&c.flags.output, "output", "o", "", "lines instead of the screen: wide or json")
	c.flags.addPage(cmd)
	fs.StringVar(&c.flags.record, "record", "", "also write the session to this file, for replay")
	fs.BoolVar(&c.flags.readOnly, "read-only", false, "make enforcement impossible in this session")
	fs.BoolVar(&c.headless, "headless", false, "lines instead of the screen, for 10 seconds")
	fs.DurationVar(&c.flags.limit, "for", 0, "end after so long; 0: when you end it")
	fs.BoolVar(&c.replay, "replay", false, "replay the recording even if the demo could run live")
	fs.StringVar(&c.probe, "probe", "", "the probe's program; default: ebpol-probe beside this program or on the PATH")
	return cmd
}

func (c *demoCommand) complete(limited bool) (err error) {
	if c.format, c.screen, err = c.shown(c.flags.output); err != nil {
		return err
	}
	if c.flags.limit < 0 {
		return errNegative
	}
	if c.replay && c.flags.record != "" {
		return errors.New("--replay shows a recording that there is already: --record is for the live demo")
	}
	if c.headless {
		c.screen = false
	}
	if err := checkPage(c.flags.page); err != nil {
		return err
	}
	if !c.screen && !limited {
		c.flags.limit = headlessFor
	}
	return nil
}

func (c *demoCommand) run(ctx context.Context) error {
	if c.replay {
		return c.replayRecording(ctx)
	}
	src, err := c.open(ctx)
	if errors.Is(err, demo.ErrNotSupported) && c.flags.record == "" {
		fmt.Fprintf(c.ErrOut, "replaying a recording, because %s\n", oneLine(err))
		return c.replayRecording(ctx)
	}
	if err != nil {
		return err
	}
	for _, n := range src.running.Notes() {
		fmt.Fprintf(c.ErrOut, "warning: %s\n", oneLine(errors.New(n)))
	}
	return c.runRecorded(ctx, src, &c.flags, c.view(store.Options{Source: "demo on this machine"}))
}

func (c *demoCommand) view(header store.Options) view {
	return view{
		page: "top", title: "demo", screen: c.screen, lines: eachEvent{Printer: lines.New(c.Out, c.format)},
		limit: c.flags.limit, progress: !c.screen, readOnly: c.flags.readOnly, header: header,
	}
}

// demoSession is a live session and the world that it observes.
type demoSession struct {
	*session.Live
	running *demo.Running
}

var _ session.Controller = (*demoSession)(nil)

// Close implements [session.Source].
func (s *demoSession) Close(ctx context.Context) error {
	return errors.Join(s.Live.Close(ctx), s.running.Close())
}

// open starts the shop and a session on it. The error wraps
// [demo.ErrNotSupported] if this machine can't.
func (c *demoCommand) open(ctx context.Context) (*demoSession, error) {
	probe, err := findProbe(c.probe)
	if err != nil {
		return nil, err
	}
	current, err := demo.Parse(demo.ClusterPolicies)
	if err != nil {
		return nil, err
	}
	candidate, err := demo.Parse(demo.CandidatePolicies)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	running, err := demo.Start(ctx, self, demo.Shop())
	if err != nil {
		return nil, err
	}
	if err := checkProbe(ctx, probe); err != nil {
		return nil, errors.Join(err, running.Close())
	}
	live, err := session.NewLive(ctx, session.Config{
		Cluster: running.Cluster(current), NewCompiler: newCompiler, Probes: []session.Probe{running.Probe(probe)},
		Program: "kubectl-ebpol " + thisBuild().Version, ReadOnly: c.flags.readOnly,
		Candidates: candidate, Options: &wire.Options{Drops: true, Blame: true, Owners: true, Names: true},
	})
	if err != nil {
		return nil, errors.Join(err, running.Close())
	}
	return &demoSession{live, running}, nil
}

// findProbe is the program to run as the probe.
func findProbe(given string) (string, error) {
	if given != "" {
		return exec.LookPath(given)
	}
	if runtime.GOOS != "linux" {
		return "", fmt.Errorf("%w: the probe is a Linux program, and this is %s", demo.ErrNotSupported, runtime.GOOS)
	}
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		if p, err := exec.LookPath(filepath.Join(filepath.Dir(self), "ebpol-probe")); err == nil {
			return p, nil
		}
	}
	if p, err := exec.LookPath("ebpol-probe"); err == nil {
		return p, nil
	}
	return "", fmt.Errorf("%w: there is no ebpol-probe beside this program or on the PATH; "+
		"get it with go install github.com/ebpol/kubectl-ebpol/cmd/ebpol-probe@latest", demo.ErrNotSupported)
}

// checkProbe asks the probe whether this kernel lets it observe.
func checkProbe(ctx context.Context, path string) error {
	out, err := exec.CommandContext(ctx, path, "check").CombinedOutput()
	if err == nil {
		return nil
	}
	said := strings.Split(strings.TrimSpace(wire.Clean(string(out), 2000)), "\n")
	return fmt.Errorf("%w: %s check: %w: %s", demo.ErrNotSupported, filepath.Base(path), err, said[len(said)-1])
}

// newDemoPod is what the demo starts inside each pod's namespace.
func newDemoPod(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:    demo.PodCommand,
		Hidden: true,
		Short:  "Play one pod of the demo",
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return demo.RunPod(cmd.Context(), g.In, g.Out) },
	}
}
