// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	authz "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// A probe is opened through a job, found by its session, and gone after Close.
func TestOpenClose(t *testing.T) {
	c := newCluster(t, running, node("n1"), node("n2"))
	d := c.deployer()
	if err := d.Preflight(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"n1", "n2"} {
		p, err := d.Open(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if p.Node() != n || p.Err() != nil {
			t.Fatalf("probe on %q, error %v", p.Node(), p.Err())
		}
	}
	left, all, err := Leftovers(t.Context(), c, "kube-system")
	if err != nil || !all || len(left) != 4 {
		t.Fatalf("found %+v, all %v, error %v; want two jobs and two pods", left, all, err)
	}
	if l := left[0]; l.Session != "s1e2s3s4" || l.StartedBy != "jane" || l.Kind != "job" || l.Namespace != "kube-system" {
		t.Fatalf("leftover %+v", l)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _, _ := Leftovers(t.Context(), c, ""); len(left) != 0 {
		t.Fatalf("left behind: %+v", left)
	}
}

// Who may not create jobs gets bare pods.
func TestNoJobs(t *testing.T) {
	c := newCluster(t, running, node("n1"))
	c.may = func(a *authz.ResourceAttributes) bool { return a.Resource != "jobs" }
	d := c.deployer()
	if err := d.Preflight(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if pods := c.pods(); len(pods) != 1 || pods[objectName("s1e2s3s4", "n1")] == nil {
		t.Fatalf("pods %v", pods)
	}
	if err := d.Close(t.Context()); err != nil || len(c.pods()) != 0 {
		t.Fatalf("error %v, left %v", err, c.pods())
	}
}

// The pod asks for what DESIGN promises and nothing else.
func TestPod(t *testing.T) {
	c := newCluster(t, nil)
	p := c.deployer(func(o *Options) { o.Args = []string{"--read-only"} }).pod("n1")
	s := p.Spec
	if !s.HostNetwork || !s.HostPID || s.HostIPC || *s.AutomountServiceAccountToken || *s.EnableServiceLinks ||
		s.RestartPolicy != corev1.RestartPolicyNever || s.NodeName != "n1" || *s.ActiveDeadlineSeconds != int64(DefaultDeadline.Seconds()) {
		t.Fatalf("pod %+v", s)
	}
	k := s.Containers[0]
	if sc := k.SecurityContext; *sc.Privileged || !*sc.ReadOnlyRootFilesystem || sc.Capabilities.Drop[0] != "ALL" || len(sc.Capabilities.Add) != 6 {
		t.Fatalf("security context %+v", sc)
	}
	if !slices.Equal(k.Args, []string{"run", "--read-only"}) || k.Resources.Limits.Memory().IsZero() || k.Resources.Limits.Cpu().IsZero() {
		t.Fatalf("container %+v", k)
	}
	for _, v := range s.Volumes {
		if v.HostPath != nil {
			t.Fatalf("volume %+v is the host's", v)
		}
	}
	if name := objectName("s1e2s3s4", "ip-10-0-3-17.eu-central-1.compute.internal"); len(name) > 63-len("-xxxxx") {
		t.Fatalf("name %q is too long for a job's pods", name)
	}
}

// Missing rights are all named at once, with the role that grants them.
func TestNoRights(t *testing.T) {
	c := newCluster(t, nil, node("n1"))
	c.may = func(a *authz.ResourceAttributes) bool {
		return a.Subresource != "exec" && (a.Resource != "pods" || a.Verb != "create")
	}
	err := c.deployer().Preflight(t.Context(), "n1")
	var e *RightsError
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{`user "jane" may not create pods, create pods/exec in namespace "kube-system"`, "kind: RoleBinding"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	for _, doc := range strings.Split(Role("kube-system", "jane"), "---\n") {
		if err := yaml.UnmarshalStrict([]byte(doc), &map[string]any{}); err != nil {
			t.Errorf("role isn't YAML: %v\n%s", err, doc)
		}
	}
}

// Each way of a cluster to refuse the pod is told apart and comes with advice.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want []string
	}{
		"pod security": {
			forbidden(`pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true, hostPID=true), non-default capabilities`),
			[]string{`Pod Security "baseline" of namespace "kube-system" refuses`, "hostNetwork=true", "--probe-namespace", "enforce=privileged"},
		},
		"openshift": {
			forbidden(`pods "x" is forbidden: unable to validate against any security context constraint: [provider "anyuid": Forbidden]`),
			[]string{"security context constraints", "add-scc-to-user"},
		},
		"autopilot": {
			apierrors.NewBadRequest(`admission webhook "warden-validating.common-webhooks.networking.gke.io" denied the request: GKE Warden rejected the request: autogke-no-host-port`),
			[]string{"Autopilot"},
		},
		"webhook": {
			apierrors.NewBadRequest(`admission webhook "validate.kyverno.svc-fail" denied the request: hostPID is not allowed`),
			[]string{`admission webhook "validate.kyverno.svc-fail" refuses`, "hostPID is not allowed", Selector},
		},
		"no namespace": {
			apierrors.NewNotFound(namespaceResource, "kube-system"),
			[]string{`namespace "kube-system" for the probe doesn't exist`},
		},
		"quota": {
			forbidden(`pods "x" is forbidden: exceeded quota: few`),
			[]string{"admission control refuses", "exceeded quota"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, nil, node("n1"))
			c.dryRun = func(*corev1.Pod) error { return tc.err }
			err := c.deployer().Preflight(t.Context(), "n1")
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v lacks %q", err, want)
				}
			}
			if len(c.pods()) != 0 {
				t.Error("a preflight made a pod")
			}
		})
	}
}

