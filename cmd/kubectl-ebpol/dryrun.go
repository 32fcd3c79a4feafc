// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/confidence"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

const dryRunLong = `Judges the live traffic twice, by the policies that the cluster has and by
those that it would have, and lists the flows whose verdict would change, with
the rule on both sides. Nothing is changed, nothing is dropped.

A policy of the files stands in the place of the cluster's of the same name;
the others are added. --without leaves one of the cluster's out.

At the end it says how far to rely on the answer: how long it watched, what it
did not see, which rules no flow came for, which open connections would be cut.
--report writes that, with the changes grouped, to standard output instead of
lines: for people, for a pull request, or for a CI system. With --from it judges
the flows of a recording, and needs neither a cluster nor a probe.

The exit code is 0 however the flows were judged. With --exit-code it is 0 if
nothing would change, 1 if something would, and 2 after an error.`

const dryRunExample = `  # what would this file change?
  kubectl ebpol dry-run -f deny.yaml

  # the same, with both ends: the pods of all namespaces are watched
  kubectl ebpol dry-run -f deny.yaml -A

  # what does this policy do for us?
  kubectl ebpol dry-run --without shop/db-allow

  # in a pipe: ten minutes of traffic, as JSON Lines
  kubectl ebpol dry-run -k overlays/prod --for 10m -o json > changes.jsonl

  # in CI: fail if something would change, and say what in the pull request
  kubectl ebpol dry-run -k overlays/prod --for 10m --exit-code --report markdown > comment.md

  # against last week's traffic
  kubectl ebpol dry-run -f deny.yaml --from monday.ebpol --report junit > junit.xml`

type dryRunCommand struct {
	*globals
	flags     liveFlags
	policies  policyFlags
	namespace string
	all       bool
	list      []*policy.Policy
	format    lines.Format
	screen    bool
	report    string
	exitCode  bool
	from      string
}

func newDryRun(g *globals) *cobra.Command {
	c := &dryRunCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "dry-run -f FILE | -k FOLDER | --without POLICY",
		GroupID: "live",
		Short:   "List the live flows whose verdict policies would change",
		Long:    dryRunLong,
		Example: dryRunExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := c.complete(cmd.Context())
			if err == nil {
				err = c.run(cmd.Context())
			}
			var code exitCode
			if err != nil && c.exitCode && !errors.As(err, &code) {
				return usage(err)
			}
			return err
		},
	}
	c.flags.add(cmd)
	c.addLooks(cmd)
	c.policies.add(cmd)
	cmd.Flags().StringVar(&c.report, "report", "", "at the end write a report, and no lines before: text, json, junit or markdown")
	cmd.Flags().BoolVar(&c.exitCode, "exit-code", false, "exit with 0 if nothing would change, 1 if something would, 2 after an error")
	cmd.Flags().StringVar(&c.from, "from", "", "judge the flows of this recording instead of live ones")
	cmd.Flags().StringArrayVar(&c.policies.without, "without", nil, "leave this policy of the cluster out: NAME, NAMESPACE/NAME or cnp/NAME")
	cmd.Flags().BoolVarP(&c.all, "all-namespaces", "A", false, "the pods of all namespaces, not only those that the policies select")
	cmd.Flags().DurationVar(&c.flags.limit, "for", 0, "end after so long; 0: when you end it")
	return cmd
}

func (c *dryRunCommand) complete(ctx context.Context) (err error) {
	if c.format, c.screen, err = c.shown(c.flags.output); err != nil {
		return err
	}
	if c.namespace, _, err = c.config.ToRawKubeConfigLoader().Namespace(); err != nil {
		if c.from == "" {
			return err
		}
		c.namespace = "default" // a recording needs no cluster
	}
	switch {
	case c.report != "" && !slices.Contains(confidence.Formats, c.report):
		return fmt.Errorf("--report %q: use %s", c.report, strings.Join(confidence.Formats, ", "))
	case c.report != "" && c.flags.output != "":
		return errors.New("-o prints lines, --report a report at the end: give one of them")
	case c.from != "" && (c.flags.limit != 0 || c.flags.record != ""):
		return errors.New("--from takes a recording: --for and --record are for live traffic")
	}
	c.screen = c.screen && c.report == "" && !c.exitCode && c.from == ""
	if c.from == "" && len(c.policies.files) == 0 && c.policies.kustomize == "" && len(c.policies.without) == 0 {
		return errNoPolicy
	}
	if c.list, err = c.policies.read(ctx, c.globals, c.namespace); err != nil {
		return err
	}
	return c.checkNamespaces(c.list)
}

