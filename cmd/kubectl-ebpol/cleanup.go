// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	authn "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/deploy"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
)

const cleanupLong = `Finds what sessions have left in the cluster, such as after a crash of this
program, takes it away, and looks again to prove that it is gone. Your own
sessions that still run are ended; those of others are listed and left alone,
unless you say --all.

Nothing is left on nodes in any case: a probe's programs live as long as its
process, and its pod has a deadline.`

type cleanupCommand struct {
	*globals
	all       bool
	namespace string
	timeout   time.Duration
}

func newCleanup(g *globals) *cobra.Command {
	c := &cleanupCommand{globals: g}
	cmd := &cobra.Command{
		Use:     "cleanup",
		GroupID: "other",
		Short:   "Take away what sessions have left, and prove it",
		Long:    cleanupLong,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
			defer cancel()
			return c.run(ctx)
		},
	}
	cmd.Flags().BoolVar(&c.all, "all", false, "end the sessions of others as well")
	cmd.Flags().StringVar(&c.namespace, "probe-namespace", deploy.DefaultNamespace, "where to look if you may not look everywhere")
	cmd.Flags().DurationVar(&c.timeout, "timeout", time.Minute, "how long to wait until it is gone")
	return cmd
}

func (c *cleanupCommand) run(ctx context.Context) error {
	config, err := c.config.ToRESTConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return c.clean(ctx, client)
}

func (c *cleanupCommand) clean(ctx context.Context, client kubernetes.Interface) error {
	found, everywhere, err := deploy.Leftovers(ctx, client, c.namespace)
	if err != nil {
		return fmt.Errorf("look for what sessions have left: %w", kube.Unanswered(err))
	}
	mine, others := c.sort(found, whoAmI(ctx, client))
	for _, l := range mine {
		fmt.Fprintf(c.Out, "deleting %s\n", describe(l))
	}
	if err := deploy.Remove(ctx, client, mine); err != nil {
		return err
	}
	for _, l := range others {
		fmt.Fprintf(c.Out, "left alone: %s\n", describe(l))
	}
	// The proof: look again.
	after, _, err := deploy.Leftovers(ctx, client, c.namespace)
	if err != nil {
		return fmt.Errorf("look whether it is gone: %w", err)
	}
	where := "in any namespace"
	if !everywhere {
		where = fmt.Sprintf("in namespace %q (you may not look into others)", c.namespace)
	}
	if left, _ := c.sort(after, whoAmI(ctx, client)); len(left) > 0 {
		return fmt.Errorf("%s is still there; run cleanup again, or see kubectl describe", describe(left[0]))
	}
	switch {
	case len(others) > 0:
		fmt.Fprintf(c.Out, "nothing of yours is left %s; of others' sessions, %s (--all ends them)\n", where, count.Of(len(others), "object"))
	default:
		fmt.Fprintf(c.Out, "nothing is left %s\n", where)
	}
	return nil
}

// sort tells one's own from others'. Who can't be told apart is taken for
// one's own: an object without a name on it belongs to nobody who could object.
func (c *cleanupCommand) sort(found []deploy.Leftover, me string) (mine, others []deploy.Leftover) {
	for _, l := range found {
		if c.all || l.StartedBy == "" || me == "" || l.StartedBy == me {
			mine = append(mine, l)
		} else {
			others = append(others, l)
		}
	}
	return mine, others
}

func describe(l deploy.Leftover) string {
	s := fmt.Sprintf("%s %s/%s", l.Kind, l.Namespace, l.Name)
	if l.Node != "" {
		s += " on node " + l.Node
	}
	if l.Phase != "" {
		s += " (" + l.Phase + ")"
	}
	s += fmt.Sprintf(", %s old", duration.HumanDuration(time.Since(l.Created)))
	if l.StartedBy != "" {
		s += ", of " + l.StartedBy
	}
	return oneLine(errors.New(s))
}

// whoAmI is the user that the API server takes us for; empty if it doesn't say.
func whoAmI(ctx context.Context, client kubernetes.Interface) string {
	r, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authn.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return r.Status.UserInfo.Username
}
