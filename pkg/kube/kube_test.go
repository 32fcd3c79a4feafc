// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
)

func pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "shop", UID: "uid-" + "x", Labels: map[string]string{"app": "web", "pod-template-hash": "abc"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-abc", Controller: ptr.To(true)}},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "x"}},
		},
		Spec:   corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}, HostIP: "192.168.0.1"},
	}
	if change != nil {
		change(p)
	}
	return p
}

func objects() []runtime.Object {
	return []runtime.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": "a"}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.0.1"}}}},
		pod("web-1", nil),
		pod("done", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("host", func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
		pod("new", func(p *corev1.Pod) { p.Status.PodIPs = nil; p.OwnerReferences = nil }),
		pod("pending", func(p *corev1.Pod) { p.Spec.NodeName = ""; p.Status.PodIPs = nil }),
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIPs: []string{"10.96.0.1"}, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		}},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: "web-x", Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			Ports:      []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, NodeName: ptr.To("n1")}},
		},
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny", Namespace: "shop"}},
	}
}

// fakeClient has the objects; forbidden says which lists are refused.
func fakeClient(t *testing.T, forbidden func(resource, namespace string) bool, objs ...runtime.Object) (*Client, *fake.Clientset) {
	t.Helper()
	typed := fake.NewClientset(objs...)
	refuse := func(a clienttesting.Action) (bool, runtime.Object, error) {
		if forbidden != nil && forbidden(a.GetResource().Resource, a.GetNamespace()) {
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", errors.New("no"))
		}
		return false, nil, nil
	}
	typed.PrependReactor("list", "*", refuse)
	scheme := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	meta := metadatafake.NewSimpleMetadataClient(scheme)
	meta.PrependReactor("list", "*", refuse)
	dyn := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{})
	return &Client{Typed: typed, Dynamic: dyn, Metadata: meta, Discovery: typed.Discovery()}, typed
}