func (c *dryRunCommand) run(ctx context.Context) error {
	if c.from != "" {
		return c.replay(ctx)
	}
	s, _, err := c.openForPolicies(ctx, &c.flags, &c.policies, c.list, c.namespace, c.all)
	if err != nil {
		return err
	}
	out := newChanges(c.Out, c.ErrOut, c.format)
	out.source, out.list, out.report = c.sourceName(), c.list, c.report
	out.coverage = func(cover *traffic.Coverage) {
		out.policies = s.watcher.State().Policies
		cronJobs(ctx, s.client, c.about(), cover)
	}
	v := view{
		page: "changes", title: "dry-run", screen: c.screen, lines: out, limit: c.flags.limit, every: 250 * time.Millisecond,
		progress: true, readOnly: c.flags.readOnly, header: store.Options{Source: c.sourceName(), Requests: s.client.Requests},
	}
	if !c.screen {
		v.ready = out.start
	}
	if err := c.runRecorded(ctx, s, &c.flags, v); err != nil {
		return err
	}
	return c.finish(out.sum)
}

// about is the one namespace that the policies are of; empty: of several, or of all.
func (c *dryRunCommand) about() string {
	if c.all {
		return ""
	}
	one := ""
	for _, p := range c.list {
		if p.Namespace == "" || one != "" && p.Namespace != one {
			return ""
		}
		one = p.Namespace
	}
	if one == "" {
		return c.namespace // of --without
	}
	return one
}

// finish writes the report and says by the exit code what it came to.
func (c *dryRunCommand) finish(sum *confidence.Report) error {
	if sum == nil {
		return nil // shown on a screen
	}
	if c.report != "" {
		if err := sum.Write(c.Out, c.report); err != nil {
			return err
		}
	}
	switch {
	case !c.exitCode:
		return nil
	case sum.Nodes == 0:
		return errors.New("no probe was live: nothing was watched")
	case sum.Changed() > 0:
		return exitCode(1)
	}
	return nil
}

// openForPolicies opens a session on the pods that the policies are for, or on
// all pods, if there are any that they are for.
func (g *globals) openForPolicies(ctx context.Context, f *liveFlags, flags *policyFlags, list []*policy.Policy, namespace string, all bool) (*liveSession, map[session.PolicyKey]session.Mode, error) {
	modes := map[session.PolicyKey]session.Mode{}
	s, err := g.openLive(ctx, f, wanted{
		candidates: list, modes: modes,
		pods: func(w *kube.Watcher) (func(*identity.Pod) bool, error) {
			state := w.State()
			out, err := flags.leaveOut(state, list, namespace)
			if err != nil {
				return nil, err
			}
			for k, m := range out {
				modes[k] = m
			}
			for _, p := range list {
				if p.Namespace != "" && state.World.Namespaces[p.Namespace] == nil {
					return nil, fmt.Errorf("%s %q: namespace %q doesn't exist in this cluster%s",
						p.Kind, p.Name, p.Namespace, didYouMean(p.Namespace, slices.Collect(maps.Keys(state.World.Namespaces))))
				}
			}
			match := affected(w, list, modes)
			if len(nodesOf(state.World, match)) == 0 {
				return nil, errNobody(list, flags.without)
			}
			if all {
				match = func(*identity.Pod) bool { return true }
			}
			return match, nil
		},
	})
	return s, modes, err
}

func errNobody(list []*policy.Policy, without []string) error {
	name := ""
	if len(list) > 0 {
		name = list[0].Key()
	} else if len(without) > 0 {
		name = without[0]
	}
	return fmt.Errorf("policy %q and the others given select no running pod: there is no traffic that they could change", name)
}

// watched is how long enforce looks at the traffic before it says what it would cut.
const watched = 3 * time.Second
