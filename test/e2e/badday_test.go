// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ebpol/kubectl-ebpol/pkg/deploy"
)

// What isn't there is said at once.
func TestNoSuch(t *testing.T) {
	w := newWorld(t)
	refused(t, 2*time.Second, []string{"trace", "pod", "nobody", "-n", w.ns}, `"nobody"`)
	refused(t, 2*time.Second, []string{"trace", "pod", "db", "-n", "nowhere-" + random()}, "nowhere-")
	refused(t, 2*time.Second, []string{"top", "--context", "nothing"}, "nothing")
	refused(t, 2*time.Second, []string{"dry-run", "-n", w.ns, "-f", w.file("this is not YAML: [")}, "policy.yaml")
	nothingLeft(t, w)
}

// An image that can't be pulled is said within 10 s, and nothing stays.
func TestNoImage(t *testing.T) {
	w := newWorld(t)
	image := env.image
	t.Cleanup(func() { env.image = image })
	env.image = "ebpol.invalid/no-such-probe:1"
	refused(t, 10*time.Second, []string{"trace", "pod", "db", "-n", w.ns, "-o", "json"}, "can't be pulled", "ebpol.invalid/no-such-probe:1", "--probe-image")
	nothingLeft(t, w)
}

// Who may look but not create pods is told which right is missing, for whom,
// and gets the role that grants it.
func TestNoRights(t *testing.T) {
	w := newWorld(t)
	user := "jane-" + random()
	grant(t, user, "view")
	refused(t, 3*time.Second, []string{"trace", "pod", "db", "-n", w.ns, "--as", user},
		`user "`+user+`" may not create pods`, "create pods/exec", `namespace "kube-system"`, "kind: Role", "kind: RoleBinding")
	nothingLeft(t, w)
}

func grant(t *testing.T, user, role string) {
	t.Helper()
	b := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}
	if _, err := env.client.RbacV1().ClusterRoleBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.client.RbacV1().ClusterRoleBindings().Delete(context.Background(), user, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// Pod Security refuses the pod in an ordinary namespace: the words say so, and
// which namespace would do.
func TestPodSecurity(t *testing.T) {
	w := newWorld(t)
	patch := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`)
	if _, err := env.client.CoreV1().Namespaces().Patch(t.Context(), w.ns, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(t, 2*time.Second, []string{"trace", "pod", "db", "-n", w.ns, "--probe-namespace", w.ns}, `Pod Security "baseline"`, "hostNetwork=true", "--probe-namespace")
	nothingLeft(t, w)
}

// A probe that is killed is said to be gone; it leaves nothing in the kernel,
// and cleanup finds nothing to do.
func TestProbeKilled(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	r := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	r.await(30*time.Second, "a flow", both(typed("flow"), between("web", "db", 0)))
	probe := newestProbe(t, env.nodes[0])
	onNode(t, env.nodes[0], "sh", "-c", fmt.Sprintf(`for p in /proc/[0-9]*; do
		grep -q %s $p/cgroup 2>/dev/null && grep -q ebpol-probe $p/cmdline && kill -9 ${p#/proc/}; done; true`, probe.UID))
	text, err := r.wait(30 * time.Second)
	if err == nil || !strings.Contains(text, "gone") {
		t.Errorf("error %v, stderr:\n%s", err, text)
	}
	nothingLeft(t, w)
	if out := once(t, "cleanup"); !strings.Contains(out, "nothing") {
		t.Errorf("cleanup says %q", out)
	}
}

// A plugin that was killed leaves its probe for a minute; cleanup ends it at
// once, in the kernel too, and says what it removed.
func TestCleanup(t *testing.T) {
	w := newWorld(t)
	r := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	r.await(30*time.Second, "a flow", both(typed("flow"), between("web", "db", 0)))
	probe := newestProbe(t, env.nodes[0])
	r.kill()
	if out := once(t, "cleanup"); !strings.Contains(out, probe.Name) {
		t.Errorf("cleanup says %q and not %q", out, probe.Name)
	}
	nothingLeft(t, w)
}

func newestProbe(t *testing.T, node string) corev1.Pod {
	t.Helper()
	list, err := env.client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{LabelSelector: deploy.Selector, FieldSelector: "spec.nodeName=" + node})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("no probe on node %s, error %v", node, err)
	}
	return slices.MaxFunc(list.Items, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
}

// Ctrl-C while the probe's pod is still being made: it goes again.
func TestInterruptedEarly(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	pods, err := env.client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{LabelSelector: w.others})
	if err != nil {
		t.Fatal(err)
	}
	defer pods.Stop()
	r := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	e, open := <-pods.ResultChan()
	if !open {
		t.Fatal("no probe pod was created within 30 s")
	}
	if e.Type != watch.Added {
		t.Fatalf("first event about the probe's pod is %s", e.Type)
	}
	r.interrupt()
	if _, err := r.wait(time.Second); err != nil {
		t.Errorf("Ctrl-C ended it with %v", err)
	}
	nothingLeft(t, w)
}

// A cordoned node takes a probe all the same; one that isn't ready is refused
// in words, before anything is created.
func TestNodeState(t *testing.T) {
	w := newWorld(t)
	node := env.nodes[0]
	cordon := func(on bool) {
		patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on)
		if _, err := env.client.CoreV1().Nodes().Patch(context.Background(), node, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cordon(true)
	t.Cleanup(func() { cordon(false) })
	r := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	r.await(30*time.Second, "a flow on a cordoned node", both(typed("flow"), between("web", "db", 0)))
	r.interrupt()
	nothingLeft(t, w)

	// The kubelet says after a while that the node is well after all: until then
	// it counts as sick. A try that began too late is made again.
	condition := func(status, reason, message string) {
		t.Helper()
		patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":"Ready","status":%q,"reason":%q,"message":%q}]}}`, status, reason, message)
		if _, err := env.client.CoreV1().Nodes().Patch(context.Background(), node, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { condition("True", "KubeletReady", "kubelet is posting ready status") })
	for range 3 {
		condition("False", "Planted", "by a test")
		r = plugin(t, "trace", "pod", "db", "-n", w.ns, "--for=1s", "-o", "json")
		text, err := r.wait(30 * time.Second)
		if err != nil && strings.Contains(text, `node "`+node+`" is not ready`) && strings.Contains(text, "Planted") {
			nothingLeft(t, w)
			return
		}
		t.Logf("the kubelet was first: %v %s", err, text)
	}
	t.Error("no session said that the node is not ready")
}
