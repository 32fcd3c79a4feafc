// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

const dryRunLong = `Judges the live traffic twice, by the policies that the cluster has and by
those that it would have, and lists the flows whose verdict would change, with
the rule on both sides. Nothing is changed, nothing is dropped.

A policy of the files stands in the place of the cluster's of the same name;
the others are added. --without leaves one of the cluster's out.`

const dryRunExample = `  # what would this file change?
  kubectl ebpol dry-run -f deny.yaml

  # what does this policy do for us?
  kubectl ebpol dry-run --without shop/db-allow

  # in a pipe: ten minutes of traffic, as JSON Lines
  kubectl ebpol dry-run -k overlays/prod --for 10m -o json > changes.jsonl`

type dryRunCommand struct {
	*globals
	flags     liveFlags
	policies  policyFlags
	namespace string
	list      []*policy.Policy
	format    lines.Format
	screen    bool
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
			if err := c.complete(cmd.Context()); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.flags.add(cmd)
	c.policies.add(cmd)
	cmd.Flags().StringArrayVar(&c.policies.without, "without", nil, "leave this policy of the cluster out: NAME, NAMESPACE/NAME or cnp/NAME")
	cmd.Flags().DurationVar(&c.flags.limit, "for", 0, "end after so long; 0: when you end it")
	return cmd
}

func (c *dryRunCommand) complete(ctx context.Context) (err error) {
	if c.format, c.screen, err = c.shown(c.flags.output); err != nil {
		return err
	}
	if c.namespace, _, err = c.config.ToRawKubeConfigLoader().Namespace(); err != nil {
		return err
	}
	if len(c.policies.files) == 0 && c.policies.kustomize == "" && len(c.policies.without) == 0 {
		return errNoPolicy
	}
	c.list, err = c.policies.read(ctx, c.globals, c.namespace)
	return err
}

func (c *dryRunCommand) run(ctx context.Context) error {
	s, _, err := c.openForPolicies(ctx, &c.flags, &c.policies, c.list, c.namespace)
	if err != nil {
		return err
	}
	return c.runRecorded(ctx, s, &c.flags, view{
		page: "changes", title: "dry-run", screen: c.screen, lines: newChanges(c.Out, c.ErrOut, c.format), limit: c.flags.limit,
		progress: true, readOnly: c.flags.readOnly, candidates: c.list, header: store.Options{Source: c.sourceName(), Requests: s.client.Requests},
	})
}

// openForPolicies opens a session on the pods that the policies are for.
func (g *globals) openForPolicies(ctx context.Context, f *liveFlags, flags *policyFlags, list []*policy.Policy, namespace string) (*liveSession, map[session.PolicyKey]session.Mode, error) {
	modes := map[session.PolicyKey]session.Mode{}
	s, err := g.openLive(ctx, f, wanted{
		candidates: list, modes: modes,
		pods: func(w *kube.Watcher) (func(*identity.Pod) bool, error) {
			state := w.State()
			out, err := flags.leaveOut(state, namespace)
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