func watch(t *testing.T, c *Client) *Watcher {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	w, err := Watch(ctx, c, Options{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// eventually waits for a state that holds.
func eventually(t *testing.T, w *Watcher, holds func(*State) bool) *State {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		changed := w.Changed()
		s := w.State()
		if holds(s) {
			return s
		}
		select {
		case <-changed:
		case <-w.Changed():
		case <-late:
			t.Fatalf("never happened; last state %+v", s.World)
		}
	}
}

func TestStateOfACluster(t *testing.T) {
	c, _ := fakeClient(t, nil, objects()...)
	s := watch(t, c).State()
	web := s.World.Pods["shop/web-1"]
	if web == nil || web.Workload != "deploy/web" || len(web.IPs) != 2 || web.Node != "n1" || len(web.Ports) != 1 || web.Ports[0].Number != 8080 {
		t.Fatalf("web %+v", web)
	}
	if done := s.World.Pods["shop/done"]; !done.Done || len(done.IPs) != 0 {
		t.Errorf("a completed pod keeps its addresses: %+v", done)
	}
	svc := s.World.Services["shop/web"]
	if svc == nil || svc.IPs[0] != netip.MustParseAddr("10.96.0.1") || len(svc.Ports[0].Backends) != 1 || svc.Ports[0].Backends[0].Port != 8080 {
		t.Errorf("service %+v", svc)
	}
	if l := s.World.Namespaces["shop"].Labels; l["kubernetes.io/metadata.name"] != "shop" || l["team"] != "a" {
		t.Errorf("labels %v", l)
	}
	if len(s.Policies) != 1 || s.Policies[0].Key() != "shop/deny" || !strings.Contains(s.Policies[0].Source.YAML, "kind: NetworkPolicy") {
		t.Errorf("policies %+v", s.Policies)
	}
	if len(s.World.Scope) != 0 {
		t.Errorf("scope %v", s.World.Scope)
	}
}

func TestChangesComeAndWhatDidntChangeIsShared(t *testing.T) {
	c, typed := fakeClient(t, nil, objects()...)
	w := watch(t, c)
	before := w.State()
	p := pod("web-2", func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.2"}} })
	if _, err := typed.CoreV1().Pods("shop").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	after := eventually(t, w, func(s *State) bool { return s.World.Pods["shop/web-2"] != nil })
	if before.World.Pods["shop/web-2"] != nil {
		t.Error("a state that was handed out has changed")
	}
	if after.World.Pods["shop/web-1"] != before.World.Pods["shop/web-1"] || after.World.Nodes["n1"] != before.World.Nodes["n1"] {
		t.Error("what didn't change is not shared")
	}
	if err := typed.CoreV1().Pods("shop").Delete(t.Context(), "web-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, func(s *State) bool { return s.World.Pods["shop/web-2"] == nil })
	if err := typed.NetworkingV1().NetworkPolicies("shop").Delete(t.Context(), "deny", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, func(s *State) bool { return len(s.Policies) == 0 })
}

func TestRightsInOneNamespaceOnly(t *testing.T) {
	c, _ := fakeClient(t, func(resource, namespace string) bool {
		return namespace != "shop" || resource == "nodes" || resource == "namespaces"
	}, objects()...)
	s := watch(t, c).State()
	if len(s.World.Scope) != 1 || s.World.Scope[0] != "shop" {
		t.Fatalf("scope %v", s.World.Scope)
	}
	if n := s.World.Nodes["n1"]; n == nil || len(n.IPs) != 1 || n.IPs[0].String() != "192.168.0.1" {
		t.Errorf("node pieced together from pods: %+v", n)
	}
	if s.World.Namespaces["shop"] == nil || s.World.Pods["shop/web-1"] == nil {
		t.Error("the namespace itself is not seen")
	}
}

// Who may list pods everywhere but no namespaces is as one with rights in one:
// it was said that the namespace doesn't exist.
func TestNamespacesUnseen(t *testing.T) {
	c, _ := fakeClient(t, func(resource, namespace string) bool {
		return resource == "namespaces" || resource == "services" && namespace != "shop"
	}, objects()...)
	w := watch(t, c)
	if s := w.State(); len(s.World.Scope) != 1 || s.World.Scope[0] != "shop" || s.World.Services["shop/web"] == nil {
		t.Errorf("scope %v, services %v", s.World.Scope, s.World.Services)
	}
	if err := (&Target{Kind: "pod", Namespace: "shop", Name: "web-1"}).Check(w); err != nil {
		t.Error(err)
	}
}

// What stands between a pod and its topmost owner names it as well.
func TestTargetsInBetween(t *testing.T) {
	for _, x := range []struct {
		kind, name, workload string
		labels               map[string]string
		want                 bool
	}{
		{"job", "report-29", "cronjob/report", map[string]string{"batch.kubernetes.io/job-name": "report-29"}, true},
		{"job", "report-29", "cronjob/report", map[string]string{"job-name": "report-29"}, true},
		{"job", "report-29", "cronjob/report", map[string]string{"batch.kubernetes.io/job-name": "report-30"}, false},
		{"job", "report-29", "pod/x", map[string]string{"job-name": "report-29"}, false},
		{"cronjob", "report", "cronjob/report", nil, true},
		{"rs", "web-7f", "deploy/web", map[string]string{"pod-template-hash": "7f"}, true},
		{"rs", "web-7f", "deploy/web", map[string]string{"pod-template-hash": "8f"}, false},
		{"rs", "web-7f", "rollout/web", map[string]string{"rollouts-pod-template-hash": "7f"}, true},
		{"rs", "web", "rs/web", nil, true},
	} {
		target := &Target{Kind: x.kind, Namespace: "shop", Name: x.name}
		if got := target.owns(&identity.Pod{Namespace: "shop", Workload: x.workload, Labels: x.labels}); got != x.want {
			t.Errorf("%s of %s with %v: %t", target, x.workload, x.labels, got)
		}
	}
}

func TestNoRightsAtAll(t *testing.T) {
	c, _ := fakeClient(t, func(string, string) bool { return true })
	_, err := Watch(t.Context(), c, Options{Namespace: "shop"})
	if err == nil || !strings.Contains(err.Error(), "kubectl create rolebinding ebpol-view -n shop --clusterrole=view --user=") || !apierrors.IsForbidden(err) {
		t.Errorf("got %v", err)
	}
}

func TestSessionIsTold(t *testing.T) {
	c, _ := fakeClient(t, nil, objects()...)
	w := watch(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	err := w.Watch(ctx, func(s session.State) {
		told++
		if len(s.Policies) != 1 || s.World.Pods["shop/web-1"] == nil {
			t.Errorf("told %+v", s)
		}
		cancel()
	})
	if err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
}

func TestTargets(t *testing.T) {
	c, _ := fakeClient(t, nil, objects()...)
	w := watch(t, c)
	for _, x := range []struct {
		args string
		ns   string
		want string // part of the error; empty: fine
	}{
		{"web-1", "shop", ""},
		{"pod web-1", "shop", ""},
		{"deploy/web", "shop", ""},
		{"svc web", "shop", ""},
		{"node/n1", "shop", ""},
		{"web-2", "shop", `did you mean "web-1"`},
		{"web-1", "shpo", `namespace "shpo" not found; did you mean "shop"?`},
		{"done", "shop", "has completed"},
		{"host", "shop", ""},
		{"new", "shop", "has no IP yet"},
		{"pending", "shop", "not scheduled"},
		{"deploy/wep", "shop", `did you mean "web"`},
		{"svc/wob", "shop", `service "wob" not found`},
		{"node/n2", "shop", `did you mean "n1"`},
		{"cm/x", "shop", `kind "cm" can't be traced`},
		{"pod a b", "shop", "names no workload"},
		{"pod/", "shop", "names no workload"},
		{"pods.apps/web-1", "shop", `kind "pods.apps" can't be traced`},
		{"deployments.batch/web", "shop", `kind "deployments.batch" can't be traced`},
		{"deploy.apps/wep", "shop", `did you mean "web"`},
		{"Deployments.v1.apps/wep", "shop", `did you mean "web"`},
		{"pods.v1/web-2", "shop", `did you mean "web-1"`},
	} {
		kind, name, err := ParseTarget(strings.Fields(x.args))
		if err == nil {
			err = (&Target{Kind: kind, Namespace: x.ns, Name: name}).Check(w)
		}
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: %v, want %q", x.args, err, x.want)
		}
	}
	sel, _ := labels.Parse("app=nothing")
	if err := (&Target{Namespace: "shop", Selector: sel}).Check(w); err == nil || !strings.Contains(err.Error(), "app=nothing") {
		t.Errorf("selector: %v", err)
	}
	svc := &Target{Kind: "svc", Namespace: "shop", Name: "web"}
	if got := w.State().World.SelectPods(svc.Match(w)); len(got) == 0 || !contains(got, "web-1") {
		t.Errorf("pods of the service: %v", got)
	}
}

func contains(pods []*identity.Pod, name string) bool {
	for _, p := range pods {
		if p.Name == name {
			return true
		}
	}
	return false
}

func TestNearest(t *testing.T) {
	got := Nearest("cart", []string{"cart-5f", "carts", "db", "orders", "card"}, 3)
	if strings.Join(got, " ") != "card carts cart-5f" {
		t.Errorf("%v", got)
	}
}
