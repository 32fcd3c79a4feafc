// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// inPodRun runs a command of the node in a pod's network namespace.
func inPodRun(t *testing.T, w *world, pod string, command ...string) {
	t.Helper()
	inPod(t, env.nodes[0], v4(w, pod), func() error {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", command, err, out)
		}
		return nil
	})
}

// More faults than the sixteen: what never becomes a packet, and rules that the
// kernel's tracing can't see.
func TestMoreFaults(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	node := env.nodes[0]
	faults := []fault{
		{
			name: "no route in the pod", plant: func(t *testing.T, w *world) {
				inPodRun(t, w, "intruder", "ip", "route", "add", "unreachable", "198.51.100.9")
				t.Cleanup(func() { inPodRun(t, w, "intruder", "ip", "route", "del", "unreachable", "198.51.100.9") })
			},
			send:    []string{"timeout", "1", "/agnhost", "connect", "--timeout=300ms", "198.51.100.9:80"},
			culprit: "unreachable route", says: []string{"agnhost (pid ", "no packet is made", "in the network namespace of pod"}, to: to("198.51.100.9"),
		},
		{
			name: "reject in the pod", plant: func(t *testing.T, w *world) {
				inPodRun(t, w, "intruder", "nft", `table inet e2e_pod { chain out { type filter hook output priority 0; ip daddr 198.51.100.10 counter reject with tcp reset; }; }`)
				t.Cleanup(func() { inPodRun(t, w, "intruder", "nft", "delete table inet e2e_pod") })
			},
			send:    []string{"timeout", "1", "/agnhost", "connect", "--timeout=300ms", "198.51.100.10:80"},
			culprit: "netfilter rule", says: []string{"of chain out in table inet e2e_pod rejected it", "in the network namespace of pod"}, to: to("198.51.100.10"),
		},
		{
			name: "netdev ingress", plant: func(t *testing.T, w *world) {
				onNode(t, node, "nft", fmt.Sprintf(`table netdev e2e_dev { chain in { type filter hook ingress device "%s" priority 0; ip daddr %s drop; }; }`, deviceOf(t, node, v4(w, "intruder")), v4(w, "db")))
				t.Cleanup(func() { onNode(t, node, "nft", "delete table netdev e2e_dev") })
			},
			culprit: "netfilter rule", says: []string{"of chain in in table netdev e2e_dev dropped it", "That is inferred"}, to: toDB,
		},
		{
			name: "prohibiting rule", plant: func(t *testing.T, w *world) {
				onNode(t, node, "ip", "rule", "add", "pref", "10", "from", v4(w, "intruder"), "to", "198.51.100.11", "prohibit")
				t.Cleanup(func() { onNode(t, node, "ip", "rule", "del", "pref", "10") })
			},
			send:    []string{"timeout", "1", "/agnhost", "connect", "--timeout=300ms", "198.51.100.11:80"},
			culprit: "prohibit route", says: []string{"of type prohibit"}, to: to("198.51.100.11"),
		},
	}
	r := plugin(t, "trace", "node/"+node, "-o", "json")
	r.await(2*time.Minute, "a flow", both(typed("flow"), between("intruder", "db", 4)))
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) { w.suffer(t, r, &f) })
	}
	r.interrupt()
	nothingLeft(t, w)
}
