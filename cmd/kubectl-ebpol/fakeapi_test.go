// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// fakeAPI is an API server of a few objects, which never change: enough to
// list, to watch in vain, and to be refused rights. User "nobody" may nothing,
// "viewer" may look but not create.
type fakeAPI struct {
	*httptest.Server
	lists map[string]runtime.Object // by path
	files map[string]string         // by path
}

func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{lists: map[string]runtime.Object{}, files: map[string]string{
		"/policy.yaml": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {podSelector: {matchLabels: {app: web}}, ingress: []}\n",
		"/broken.yaml": "this is not YAML: [",
	}}
	pod := func(name string, change func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: "u-" + "1", ResourceVersion: "1", Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{NodeName: "n1"},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}},
		}
		if change != nil {
			change(&p)
		}
		return p
	}
	list := metav1.ListMeta{ResourceVersion: "1"}
	f.lists["/api/v1/pods"] = &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: list, Items: []corev1.Pod{
		pod("web-1", nil),
		pod("done", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("host", func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
		pod("new", func(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs = "", nil }),
	}}
	f.lists["/api/v1/namespaces"] = &corev1.NamespaceList{TypeMeta: metav1.TypeMeta{Kind: "NamespaceList", APIVersion: "v1"}, ListMeta: list, Items: []corev1.Namespace{
		{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, {ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
	}}
	f.lists["/api/v1/nodes"] = &corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}, ListMeta: list, Items: []corev1.Node{
		{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}},
	}}
	f.lists["/api/v1/services"] = &corev1.ServiceList{TypeMeta: metav1.TypeMeta{Kind: "ServiceList", APIVersion: "v1"}, ListMeta: list}
	f.lists["/apis/networking.k8s.io/v1/networkpolicies"] = &networkingv1.NetworkPolicyList{
		TypeMeta: metav1.TypeMeta{Kind: "NetworkPolicyList", APIVersion: "networking.k8s.io/v1"}, ListMeta: list,
		Items: []networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}},
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.CloseClientConnections)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAPI) kubeconfig() string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: fake, cluster: {server: %q}}]
users: [{name: me, user: {}}]
contexts:
- {name: fake, context: {cluster: fake, user: me, namespace: shop}}
current-context: fake
`, f.URL)
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get("Impersonate-User")
	answer := func(code int, o any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(o)
	}
	status := func(code int, reason metav1.StatusReason, message string) {
		answer(code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason, Message: message})
	}
	if user == "nobody" {
		status(http.StatusForbidden, metav1.StatusReasonForbidden, `pods is forbidden: User "nobody" cannot list resource "pods"`)
		return
	}
	path := r.URL.Path
	switch {
	case strings.HasSuffix(path, ".yaml"): // a server of files, for -f URL
		if f.files[path] == "" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, f.files[path])
		return
	case path == "/api" || path == "/apis":
		answer(http.StatusOK, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}})
		return
	case strings.HasSuffix(path, "/selfsubjectreviews"):
		answer(http.StatusCreated, map[string]any{"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "status": map[string]any{"userInfo": map[string]any{"username": user}}})
		return
	case strings.HasSuffix(path, "/selfsubjectaccessreviews"):
		answer(http.StatusCreated, map[string]any{"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": map[string]any{"allowed": user != "viewer"}})
		return
	}
	o, known := f.lists[path]
	if r.URL.Query().Get("labelSelector") != "" {
		known, path = false, "/api/v1/pods" // nothing here is of a session
	} else if !known {
		if group, rest, ok := strings.Cut(path, "/namespaces/"); ok && strings.Count(rest, "/") == 1 {
			o, known = f.lists[group+rest[strings.Index(rest, "/"):]]
		}
	}
	switch {
	case r.Method != http.MethodGet:
		status(http.StatusForbidden, metav1.StatusReasonForbidden, "this server takes nothing")
	case r.URL.Query().Get("sendInitialEvents") != "":
		status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch") // as servers before 1.32 say
	case r.URL.Query().Get("watch") != "":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case known:
		answer(http.StatusOK, o)
	case strings.Count(path, "/") <= 4:
		answer(http.StatusOK, map[string]any{"kind": "List", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": "1"}, "items": []any{}})
	default:
		status(http.StatusNotFound, metav1.StatusReasonNotFound, path+" not found")
	}
}
