// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ebpol/kubectl-ebpol/pkg/deploy"
)

// nothingLeft checks that a session left nothing: no object, and, on the
// project's own cluster, no program or filter in the pods' namespaces and no
// table on the nodes.
func nothingLeft(t testing.TB, w *world) {
	t.Helper()
	w.probesGone(10 * time.Second)
	w.jobsGone(10 * time.Second)
	if env.state == "" {
		return
	}
	for _, node := range env.nodes {
		for _, l := range strings.Split(onNode(t, node, "nft", "list", "tables"), "\n") {
			if strings.Contains(l, "ebpol") {
				t.Errorf("left behind on node %s: nft %s", node, l)
			}
		}
		for pod, ips := range w.ips {
			if at := strings.TrimSpace(onNode(t, node, "sh", "-c", fmt.Sprintf(attached, ips[0]))); at != "" {
				t.Errorf("left behind at pod %s on node %s:\n%s", pod, node, at)
			}
		}
	}
}

// attached lists the programs and filters in the network namespace that has
// an address.
const attached = `for n in $(ip netns list | cut -d' ' -f1); do
	ip -n $n addr 2>/dev/null | grep -qF ' %s/' || continue
	ip netns exec $n bpftool net show 2>/dev/null | grep -E 'tcx|clsact|tc/'
	for d in eth0; do for h in ingress egress; do tc -n $n filter show dev $d $h 2>/dev/null; done; done
done; true` // other tests' namespaces may go while it looks

// others selects the probes of sessions that don't run now: those of the tests.
func others(t testing.TB) string {
	t.Helper()
	list, err := env.client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{LabelSelector: deploy.Selector})
	if err != nil {
		t.Fatal(err)
	}
	selector := deploy.Selector
	for _, p := range list.Items {
		selector += "," + deploy.LabelSession + "!=" + p.Labels[deploy.LabelSession]
	}
	return selector
}

// probesGone waits until no probe of the test is left in the cluster.
func (w *world) probesGone(limit time.Duration) {
	t := w.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	pods := env.client.CoreV1().Pods("")
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: w.others})
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, p := range list.Items {
		left[p.Namespace+"/"+p.Name] = true
	}
	if len(left) == 0 {
		return
	}
	events, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: w.others, ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok && e.Type == watch.Deleted {
			delete(left, p.Namespace+"/"+p.Name)
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind after %s: pods %v", limit, left)
}

// jobsGone waits until the jobs that made them are gone too: the cluster
// deletes them when their pods have ended.
func (w *world) jobsGone(limit time.Duration) {
	t := w.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	jobs := env.client.BatchV1().Jobs("")
	list, err := jobs.List(ctx, metav1.ListOptions{LabelSelector: w.others})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) == 0 {
		return
	}
	events, err := jobs.Watch(ctx, metav1.ListOptions{LabelSelector: w.others, ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	left := len(list.Items)
	for e := range events.ResultChan() {
		if e.Type == watch.Deleted {
			left--
		}
		if left == 0 {
			return
		}
	}
	t.Errorf("left behind after %s: %d jobs", limit, left)
}
