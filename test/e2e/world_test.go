// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// world is a namespace with a database that a web server and an intruder ask
// all the time, over IPv4 and IPv6.
type world struct {
	t   testing.TB
	ns  string
	ips map[string][]string // of pods, by name: IPv4 and IPv6

	others string // label selector that leaves out other people's sessions
}

const dbPort = 8080

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, ns: "e2e-" + random(), ips: map[string][]string{}, others: others(t)}
	ctx := t.Context()
	if _, err := env.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.client.CoreV1().Namespaces().Delete(context.Background(), w.ns, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	w.pod("db", env.nodes[0], "/agnhost", "netexec", fmt.Sprintf("--http-port=%d", dbPort))
	w.ready("db")
	w.service("db")
	w.client("web", env.nodes[1])
	w.client("intruder", env.nodes[0])
	w.ready("web")
	w.ready("intruder")
	return w
}

// client is a pod that asks the database's addresses in turn, five times a
// second, and says how each attempt went.
func (w *world) client(name, node string) { w.pod(name, node, w.asks()...) }

// asks is what a client runs.
func (w *world) asks() []string {
	var asks []string
	for _, ip := range w.ips["db"] {
		asks = append(asks, fmt.Sprintf("if timeout 1 /agnhost connect --timeout=500ms %s 2>/dev/null; then echo ok %[1]s; else echo no %[1]s; fi", net.JoinHostPort(ip, fmt.Sprint(dbPort))))
	}
	return []string{"sh", "-c", "while :; do " + strings.Join(asks, "; ") + "; sleep 0.2; done"}
}

func (w *world) pod(name, node string, command ...string) {
	w.t.Helper()
	w.podWith(name, node, func(*corev1.PodSpec) {}, command...)
}

func (w *world) podWith(name, node string, change func(*corev1.PodSpec), command ...string) {
	w.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: new(int64), EnableServiceLinks: new(bool),
			Containers: []corev1.Container{{Name: "main", Image: env.agnhost, Command: command}},
		},
	}
	change(&p.Spec)
	if _, err := env.client.CoreV1().Pods(w.ns).Create(w.t.Context(), p, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) service(name string) {
	w.t.Helper()
	prefer := corev1.IPFamilyPolicyPreferDualStack
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": name}, IPFamilyPolicy: &prefer,
		Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(dbPort)}},
	}}
	if _, err := env.client.CoreV1().Services(w.ns).Create(w.t.Context(), s, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// ready waits until a pod runs, and notes its addresses.
func (w *world) ready(name string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	one := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	events, err := env.client.CoreV1().Pods(w.ns).Watch(ctx, one)
	if err != nil {
		w.t.Fatal(err)
	}
	defer events.Stop()
	last := ""
	for e := range events.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok || e.Type == watch.Deleted {
			break
		}
		last = fmt.Sprintf("%s %+v", p.Status.Phase, p.Status.ContainerStatuses)
		if p.Status.Phase != corev1.PodRunning || len(p.Status.PodIPs) == 0 {
			continue
		}
		w.ips[name] = nil
		for _, ip := range p.Status.PodIPs {
			w.ips[name] = append(w.ips[name], ip.IP)
		}
		return
	}
	w.t.Fatalf("pod %s/%s did not start: %s", w.ns, name, last)
}

// lines follows a pod's log from now on.
func (w *world) lines(ctx context.Context, pod string) <-chan string {
	w.t.Helper()
	since := int64(1)
	r, err := env.client.CoreV1().Pods(w.ns).GetLogs(pod, &corev1.PodLogOptions{Follow: true, SinceSeconds: &since}).Stream(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return scan(ctx, r)
}

// awaitConnects waits until n attempts of pod in a row, after now, went well
// (or, with ok false, badly), and says how long the first of them took to come.
func (w *world) awaitConnects(pod string, ok bool, n int, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	want := "ok "
	if !ok {
		want = "no "
	}
	start, first, run, last := time.Now(), time.Duration(0), 0, ""
	for line := range w.lines(ctx, pod) {
		last = line
		if !strings.HasPrefix(line, want) {
			run = 0
			continue
		}
		if run++; run == 1 {
			first = time.Since(start)
		}
		if run == n {
			return first, nil
		}
	}
	return 0, fmt.Errorf("pod %s: not %d attempts in a row that say %q within %s; the last said %q", pod, n, want, limit, last)
}

// exec runs a command in a pod.
func (w *world) exec(pod string, command ...string) (string, error) {
	req := env.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(w.ns).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	e, err := remotecommand.NewSPDYExecutor(env.config, "POST", req.URL())
	if err != nil {
		return "", err
	}
	var out, words bytes.Buffer // written at the same time
	err = e.StreamWithContext(w.t.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &words})
	return out.String() + words.String(), err
}

// file writes a policy or the like and returns its path.
func (w *world) file(text string) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// onlyWeb lets nobody but web at the database: the intruder's flows are what
// it would cut.
func (w *world) onlyWeb() string {
	return w.file(fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-web, namespace: %s}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
`, w.ns))
}
