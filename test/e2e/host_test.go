// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A pod on the host's network has no device of its own: it is observed through
// its cgroup, by name, and never judged.
func TestHostNetworkPod(t *testing.T) {
	w := newWorld(t)
	at := net.JoinHostPort(w.ips["db"][0], fmt.Sprint(dbPort))
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "host"},
		Spec: corev1.PodSpec{
			NodeName: env.nodes[1], HostNetwork: true, TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{Name: "main", Image: env.agnhost, Command: []string{
				"sh", "-c", "while :; do /agnhost connect --timeout=1s " + at + "; sleep 0.2; done",
			}}},
		},
	}
	if _, err := env.client.CoreV1().Pods(w.ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.ready("host")
	r := plugin(t, "trace", "pod", "host", "-n", w.ns, "-o", "json")
	l := r.await(30*time.Second, "a flow of the pod on the host's network", both(typed("flow"), between("host", "db", 4)))
	if l.Verdict != "" || l.Candidate != "" || l.Subject != "source" || l.Node != env.nodes[1] {
		t.Errorf("flow %s", l)
	}
	if odd := r.all(func(l line) bool { return l.Verdict != "" && l.Source.Pod == "host" && l.Subject == "source" }); len(odd) > 0 {
		t.Errorf("judged: %s", odd[0])
	}
	r.await(30*time.Second, "its process", func(l line) bool {
		return both(typed("flow"), between("host", "db", 4))(l) && strings.Contains(l.raw, `"command":"agnhost"`) && strings.Contains(l.raw, `"container":`)
	})
	r.interrupt()
	nothingLeft(t, w)
}
