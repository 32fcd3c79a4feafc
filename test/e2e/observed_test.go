// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// seen is what a line says of an outcome.
type seen struct {
	Time      time.Time `json:"time"`
	Type      string    `json:"type"`
	Observed  string    `json:"observed"`
	Agreement string    `json:"agreement"`
	Culprit   string    `json:"culprit"`
	Note      string    `json:"note"`
	Source    end       `json:"source"`
	Dest      end       `json:"destination"`
}

func (l line) seen() (s seen) {
	_ = json.Unmarshal([]byte(l.raw), &s) // what isn't JSON says nothing
	return s
}

const (
	agrees    = "agrees"
	delivered = "denied by policy but delivered"
	dropped   = "allowed by policy but dropped"
)

// socket is one end of a connection.
type socket struct {
	ip   string
	port int
}

func (e *end) socket() socket { return socket{e.IP, e.Port} }

func (s *seen) disagrees() bool { return s.Agreement == delivered || s.Agreement == dropped }

// peer runs the policy engine that isn't ours, for as long as the test.
// What it returns ends it earlier.
func peer(t *testing.T) (stop func()) {
	t.Helper()
	onMachine(t)
	peerDo(t, "start")
	stop = sync.OnceFunc(func() { peerDo(t, "stop") })
	t.Cleanup(stop)
	return stop
}

func peerDo(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(filepath.Join("cluster", "peer.sh"), args...).CombinedOutput(); err != nil {
		t.Errorf("peer.sh %v: %v\n%s", args, err, out)
	}
}

// breakage makes the engine do one thing wrong, for one pair of pods.
type breakage struct {
	name     string
	from, to string // pods whose connections go wrong
	want     string // agreement
	plant    func(t *testing.T, w *world)
}

// queue puts rules in front of the engine's own, until the test ends. Each is
// taken away as it was put.
func queue(t *testing.T, command string, nodes []string, rule ...string) {
	t.Helper()
	for _, n := range nodes {
		onNode(t, n, append([]string{command, "-t", "mangle", "-I", "EBPOL-QUEUE"}, rule...)...)
		t.Cleanup(func() { onNode(t, n, append([]string{command, "-t", "mangle", "-D", "EBPOL-QUEUE"}, rule...)...) })
	}
}

func (w *world) v6(name string) string {
	for _, ip := range w.ips[name] {
		if ip != v4(w, name) {
			return ip
		}
	}
	w.t.Fatalf("%s has no IPv6 address: %v", name, w.ips[name])
	return ""
}

