// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// admit makes or replaces a policy that lets in at the database who fits, and
// deletes it if nobody is said.
func (w *world) admit(name string, from ...networkingv1.NetworkPolicyPeer) error {
	api := env.client.NetworkingV1().NetworkPolicies(w.ns)
	p := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: from}},
		},
	}
	if len(from) == 0 {
		return api.Delete(w.t.Context(), name, metav1.DeleteOptions{})
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = api.Create(w.t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		_, err = api.Patch(w.t.Context(), name, types.MergePatchType, text, metav1.PatchOptions{})
	}
	return err
}

// withLabel is a peer: pods of the policy's namespace with one of the values.
func withLabel(key string, values ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}},
	}}
}

// inSpaces is a peer: all pods of namespaces with a label.
func inSpaces(key, value string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
}

func label(key, value string) []byte {
	return fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, key, value)
}

func (w *world) labelPod(pod, key, value string) error {
	_, err := env.client.CoreV1().Pods(w.ns).Patch(w.t.Context(), pod, types.MergePatchType, label(key, value), metav1.PatchOptions{})
	return err
}

func (w *world) labelSpace(key, value string) error {
	_, err := env.client.CoreV1().Namespaces().Patch(w.t.Context(), w.ns, types.MergePatchType, label(key, value), metav1.PatchOptions{})
	return err
}

// enforcing starts enforcement of all that the cluster's policies say.
func enforcing(t testing.TB) *run {
	t.Helper()
	r := plugin(t, "enforce", "--cluster-policies", "--for=30m", "--yes", "--force", "--no-drops", "-o", "json")
	r.says("enforcing", time.Minute)
	return r
}

// BenchmarkEventToKernel is the time from the API server's answer to a change
// until the first packet on the cluster is judged by it, under enforcement:
// policies are made, replaced and deleted, pods and namespaces get labels. A
// packet a millisecond is sent from one node to the other, each a connection of
// its own; the end is when the first was sent that went the new way. The
// answer's time includes the machine's other work: the harness, the cluster and
// both nodes share its cores.
func BenchmarkEventToKernel(b *testing.B) {
	w := newWorld(b)
	x := newTraffic(b, time.Millisecond)
	x.listen(x.space(w, "db"))
	s := x.send("web to db", x.space(w, "web"), w.ips["db"][0], netip.Addr{})
	r := enforcing(b)
	if err := s.await(time.Now(), true, 20, 30*time.Second); err != nil {
		b.Fatal(err)
	}
	steps := []struct {
		kind    string
		do      func() error
		allowed bool
	}{
		{"policy created", func() error { return w.admit("p", withLabel("app", "nobody")) }, false},
		{"policy replaced", func() error { return w.admit("p", withLabel("app", "web")) }, true},
		{"pod's label changed", func() error { return w.labelPod("web", "app", "other") }, false},
		{"pod's label changed", func() error { return w.labelPod("web", "app", "web") }, true},
		{"policy replaced", func() error { return w.admit("p", inSpaces("team", "blue")) }, false},
		{"namespace's label changed", func() error { return w.labelSpace("team", "blue") }, true},
		{"namespace's label changed", func() error { return w.labelSpace("team", "red") }, false},
		{"policy deleted", func() error { return w.admit("p") }, true},
	}
	took := map[string][]time.Duration{}
	var all []time.Duration
	b.ResetTimer()
	for i := range b.N {
		step := steps[i%len(steps)]
		begun := time.Now()
		if err := step.do(); err != nil {
			b.Fatalf("%s: %v", step.kind, err)
		}
		answered := time.Now()
		if err := s.await(begun, step.allowed, 20, 30*time.Second); err != nil {
			b.Fatalf("%s: %v", step.kind, err)
		}
		flip := flipped(s.between(begun, time.Now().Add(-grace)), step.allowed)
		d := max(0, flip.Sub(answered))
		took[step.kind], all = append(took[step.kind], d), append(all, d)
	}
	b.StopTimer()
	_ = env.client.NetworkingV1().NetworkPolicies(w.ns).Delete(context.Background(), "p", metav1.DeleteOptions{})
	r.interrupt()
	for kind, list := range took {
		b.Logf("%s: %d, p50 %s, p99 %s", kind, len(list), centile(list, 50), centile(list, 99))
	}
	b.ReportMetric(float64(centile(all, 50))/1e6, "p50-ms")
	b.ReportMetric(float64(centile(all, 99))/1e6, "p99-ms")
	b.ReportMetric(float64(centile(all, 100))/1e6, "max-ms")
}

// flipped is when the first packet was sent after which all went one way.
func flipped(list []packet, allowed bool) time.Time {
	at := time.Time{}
	for _, p := range slices.Backward(list) {
		if p.arrived != allowed {
			break
		}
		at = p.sent
	}
	return at
}

// centile of durations, rounded up to one of them.
func centile(list []time.Duration, percent int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[min(len(list)-1, (len(list)*percent+99)/100-1)].Round(100 * time.Microsecond)
}