// A webhook that can't be asked for a dry run is no refusal.
func TestNoDryRun(t *testing.T) {
	c := newCluster(t, nil, node("n1"))
	c.dryRun = func(*corev1.Pod) error {
		return apierrors.NewBadRequest(`admission webhook "x.y" does not support dry run`)
	}
	if err := c.deployer().Preflight(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
}

// A node that can't take a probe is known before anything is made.
func TestUnusableNode(t *testing.T) {
	notReady := func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status."}}
	}
	c := newCluster(t, running,
		node("sick", notReady),
		node("win", func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" }),
		node("ppc", func(n *corev1.Node) { n.Status.NodeInfo.Architecture = "ppc64le" }))
	d := c.deployer()
	for name, want := range map[string]string{
		"nowhere": `node "nowhere" doesn't exist`,
		"sick":    "Kubelet stopped posting node status",
		"win":     "needs Linux",
		"ppc":     "there is a probe for amd64 and arm64",
	} {
		if _, err := d.Open(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("node %q: %v, want %q", name, err, want)
		}
	}
	if len(c.pods()) != 0 {
		t.Errorf("pods %v", c.pods())
	}
}

// A cordoned node takes a probe, and the user is told.
func TestCordoned(t *testing.T) {
	c := newCluster(t, running, node("n1", func(n *corev1.Node) { n.Spec.Unschedulable = true }))
	if _, err := c.deployer().Open(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.messages(), "cordoned") {
		t.Errorf("nobody was told: %s", c.messages())
	}
}

// What never runs is said for what it is, and removed.
func TestNeverRuns(t *testing.T) {
	for name, tc := range map[string]struct {
		kubelet func(*corev1.Pod)
		want    string
	}{
		"bad name": {waiting("InvalidImageName", `couldn't parse image`), "couldn't parse image; give another with --probe-image"},
		"not ours": {
			state(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: `exec: "run": not found`}}),
			`exec: "run": not found; if "example.invalid/probe:1" isn't the probe's image, give that with --probe-image`,
		},
		"never pull": {waiting("ErrImageNeverPull", "not present"), "ErrImageNeverPull"},
		"runtime":    {waiting("CreateContainerError", "no such device"), "CreateContainerError: no such device"},
		"crashed": {
			state(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error", Message: "kernel 4.18 is too old\x1b[31m"}}),
			"it ended with exit code 3: kernel 4.18 is too old [31m",
		},
		"memory": {state(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}), "more memory"},
		"kubelet refuses": {func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "OutOfpods", "node has 110"
		}, "OutOfpods node has 110"},
		"deadline": {func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason = corev1.PodFailed, "DeadlineExceeded"
		}, "DeadlineExceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, tc.kubelet, node("n1"))
			_, err := c.deployer().Open(t.Context(), "n1")
			if err == nil || !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if len(c.pods()) != 0 {
				t.Errorf("left behind: %v", c.pods())
			}
		})
	}
}

