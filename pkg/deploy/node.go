// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// checkNode says at once why a probe can't run on node; a pod pinned to it
// would wait without a word. It says nothing where it isn't told: reading
// nodes may be forbidden.
func (d *Deployer) checkNode(ctx context.Context, node string) error {
	n, err := d.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("node %q doesn't exist; see kubectl get nodes", node)
	case err != nil:
		return fmt.Errorf("node %q: %w", node, err)
	}
	if err := usable(n, d.now()); err != nil {
		return err
	}
	if n.Spec.Unschedulable {
		d.tell(node, PhaseCreating, "the node is cordoned; the probe goes there all the same and is gone afterwards")
	}
	return nil
}

// usable is nil if a pod that is pinned to n can start there.
func usable(n *corev1.Node, now time.Time) error {
	info := n.Status.NodeInfo
	if info.OperatingSystem != "" && info.OperatingSystem != "linux" {
		return fmt.Errorf("node %q runs %s; a probe needs Linux", n.Name, info.OperatingSystem)
	}
	if a := info.Architecture; a != "" && a != "amd64" && a != "arm64" {
		return fmt.Errorf("node %q is %s; there is a probe for amd64 and arm64", n.Name, a)
	}
	if n.DeletionTimestamp != nil {
		return fmt.Errorf("node %q is being deleted", n.Name)
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Errorf("node %q is not ready since %s (%s: %s); a probe can't start there, choose others with --node",
				n.Name, now.Sub(c.LastTransitionTime.Time).Round(time.Second), c.Reason, oneLine(c.Message))
		}
	}
	return nil
}
