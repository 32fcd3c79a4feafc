// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// maxCronJobs bounds one answer of the API server.
const maxCronJobs = 2000

// CronJobs lists those of a namespace, or all if it is empty: what may run
// outside of the time that somebody watches.
func (c *Client) CronJobs(ctx context.Context, namespace string) ([]traffic.CronJob, error) {
	list, err := c.Typed.BatchV1().CronJobs(namespace).List(ctx, metav1.ListOptions{Limit: maxCronJobs})
	if err != nil {
		return nil, fmt.Errorf("CronJobs can't be listed: %w", err)
	}
	out := make([]traffic.CronJob, 0, len(list.Items))
	for i := range list.Items {
		j := &list.Items[i]
		out = append(out, traffic.CronJob{
			Namespace: j.Namespace, Name: j.Name, Schedule: j.Spec.Schedule, Suspended: j.Spec.Suspend != nil && *j.Spec.Suspend,
			Labels: j.Spec.JobTemplate.Spec.Template.Labels,
		})
	}
	return out, nil
}
