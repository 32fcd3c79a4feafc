// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// between fits lines about packets from one pod to another, of an IP version
// (4, 6, or 0 for either).
func between(from, to string, version int) func(line) bool {
	return func(l line) bool {
		if l.Source.Pod != from || l.Dest.Pod != to {
			return false
		}
		a, err := netip.ParseAddr(l.Dest.IP)
		return err == nil && (version == 0 || (version == 4) == a.Is4())
	}
}

func both(f ...func(line) bool) func(line) bool {
	return func(l line) bool {
		for _, g := range f {
			if !g(l) {
				return false
			}
		}
		return true
	}
}

func typed(types ...string) func(line) bool {
	return func(l line) bool { return slices.Contains(types, l.Type) }
}

// trace shows an allowed and a dropped flow, by name, for both IP versions.
func TestTrace(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	firewall(t, w, env.nodes[0], "intruder")
	r := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	for _, v := range []int{4, 6} {
		what := fmt.Sprintf("an allowed flow over IPv%d", v)
		l := r.await(30*time.Second, what, both(typed("flow"), between("web", "db", v)))
		target(3*time.Second).log(t, what, l.at.Sub(r.start))
		if l.Verdict != "allow" || l.Direction != "ingress" || l.Subject != "destination" || l.Source.Namespace != w.ns || l.Protocol != "TCP" {
			t.Errorf("flow %s", l)
		}
		what = fmt.Sprintf("a drop over IPv%d", v)
		l = r.await(30*time.Second, what, both(typed("drop"), between("intruder", "db", v)))
		target(3*time.Second).log(t, what, l.at.Sub(r.start))
		if !strings.Contains(l.Reason, "NETFILTER") || l.Enforced || !strings.Contains(l.Location, "+") {
			t.Errorf("drop %s", l)
		}
	}
	if odd := r.all(typed("not JSON")); len(odd) > 0 {
		t.Errorf("not JSON: %s", odd[0])
	}
	r.interrupt()
	nothingLeft(t, w)
}

// firewall drops, on node, what pods send: something that isn't ours.
func firewall(t *testing.T, w *world, node string, pods ...string) {
	t.Helper()
	rules := "table inet e2e_firewall { chain forward { type filter hook forward priority 0;\n"
	for _, p := range pods {
		for _, ip := range w.ips[p] {
			family := "ip"
			if strings.Contains(ip, ":") {
				family = "ip6"
			}
			rules += fmt.Sprintf("%s saddr %s drop\n", family, ip)
		}
	}
	onNode(t, node, "nft", rules+"}\n}\n")
	t.Cleanup(func() { onNode(t, node, "nft", "delete table inet e2e_firewall") })
}

