// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
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

// heir makes a pod on web's node that gets the addresses that a pod there had:
// the node's addresses are given in turn, and once they are free it is told
// where to go on.
func (w *world) heir(name string, ips []string, command ...string) *corev1.Pod {
	w.t.Helper()
	for i, ip := range ips {
		before := netip.MustParseAddr(ip).Prev()
		onNode(w.t, env.nodes[1], "sh", "-c", fmt.Sprintf(`cd /var/lib/cni/networks/ebpol
			for i in $(seq 600); do [ -e %s ] || break; sleep 0.1; done
			echo -n %s >last_reserved_ip.%d`, ip, before, i))
	}
	w.pod(name, env.nodes[1], command...)
	p, err := env.client.CoreV1().Pods(w.ns).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// checkHeir checks that an heir has the addresses and that not one of its
// packets, from its very first, has arrived.
func (x *traffic) checkHeir(w *world, name string, ips []string, streams []*stream) {
	x.t.Helper()
	w.ready(name)
	if !slices.Equal(w.ips[name], ips) {
		x.t.Fatalf("%s has addresses %v, not those that were free: %v", name, w.ips[name], ips)
	}
	for _, s := range streams {
		if err := s.await(time.Now(), false, 100, 30*time.Second); err != nil {
			x.t.Error(err)
		}
		list := s.between(time.Time{}, time.Now())
		passed := 0
		for _, p := range list {
			if p.arrived {
				passed++
			}
		}
		x.t.Logf("%s: %d packets since the pod has its address, %d passed", s.name, len(list), passed)
		if passed > 0 {
			x.t.Errorf("%s: %d of %d packets passed by the labels of the pod that had the address before", s.name, passed, len(list))
		}
	}
}

// heirSends sends from a pod's addresses from the moment that it has them.
func (x *traffic) heirSends(w *world, p *corev1.Pod, ips []string) []*stream {
	x.t.Helper()
	space := podSpace(x.t, p.UID, time.Minute)
	var out []*stream
	for i, ip := range ips {
		out = append(out, x.send(p.Name+" to "+w.ips["db"][i], space, w.ips["db"][i], netip.MustParseAddr(ip)))
	}
	return out
}

// A pod is deleted and another gets its addresses: it is never judged by the
// labels of the one that had them. What the new pod may is what its own labels
// say; nothing of its packets is in flight.
func TestAddressOfADeletedPod(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	x := newTraffic(t, 5*time.Millisecond)
	x.listen(x.space(w, "db"))
	var web []*stream
	space := x.space(w, "web")
	for _, ip := range w.ips["db"] {
		web = append(web, x.send("web to "+ip, space, ip, netip.Addr{}))
	}
	if err := w.admit("only-web", withLabel("app", "web")); err != nil {
		t.Fatal(err)
	}
	r := enforcing(t)
	for _, s := range web {
		if err := s.await(time.Now(), true, 40, 30*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	ips := w.ips["web"]
	w.gone("web")
	p := w.heir("thief", ips, "/agnhost", "pause")
	x.checkHeir(w, "thief", ips, x.heirSends(w, p, ips))

	// the other way: who may gets the addresses of who may not
	w.gone("thief")
	p = w.heir("web", ips, "/agnhost", "pause")
	streams := x.heirSends(w, p, ips)
	w.ready("web")
	known := time.Now()
	for _, s := range streams {
		if err := s.await(known, true, 100, 30*time.Second); err != nil {
			t.Error(err)
		}
		began := s.between(time.Time{}, known)
		flip := flipped(s.between(time.Time{}, time.Now().Add(-grace)), true)
		t.Logf("%s: allowed for good %s after its first packet and %s after the API said its address", s.name, flip.Sub(began[0].sent).Round(time.Millisecond), flip.Sub(known).Round(time.Millisecond))
	}
	r.interrupt()
	nothingLeft(t, w)
}

// A pod that has run to its end is still in the cluster, with its address; but
// the address isn't its own any more, and another pod that gets it is never
// judged by its labels.
func TestAddressOfACompletedPod(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	if err := w.admit("only-report", withLabel("app", "report")); err != nil {
		t.Fatal(err)
	}
	x := newTraffic(t, 5*time.Millisecond)
	x.listen(x.space(w, "db"))
	r := enforcing(t)
	once := func(s *corev1.PodSpec) { s.RestartPolicy = corev1.RestartPolicyNever }
	w.podWith("report", env.nodes[1], once, "sh", "-c", "trap 'exit 0' TERM; while [ ! -e /tmp/done ]; do sleep 0.1; done")
	w.ready("report")
	ips := w.ips["report"]
	var streams []*stream
	space := x.space(w, "report")
	for _, ip := range w.ips["db"] {
		s := x.send("report to "+ip, space, ip, netip.Addr{})
		streams = append(streams, s)
	}
	for _, s := range streams {
		if err := s.await(time.Now(), true, 40, 30*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := w.exec("report", "touch", "/tmp/done"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	done := w.until("report", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if len(done.Status.PodIPs) == 0 {
		t.Errorf("the completed pod has no address in the API any more: this proves less than it should")
	}
	p := w.heir("thief", ips, "/agnhost", "pause")
	x.checkHeir(w, "thief", ips, x.heirSends(w, p, ips))
	if _, err := env.client.CoreV1().Pods(w.ns).Get(t.Context(), "report", metav1.GetOptions{}); err != nil {
		t.Errorf("the completed pod is gone: %v", err)
	}
	r.interrupt()
	nothingLeft(t, w)
}

// gone deletes a pod and waits until the API server has none of it.
func (w *world) gone(name string) {
	w.t.Helper()
	if err := env.client.CoreV1().Pods(w.ns).Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.until(name, nil)
}

// until waits until a pod is as said, or, with nil, isn't there any more.
func (w *world) until(name string, is func(*corev1.Pod) bool) *corev1.Pod {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	pods := env.client.CoreV1().Pods(w.ns)
	one := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	list, err := pods.List(ctx, one)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(list.Items) == 0 && is == nil {
		return nil
	}
	if is != nil && len(list.Items) > 0 && is(&list.Items[0]) {
		return &list.Items[0]
	}
	one.ResourceVersion = list.ResourceVersion
	events, err := pods.Watch(ctx, one)
	if err != nil {
		w.t.Fatal(err)
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if ok && (is == nil && e.Type == watch.Deleted || is != nil && is(p)) {
			return p
		}
	}
	w.t.Fatalf("pod %s/%s isn't as it should within a minute", w.ns, name)
	return nil
}