// An image that can't be pulled is said at once and given up within 10 s; one
// that comes at the second attempt is fine.
func TestPull(t *testing.T) {
	for _, recovers := range []bool{false, true} {
		c := newCluster(t, waiting("ErrImagePull", `dial tcp: lookup example.invalid: no such host`), node("n1"))
		d := c.deployer()
		done := make(chan error, 1)
		go func() {
			_, err := d.Open(context.Background(), "n1")
			done <- err
		}()
		start := c.clock.Now()
		until(t, func() bool { return strings.Contains(c.messages(), "no such host") && c.clock.Waiters() >= 3 })
		if recovers {
			for _, p := range c.pods() {
				running(p)
				if _, err := c.CoreV1().Pods(p.Namespace).UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		} else {
			c.clock.Step(pullGrace)
		}
		err := <-done
		if recovers != (err == nil) || (err != nil && !strings.Contains(err.Error(), "--probe-image")) {
			t.Errorf("recovers %v: %v", recovers, err)
		}
		if took := c.clock.Since(start); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
	}
}

// A wait that lasts says what for, with what the cluster says about it, and ends.
func TestSlow(t *testing.T) {
	c := newCluster(t, waiting("ContainerCreating", ""), node("n1"))
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "kube-system"}, Reason: "Pulling", Message: "Pulling image"}
	if err := c.Tracker().Add(event); err != nil {
		t.Fatal(err)
	}
	d := c.deployer()
	done := make(chan error, 1)
	go func() {
		_, err := d.Open(context.Background(), "n1")
		done <- err
	}()
	until(t, func() bool { return c.clock.Waiters() >= 2 && d.known("n1") })
	c.clock.Step(quiet)
	until(t, func() bool { return strings.Contains(c.messages(), "(Pulling: Pulling image)") })
	c.clock.Step(DefaultStartTimeout)
	if err := <-done; !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "not running after 1m30s") {
		t.Errorf("got %v", err)
	}
}

// Ctrl-C while a probe starts leaves nothing.
func TestCancel(t *testing.T) {
	c := newCluster(t, nil, node("n1"))
	d := c.deployer()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := d.Open(ctx, "n1")
		done <- err
	}()
	until(t, func() bool { return d.known("n1") })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || len(c.pods()) != 0 {
		t.Errorf("error %v, left %v", err, c.pods())
	}
}

// A probe whose pod somebody deletes, or that ends, is known to be gone.
func TestGone(t *testing.T) {
	c := newCluster(t, running, node("n1"))
	d := c.deployer()
	p, err := d.Open(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	for name := range c.pods() {
		if err := c.CoreV1().Pods("kube-system").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, func() bool { return p.Err() != nil })
	if _, err := p.Dial(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Image: "x", Session: "ab"},
		{Image: "", Session: "abcd"},
		{Image: "a b", Session: "abcd"},
		{Image: "x", Session: "abcd", Namespace: "Kube System"},
		{Image: "x", Session: "abcd", Deadline: time.Second},
	} {
		if _, err := New(nil, nil, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func (d *Deployer) known(node string) bool {
	p, _, _ := d.current(node)
	return p != nil
}

// until waits for what another goroutine does.
func until(t *testing.T, cond func() bool) {
	t.Helper()
	for tick := time.NewTicker(time.Millisecond); !cond(); {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("never happened")
		}
	}
}
