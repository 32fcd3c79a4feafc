// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

const enforceLong = `Drops what the policies of the files deny, for a while: until --for is over,
you end it, or nobody renews the lease. If this program, the stream or the
probe dies, traffic is free again within ten seconds, with nobody's help.

First it watches the traffic for a moment and shows which live connections
would be cut; then it asks. What would cut off kube-system, DNS or the API
server is refused, unless you say --force.

With --cluster-policies it enforces every policy that the cluster has, and
those that it gets meanwhile, on all nodes: on a network that enforces none,
this shows what a policy engine would do.`

const enforceExample = `  kubectl ebpol enforce -f deny.yaml --for 10m
  kubectl ebpol enforce -f deny.yaml --for 1m --yes -o json   # in a script
  kubectl ebpol enforce --cluster-policies --for 1h           # be the policy engine`

type enforceCommand struct {
	*globals
	flags     liveFlags
	policies  policyFlags
	namespace string
	list      []*policy.Policy
	total     time.Duration
	force     bool
	engine    bool
	format    lines.Format
	screen    bool
}

func newEnforce(g *globals) *cobra.Command {
	c := &enforceCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "enforce -f FILE | -k FOLDER | --cluster-policies --for 10m",
		GroupID: "live",
		Short:   "Drop what policies deny, under a lease",
		Long:    enforceLong,
		Example: enforceExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.complete(cmd.Context()); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.flags.add(cmd)
	c.addLooks(cmd)
	c.policies.add(cmd)
	cmd.Flags().DurationVar(&c.total, "for", 0, "how long in all; required")
	cmd.Flags().BoolVar(&c.engine, "cluster-policies", false, "all policies of the cluster, on all nodes")
	cmd.Flags().BoolVar(&c.force, "force", false, "even if it cuts off kube-system, DNS or the API server")
	return cmd
}

func (c *enforceCommand) complete(ctx context.Context) (err error) {
	if c.format, c.screen, err = c.shown(c.flags.output); err != nil {
		return err
	}
	switch {
	case c.flags.readOnly:
		return errors.New("--read-only and enforce contradict each other")
	case c.total <= 0:
		return errors.New("say how long with --for, such as --for 10m")
	case c.total > session.MaxEnforce:
		return fmt.Errorf("--for %s: at most %s; what shall last is applied to the cluster, not enforced from here", c.total, session.MaxEnforce)
	case c.engine == (len(c.policies.files) != 0 || c.policies.kustomize != ""):
		return errors.New("say which policies: either -f FILE or -k FOLDER, or --cluster-policies")
	case !c.onTerminal() && !c.flags.yes:
		return errors.New("enforce asks before it cuts anything, and nobody can be asked without a terminal; add --yes if you mean it")
	}
	c.flags.limit = c.total
	if c.namespace, _, err = c.config.ToRawKubeConfigLoader().Namespace(); err != nil {
		return err
	}
	if c.engine {
		return nil
	}
	if c.list, err = c.policies.read(ctx, c.globals, c.namespace); err != nil {
		return err
	}
	return c.checkNamespaces(c.list)
}

func (c *enforceCommand) open(ctx context.Context) (*liveSession, error) {
	if !c.engine {
		s, _, err := c.openForPolicies(ctx, &c.flags, &c.policies, c.list, c.namespace, false)
		return s, err
	}
	return c.openLive(ctx, &c.flags, wanted{
		everywhere: true, unchosen: session.Enforced,
		pods: func(*kube.Watcher) (func(*identity.Pod) bool, error) {
			return func(p *identity.Pod) bool { return !p.HostNetwork }, nil
		},
	})
}

func (c *enforceCommand) run(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	return c.runRecorded(ctx, s, &c.flags, view{
		page: "flows", title: "enforce", screen: c.screen, lines: enforced{lines.New(c.Out, c.format)},
		progress: true, force: c.force, propose: c.total, header: store.Options{Source: c.sourceName(), Requests: s.client.Requests},
		ready: func(ctx context.Context, st *store.Store) error { return c.start(ctx, s, st) },
		limit: c.total + watched + time.Hour, // the lease ends it; this only bounds a forgotten question
	})
}

// start shows what would be cut, asks, and enforces.
func (c *enforceCommand) start(ctx context.Context, s *liveSession, st *store.Store) error {
	modes := map[session.PolicyKey]session.Mode{}
	for _, p := range c.list {
		modes[session.KeyOf(p)] = session.Enforced
	}
	what := count.Of(len(c.list), "policy")
	if c.engine {
		what = "all policies of the cluster"
	}
	c.tellLimits(s, c.list)
	fmt.Fprintf(c.ErrOut, "watching the traffic for %s\n", watched)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(watched):
	}
	act := &actions{source: s, store: st, force: c.force}
	rows, err := act.preview(modes)
	if err != nil {
		return err
	}
	c.showCuts(rows)
	if !c.flags.yes {
		if err := c.confirm(fmt.Sprintf("%s will be enforced for %s", what, c.total), "enforce"); err != nil {
			return err
		}
	}
	if err := s.SetMode(ctx, modes); err != nil {
		return err
	}
	if err := s.Enforce(ctx, c.total, c.force); err != nil {
		return err
	}
	fmt.Fprintf(c.ErrOut, "enforcing for %s; Ctrl-C ends it\n", c.total)
	go func() {
		select {
		case <-time.After(c.total):
			if !c.screen {
				fmt.Fprintln(c.ErrOut, "the time is over: traffic is free again")
				s.cancel()
			}
		case <-ctx.Done():
		}
	}()
	return nil
}

const cutsShown = 20

// showCuts lists them by who talks to whom: a client that connects each second
// is one line.
func (c *enforceCommand) showCuts(rows []*store.FlowRow) {
	if len(rows) == 0 {
		fmt.Fprintln(c.ErrOut, "no live connection would be cut")
		return
	}
	times := map[string]int{}
	var order []string
	for _, r := range rows {
		e := r.Event
		from := *e.Source
		from.Port = 0 // the client's own
		text := fmt.Sprintf("%s %s %s -> %s  %s", e.Direction, e.Protocol, lines.Name(&from), lines.Name(e.Destination), lines.Why(&e))
		if times[text]++; times[text] == 1 {
			order = append(order, text)
		}
	}
	fmt.Fprintf(c.ErrOut, "%d live connections would be cut:\n", len(rows))
	for _, text := range order[:min(cutsShown, len(order))] {
		fmt.Fprintf(c.ErrOut, "  %d x %s\n", times[text], text)
	}
	if n := len(order) - cutsShown; n > 0 {
		fmt.Fprintf(c.ErrOut, "  and %s more\n", count.Of(n, "kind"))
	}
}

// enforced prints what the lease touches, and drops.
type enforced struct{ *lines.Printer }

var _ liner = enforced{}

// Event implements [liner].
func (l enforced) Event(e *flow.Event) error {
	switch {
	case e.Benign:
		return nil
	case e.Enforced, e.WouldChange(), e.Type == flow.LossEvent, e.Type == flow.GapEvent, e.Type == flow.DropEvent:
		return l.Print(e)
	}
	return nil
}

// Tick implements [liner].
func (enforced) Tick(*store.Store) error { return nil }

// End implements [liner].
func (enforced) End(*store.Store) error { return nil }
