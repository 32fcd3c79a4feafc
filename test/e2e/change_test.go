// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	only := func(pods ...string) func(*stream) bool {
		return func(s *stream) bool { pod, _, _ := strings.Cut(s.name, " "); return slices.Contains(pods, pod) }
	}
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
