// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
)

// Cluster tells a live session what the demo's API server would. Its policies
// are those of [ClusterPolicies].
func (r *Running) Cluster(policies []*policy.Policy) session.Cluster {
	return &cluster{session.State{World: r.World(), Policies: policies}}
}

type cluster struct{ state session.State }

// Watch implements [session.Cluster]: nothing ever changes.
func (c *cluster) Watch(ctx context.Context, fn func(session.State)) error {
	fn(c.state)
	<-ctx.Done()
	return nil
}

// Probe is the probe of the demo's node: the program at path, as a child
// process in the node's network namespace, spoken to over its stdin and
// stdout. A new one is started if it dies.
func (r *Running) Probe(path string) session.Probe {
	return session.Probe{Node: NodeName, Dialer: session.ChildBy(r.StartOnNode, path, "run", "--stdio", "--node", NodeName)}
}
