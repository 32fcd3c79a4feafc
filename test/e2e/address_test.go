// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

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
