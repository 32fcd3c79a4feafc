// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// moment is a change and what each stream may from then on.
type moment struct {
	what  string
	begun time.Time
	may   map[*stream]bool
}

// story is what happened to a cluster while traffic ran.
type story struct {
	t       testing.TB
	streams []*stream
	moments []moment
}

// step changes something, waits until that shows at each stream that it
// concerns, and lets the traffic run on for a while.
func (h *story) step(what string, do func() error, may func(*stream) bool) {
	h.t.Helper()
	m := moment{what: what, begun: time.Now(), may: map[*stream]bool{}}
	if err := do(); err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
	answered := time.Now()
	for _, s := range h.streams {
		m.may[s] = may(s)
	}
	h.moments = append(h.moments, m)
	for _, s := range h.streams {
		if err := s.await(answered, m.may[s], 40, 30*time.Second); err != nil {
			h.t.Fatalf("after %q: %v", what, err)
		}
	}
}

// check counts the packets that went otherwise than they should. Packets are in
// flight to a change from when its request was sent until the first packet of
// their stream that was judged the new way: of these either is right. Every
// packet before is judged the old way, and every one after the new way. A stream
// that a change doesn't concern has none in flight.
func (h *story) check() {
	h.t.Helper()
	total, flights, passed, denied, longest := 0, 0, 0, 0, time.Duration(0)
	for i, m := range h.moments {
		end := time.Now()
		if i+1 < len(h.moments) {
			end = h.moments[i+1].begun
		}
		for _, s := range h.streams {
			list := s.between(m.begun, end)
			total += len(list)
			judged := 0
			if i > 0 && h.moments[i-1].may[s] != m.may[s] {
				judged = slices.IndexFunc(list, func(p packet) bool { return p.arrived == m.may[s] })
				if judged < 0 {
					h.t.Errorf("%q never had an effect on %s", m.what, s.name)
					continue
				}
				flights += judged
				longest = max(longest, list[judged].sent.Sub(m.begun))
			}
			wrong := 0
			for _, p := range list[judged:] {
				if p.arrived != m.may[s] {
					wrong++
				}
			}
			switch {
			case wrong == 0:
			case m.may[s]:
				denied += wrong
				h.t.Errorf("after %q: %d of %d packets of %s denied that are allowed", m.what, wrong, len(list), s.name)
			default:
				passed += wrong
				h.t.Errorf("after %q: %d of %d packets of %s passed that are forbidden", m.what, wrong, len(list), s.name)
			}
		}
	}
	span := time.Since(h.moments[0].begun)
	h.t.Logf("%d changes, %d connections (%.0f a second): %d forbidden passed, %d allowed denied; %d in flight, the longest %s after a request was sent",
		len(h.moments), total, float64(total)/span.Seconds(), passed, denied, flights, longest.Round(time.Millisecond))
	if rate := float64(total) / span.Seconds(); rate < 100 {
		h.t.Errorf("only %.0f connections a second: this proves less than it should", rate)
	}
}

// Labels, policies and namespaces change while traffic runs: no forbidden
// packet passes, and no allowed one is denied.
func TestLiveChange(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	w.pod("cart", env.nodes[1], "/agnhost", "pause")
	w.ready("cart")
	x := newTraffic(t, 5*time.Millisecond)
	x.listen(x.space(w, "db"))
	h := &story{t: t}
	for _, pod := range []string{"web", "cart", "intruder"} {
		space := x.space(w, pod)
		for _, ip := range w.ips["db"] {
			h.streams = append(h.streams, x.send(pod+" to "+ip, space, ip, netip.Addr{}))
		}
	}
	r := enforcing(t)
	nothing := func() error { return nil }
	h.step("the beginning", nothing, only("web", "cart", "intruder"))
	h.step("a policy that lets in web", func() error { return w.admit("a", withLabel("app", "web")) }, only("web"))
	h.step("cart gets web's label", func() error { return w.labelPod("cart", "app", "web") }, only("web", "cart"))
	h.step("cart loses it", func() error { return w.labelPod("cart", "app", "cart") }, only("web"))
	h.step("a second policy, for cart", func() error { return w.admit("b", withLabel("app", "cart")) }, only("web", "cart"))
	h.step("the first is replaced: both, while the second is there", func() error { return w.admit("a", withLabel("app", "web", "cart")) }, only("web", "cart"))
	h.step("the second goes: nothing changes", func() error { return w.admit("b") }, only("web", "cart"))
	h.step("the policy is replaced by one for the intruder", func() error { return w.admit("a", withLabel("app", "intruder")) }, only("intruder"))
	h.step("and by one for a team's namespaces", func() error { return w.admit("a", inSpaces("team", "blue")) }, only())
	h.step("the namespace joins the team", func() error { return w.labelSpace("team", "blue") }, only("web", "cart", "intruder"))
	h.step("and leaves it", func() error { return w.labelSpace("team", "red") }, only())
	h.step("back to web", func() error { return w.admit("a", withLabel("app", "web")) }, only("web"))
	h.step("web may send nothing", func() error { return w.silence("web") }, only())
	h.step("it may again", func() error { return w.admit("silence-web") }, only("web"))
	h.step("others come and go", func() error { return w.bustle(20) }, only("web"))
	h.step("the policy is deleted", func() error { return w.admit("a") }, only("web", "cart", "intruder"))
	x.end()
	h.check()
	r.interrupt()
	nothingLeft(t, w)
}

// silence makes a policy by which a pod may send nothing.
func (w *world) silence(app string) error {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "silence-" + app}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
	}}
	_, err := env.client.NetworkingV1().NetworkPolicies(w.ns).Create(w.t.Context(), p, metav1.CreateOptions{})
	return err
}