// TestAnEngineThatIsNotOurs: the comparison of what policies say with what
// happened is silent as long as the engine is right, and finds each of thirteen
// things that it is made to do wrong, blaming nobody else.
func TestAnEngineThatIsNotOurs(t *testing.T) {
	stop := peer(t)
	w := newWorld(t)
	w.client("stranger", env.nodes[1])
	w.ready("stranger")
	w.isolate()
	w.everyone("db", "web", "intruder", "stranger")
	both, here, there := env.nodes[:2], env.nodes[:1], env.nodes[1:2] // db and intruder are here, web and stranger there

	pair := func(from, to string) []string { return []string{"-s", v4(w, from), "-d", v4(w, to)} }
	breakages := []breakage{
		{"a rule is gone, on one node", "intruder", "db", delivered, func(t *testing.T, w *world) {
			queue(t, "iptables", here, append(pair("intruder", "db"), "-j", "RETURN")...)
		}},
		{"a rule is gone, between nodes", "stranger", "db", delivered, func(t *testing.T, w *world) {
			queue(t, "iptables", both, append(pair("stranger", "db"), "-j", "RETURN")...)
		}},
		{"IPv6 isn't enforced", "intruder", "db", delivered, func(t *testing.T, w *world) {
			queue(t, "ip6tables", here, "-s", w.v6("intruder"), "-d", w.v6("db"), "-j", "RETURN")
		}},
		{"a drop stands before the allow", "web", "db", dropped, func(t *testing.T, w *world) {
			queue(t, "iptables", here, append(pair("web", "db"), "-j", "DROP")...)
		}},
		{"the source's node drops", "web", "db", dropped, func(t *testing.T, w *world) {
			queue(t, "iptables", there, append(pair("web", "db"), "-j", "DROP")...)
		}},
		{"an IPv6 rule is missing", "web", "db", dropped, func(t *testing.T, w *world) {
			queue(t, "ip6tables", here, "-s", w.v6("web"), "-d", w.v6("db"), "-j", "DROP")
		}},
		{"answers are dropped", "web", "db", dropped, func(t *testing.T, w *world) {
			queue(t, "iptables", here, append(pair("db", "web"), "-j", "DROP")...)
			onNode(t, here[0], append([]string{"iptables", "-t", "mangle", "-I", "FORWARD"}, append(pair("db", "web"), "-j", "DROP")...)...)
			t.Cleanup(func() {
				onNode(t, here[0], append([]string{"iptables", "-t", "mangle", "-D", "FORWARD"}, append(pair("db", "web"), "-j", "DROP")...)...)
			})
		}},
		{"an allowed pair is rejected", "web", "db", dropped, func(t *testing.T, w *world) {
			rule := append(pair("web", "db"), "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
			onNode(t, here[0], append([]string{"iptables", "-I", "FORWARD"}, rule...)...)
			t.Cleanup(func() { onNode(t, here[0], append([]string{"iptables", "-D", "FORWARD"}, rule...)...) })
		}},
		{"the engine fails open on a node", "intruder", "db", delivered, func(t *testing.T, w *world) {
			queue(t, "iptables", here, "-d", v4(w, "db"), "-j", "RETURN") // strangers are still stopped on their own node
		}},
		{"an address is kept that lost its right", "web", "db", delivered, func(t *testing.T, w *world) {
			queue(t, "iptables", both, append(pair("web", "db"), "-j", "RETURN")...)
			w.label("web", "app", "former")
			t.Cleanup(func() { w.label("web", "app", "web") })
		}},
		{"its rules are in the wrong order", "web", "db", dropped, func(t *testing.T, w *world) {
			queue(t, "iptables", here, append(pair("web", "db"), "-j", "RETURN")...)
			queue(t, "iptables", here, "-d", v4(w, "db"), "-p", "tcp", "-j", "DROP") // in front of it
		}},
		{"the engine is killed on a node", "web", "db", dropped, func(t *testing.T, _ *world) {
			peerDo(t, "kill", here[0])
			t.Cleanup(func() { peerDo(t, "revive", here[0]) })
		}},
		{"the address of a pod that is gone keeps its right", "heir", "db", delivered, func(t *testing.T, w *world) {
			w.pod("former", there[0], "/agnhost", "pause")
			w.ready("former")
			ips := w.ips["former"]
			queue(t, "iptables", both, append(pair("former", "db"), "-j", "RETURN")...)
			w.gone("former")
			w.heir("heir", ips, w.asks()...)
			w.ready("heir")
			if !slices.Equal(w.ips["heir"], ips) {
				t.Fatalf("the heir has %v, not %v", w.ips["heir"], ips)
			}
			w.label("heir", "watched", "yes")
		}},
	}

	r := plugin(t, "trace", "svc/everyone", "-n", w.ns, "-o", "json")
	outcome := func(agreement, from, to string, since time.Time) func(line) bool {
		return func(l line) bool {
			s := l.seen()
			return l.at.After(since) && s.Type == "outcome" && s.Agreement == agreement && s.Source.Pod == from && s.Dest.Pod == to
		}
	}
	for _, from := range []string{"web", "intruder", "stranger"} {
		r.await(time.Minute, "a right outcome of "+from, outcome(agrees, from, "db", r.start))
	}
	quiet, start := time.Minute, time.Now()
	if s := os.Getenv("E2E_QUIET"); s != "" {
		var err error
		if quiet, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	r.await(2*quiet, "traffic for a while", outcome(agrees, "stranger", "db", start.Add(quiet)))
	counts := map[string]int{}
	for _, l := range r.all(typed("outcome")) {
		s := l.seen()
		counts[s.Agreement]++
		if s.disagrees() && !emptied(t, r, &s) {
			t.Errorf("nothing is broken, and yet: %s", l)
		}
	}
	t.Logf("nothing broken: %v", counts)

	last := breakage{}
	for _, b := range breakages {
		began := time.Now()
		if !t.Run(b.name, func(t *testing.T) {
			outer := r.t
			r.t = t
			defer func() { r.t = outer }()
			b.plant(t, w)
			l := r.await(30*time.Second, "the disagreement", ofConnectionsSince(time.Now(), outcome(b.want, b.from, b.to, began)))
			s := l.seen()
			t.Logf("after %s: %s; %s; %s", l.at.Sub(began).Round(time.Millisecond), s.Observed, s.Culprit, s.Note)
		}) {
			t.Log("goes on with the next")
		}
		mended := time.Now()
		want := agrees
		r.await(30*time.Second, "the right outcome again", outcome(want, b.from, b.to, mended.Add(3*time.Second)))
		for _, l := range r.all(typed("outcome")) {
			s := l.seen()
			mine := s.Source.Pod == b.from && s.Dest.Pod == b.to || s.Source.Pod == last.from && s.Dest.Pod == last.to
			if l.at.After(began) && s.disagrees() && !mine && !emptied(t, r, &s) {
				t.Errorf("%s: another pair is blamed: %s", b.name, l)
			}
		}
		last = b
	}
	r.interrupt()
	stop() // its tables are named like ours
	nothingLeft(t, w)
}

// emptied says whether the one connection of web that is said to be allowed and
// dropped was lost to the engine's own doings: whenever it changes its tables,
// which this kernel refuses in part, the kernel drops what waits in the queue.
// That is no false alarm, and its record of the drop names it.
func emptied(t *testing.T, r *run, s *seen) bool {
	t.Helper()
	if s.Agreement != dropped || s.Source.Pod != "web" {
		return false
	}
	for _, l := range r.all(typed("drop")) {
		if d := l.seen(); d.Source.socket() == s.Source.socket() && d.Culprit == "emptied netfilter queue" {
			t.Logf("the queue was emptied: %s", l)
			return true
		}
	}
	return false
}

// ofConnectionsSince leaves out what is said of connections that began before:
// a claim comes some time after what it is about.
func ofConnectionsSince(start time.Time, fits func(line) bool) func(line) bool {
	began := map[socket]time.Time{}
	return func(l line) bool {
		s := l.seen()
		at := s.Source.socket()
		if s.Type == "flow" {
			began[at] = s.Time
		}
		return began[at].After(start) && fits(l)
	}
}

// isolate puts onlyWeb's policy on the cluster.
func (w *world) isolate() {
	w.t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "only-web"}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		}}},
	}}
	if _, err := env.client.NetworkingV1().NetworkPolicies(w.ns).Create(w.t.Context(), p, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// everyone is a service of these pods, so that one trace is of them all.
func (w *world) everyone(pods ...string) {
	w.t.Helper()
	for _, p := range pods {
		w.label(p, "watched", "yes")
	}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "everyone"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"watched": "yes"}, Ports: []corev1.ServicePort{{Port: 9, TargetPort: intstr.FromInt32(9)}},
	}}
	if _, err := env.client.CoreV1().Services(w.ns).Create(w.t.Context(), s, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) label(pod, key, value string) {
	w.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{key: value}}})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := env.client.CoreV1().Pods(w.ns).Patch(w.t.Context(), pod, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}