// A dry-run of a default deny lists exactly the flows that it would cut, and
// cuts none.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	policy := w.file(fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all, namespace: %s}
spec: {podSelector: {}, policyTypes: [Ingress]}
`, w.ns))
	r := plugin(t, "dry-run", "-f", policy, "-n", w.ns, "-o", "json")
	want := map[string]bool{}
	for _, pod := range []string{"web", "intruder"} {
		for _, v := range []int{4, 6} {
			want[fmt.Sprintf("%s db %d", pod, v)] = true
			l := r.await(30*time.Second, fmt.Sprintf("change from %s over IPv%d", pod, v), between(pod, "db", v))
			if l.Verdict != "allow" || l.Candidate != "deny" || l.Enforced {
				t.Errorf("line %s", l)
			}
		}
	}
	for _, pod := range []string{"web", "intruder"} {
		if _, err := w.awaitConnects(pod, true, 6, 20*time.Second); err != nil {
			t.Errorf("a dry-run cut something: %v", err)
		}
	}
	got := map[string]bool{}
	for _, l := range r.all(func(l line) bool { return l.Candidate == "deny" }) {
		a, err := netip.ParseAddr(l.Dest.IP)
		if err != nil {
			t.Errorf("line %s", l)
			continue
		}
		v := 6
		if a.Is4() {
			v = 4
		}
		got[fmt.Sprintf("%s %s %d", l.Source.Pod, l.Dest.Pod, v)] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("would cut %v, want %v", got, want)
	}
	r.interrupt()
	nothingLeft(t, w)
}

// A dry-run without a policy that somebody enforces lists what it would let
// through, though the packets never get to the pod.
func TestDryRunWithout(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	apply(t, w, "intruder")
	firewall(t, w, env.nodes[0], "intruder") // which does what the policy says, as a network plugin would
	r := plugin(t, "dry-run", "--without", "networkpolicy/only-web", "-n", w.ns, "-o", "json")
	for _, v := range []int{4, 6} {
		l := r.await(30*time.Second, fmt.Sprintf("what would be let through over IPv%d", v), between("intruder", "db", v))
		if l.Verdict != "deny" || l.Candidate != "allow" || l.Direction != "ingress" || !strings.Contains(l.raw, `"isolatedBy":[{"kind":"NetworkPolicy"`) {
			t.Errorf("line %s", l)
		}
	}
	if odd := r.all(both(typed("flow", "verdict", "drop"), func(l line) bool { return l.Source.Pod != "intruder" || l.Candidate != "allow" })); len(odd) > 0 {
		t.Errorf("lists what doesn't change: %s", odd[0])
	}
	r.interrupt()
	nothingLeft(t, w)
}

// apply gives the cluster the policy that lets in everybody but one client.
func apply(t *testing.T, w *world, except string) {
	t.Helper()
	p := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "only-web"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{except}}},
			}}}}},
		},
	}
	if _, err := env.client.NetworkingV1().NetworkPolicies(w.ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Enforcement cuts what the policy denies and nothing else, and ends within
// the lease when the plugin is killed; then the pod goes by itself.
func TestEnforce(t *testing.T) {
	w := newWorld(t)
	if _, err := w.awaitConnects("intruder", true, 2, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	r := plugin(t, "enforce", "-f", w.onlyWeb(), "-n", w.ns, "--for=5m", "--yes", "-o", "json")
	first := r.await(30*time.Second, "an enforced drop", both(func(l line) bool { return l.Enforced }, between("intruder", "db", 0)))
	t.Logf("first enforced line %s after Enter", first.at.Sub(r.start).Round(time.Millisecond))
	took, err := w.awaitConnects("intruder", false, 4, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	target(time.Second).log(t, "all cut after the first cut", took)
	if _, err := w.awaitConnects("web", true, 6, 20*time.Second); err != nil {
		t.Errorf("enforcement cut what the policy allows: %v", err)
	}
	r.kill()
	took, err = w.awaitConnects("intruder", true, 4, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("free %s after kill -9 (lease 10s)", took.Round(time.Millisecond))
	if took > 12*time.Second {
		t.Errorf("free only %s after kill -9; the lease is 10 s", took)
	}
	start := time.Now()
	w.probesGone(2 * time.Minute)
	t.Logf("pods gone by themselves another %s later", time.Since(start).Round(time.Second))
	nothingLeft(t, w)
}

// A pod that is created during the session is judged within a second of
// getting its address.
func TestNewPod(t *testing.T) {
	w := newWorld(t)
	r := plugin(t, "trace", "node/"+env.nodes[0], "-o", "json")
	r.await(30*time.Second, "a flow", both(typed("flow"), between("intruder", "db", 0)))
	w.client("late", env.nodes[0])
	w.ready("late")
	start := time.Now()
	for _, v := range []int{4, 6} {
		what := fmt.Sprintf("a judged flow of the new pod over IPv%d", v)
		l := r.await(30*time.Second, what, both(typed("flow"), between("late", "db", v), func(l line) bool { return l.Subject == "source" }))
		target(time.Second).log(t, what+" after its start was known", l.at.Sub(start))
		if l.Verdict != "allow" {
			t.Errorf("flow %s", l)
		}
	}
	r.interrupt()
	nothingLeft(t, w)
}

// Two people look at one node at the same time.
func TestTwoSessions(t *testing.T) {
	w := newWorld(t)
	a := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	b := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	for _, r := range []*run{a, b} {
		r.await(30*time.Second, "a flow", both(typed("flow"), between("web", "db", 0)))
	}
	a.interrupt()
	n := len(b.all(typed("flow")))
	start := time.Now()
	b.await(10*time.Second, "a flow after the other session ended", func(l line) bool { return l.Type == "flow" && l.at.After(start) })
	t.Logf("%d flows before, it goes on after", n)
	b.interrupt()
	nothingLeft(t, w)
}

// A stream that is cut is resumed, and the gap is said.
func TestCutStream(t *testing.T) {
	w := newWorld(t)
	p := newProxy(t)
	r := pluginAs(t, p.kubeconfig, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	r.await(30*time.Second, "a flow", both(typed("flow"), between("web", "db", 0)))
	p.cut()
	start := time.Now()
	l := r.await(30*time.Second, "a gap", func(l line) bool { return l.Type == "gap" && l.at.After(start) })
	t.Logf("gap %s", l)
	l = r.await(30*time.Second, "a flow after the gap", func(l line) bool { return l.Type == "flow" && l.at.After(start) })
	target(3*time.Second).log(t, "flows again after the cut", l.at.Sub(start))
	r.interrupt()
	nothingLeft(t, w)
}

// A pod that goes and comes again on the other node, under its old name, is
// followed there: a probe is opened on that node and the name stays right.
func TestMovedPod(t *testing.T) {
	w := newWorld(t)
	r := plugin(t, "trace", "pod", "web", "-n", w.ns, "-o", "json")
	l := r.await(30*time.Second, "a flow on the first node", both(typed("flow"), between("web", "db", 0)))
	if l.Node != env.nodes[1] {
		t.Errorf("seen on node %q, the pod is on %q", l.Node, env.nodes[1])
	}
	now := int64(0)
	if err := env.client.CoreV1().Pods(w.ns).Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	old := w.ips["web"]
	w.client("web", env.nodes[0])
	w.ready("web")
	l = r.await(30*time.Second, "a flow on the other node", both(typed("flow"), between("web", "db", 0), func(l line) bool { return l.Node == env.nodes[0] && l.Subject == "source" }))
	if !slices.Contains(w.ips["web"], l.Source.IP) || slices.Contains(old, l.Source.IP) {
		t.Errorf("the moved pod's flow comes from %s, its addresses are %v, before %v", l.Source.IP, w.ips["web"], old)
	}
	r.interrupt()
	nothingLeft(t, w)
}