// bustle changes n times what doesn't concern the traffic, as fast as the API
// server takes it: labels, policies for other pods, services.
func (w *world) bustle(n int) error {
	for i := range n {
		name := fmt.Sprintf("bustle-%d", i)
		if err := w.labelPod("db", "round", name); err != nil {
			return err
		}
		if err := w.silence(name); err != nil {
			return err
		}
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: int32(1000 + i)}},
		}}
		if _, err := env.client.CoreV1().Services(w.ns).Create(w.t.Context(), s, metav1.CreateOptions{}); err != nil {
			return err
		}
		if i%2 == 0 {
			continue
		}
		if err := w.admit("silence-" + name); err != nil {
			return err
		}
		if err := env.client.CoreV1().Services(w.ns).Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return nil
}

const clusterPolicies = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"

// clusterPolicyKind gives the cluster the kind ClusterNetworkPolicy, if it
// hasn't got it, for the time of the test.
func clusterPolicyKind(t testing.TB) {
	t.Helper()
	api := env.client.CoreV1().RESTClient()
	if api.Get().AbsPath(clusterPolicies).Do(t.Context()).Error() == nil {
		return
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/network-policy-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	if err := api.Post().AbsPath(kinds).SetHeader("Content-Type", "application/yaml").Body(text).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete().AbsPath(kinds, "clusternetworkpolicies.policy.networking.k8s.io").Do(context.Background()).Error(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err = errors.New("never asked"); err != nil && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		err = api.Get().AbsPath(clusterPolicies).Do(ctx).Error()
	}
	if err != nil {
		t.Fatalf("the cluster doesn't serve ClusterNetworkPolicies: %v", err)
	}
}

// govern makes, replaces or, without an action, deletes a ClusterNetworkPolicy
// for the database: what is from pods of its namespace with one of the labels
// is accepted, denied or passed.
func (w *world) govern(name, tier string, priority int, action string, apps ...string) error {
	api := env.client.CoreV1().RESTClient()
	name = w.ns + "-" + name
	if action == "" {
		return api.Delete().AbsPath(clusterPolicies, name).Do(w.t.Context()).Error()
	}
	here := `"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"` + w.ns + `"}}`
	text := fmt.Appendf(nil, `{"apiVersion":"policy.networking.k8s.io/v1alpha2","kind":"ClusterNetworkPolicy","metadata":{"name":%q},"spec":{"tier":%q,"priority":%d,
		"subject":{"pods":{%s,"podSelector":{"matchLabels":{"app":"db"}}}},
		"ingress":[{"name":"r","action":%q,"from":[{"pods":{%s,"podSelector":{"matchExpressions":[{"key":"app","operator":"In","values":["%s"]}]}}}]}]}}`,
		name, tier, priority, here, action, here, strings.Join(apps, `","`))
	return api.Patch(types.ApplyPatchType).AbsPath(clusterPolicies, name).Param("fieldManager", "e2e").Body(text).Do(w.t.Context()).Error()
}

// The tiers come and go while traffic runs.
func TestLiveChangeOfTiers(t *testing.T) {
	onMachine(t)
	clusterPolicyKind(t)
	w := newWorld(t)
	x := newTraffic(t, 5*time.Millisecond)
	x.listen(x.space(w, "db"))
	h := &story{t: t}
	for _, pod := range []string{"web", "intruder"} {
		space := x.space(w, pod)
		for _, ip := range w.ips["db"] {
			h.streams = append(h.streams, x.send(pod+" to "+ip, space, ip, netip.Addr{}))
		}
	}
	t.Cleanup(func() {
		for _, name := range []string{"base", "late", "early"} { // what a failure has left
			_ = env.client.CoreV1().RESTClient().Delete().AbsPath(clusterPolicies, w.ns+"-"+name).Do(context.Background()).Error()
		}
	})
	r := enforcing(t)
	h.step("the beginning", func() error { return nil }, only("web", "intruder"))
	h.step("baseline: nobody", func() error { return w.govern("base", "Baseline", 50, "Deny", "web", "intruder") }, only())
	h.step("a NetworkPolicy lets in web", func() error { return w.admit("a", withLabel("app", "web")) }, only("web"))
	h.step("admin, 20: accept the intruder", func() error { return w.govern("late", "Admin", 20, "Accept", "intruder") }, only("web", "intruder"))
	h.step("admin, 10: deny both", func() error { return w.govern("early", "Admin", 10, "Deny", "web", "intruder") }, only())
	h.step("it passes instead", func() error { return w.govern("early", "Admin", 10, "Pass", "web", "intruder") }, only("web"))
	h.step("it comes after the other", func() error { return w.govern("early", "Admin", 30, "Pass", "web", "intruder") }, only("web", "intruder"))
	h.step("the other is deleted", func() error { return w.govern("late", "", 0, "") }, only("web"))
	h.step("the NetworkPolicy is deleted", func() error { return w.admit("a") }, only())
	h.step("baseline: only the intruder", func() error { return w.govern("base", "Baseline", 50, "Deny", "intruder") }, only("web"))
	h.step("baseline is deleted", func() error { return w.govern("base", "", 0, "") }, only("web", "intruder"))
	if err := w.govern("early", "", 0, ""); err != nil {
		t.Error(err)
	}
	x.end()
	h.check()
	r.interrupt()
	nothingLeft(t, w)
}

// only are the streams of some pods.
func only(pods ...string) func(*stream) bool {
	return func(s *stream) bool { pod, _, _ := strings.Cut(s.name, " "); return slices.Contains(pods, pod) }
}
