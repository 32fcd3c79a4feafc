// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
)

// Who may list policies but not watch them is told that they get old; nothing
// would ever change in what is shown.
func TestNoRightToWatchIsTold(t *testing.T) {
	c, typed := fakeClient(t, nil, objects()...)
	typed.PrependWatchReactor("networkpolicies", func(clienttesting.Action) (bool, apiwatch.Interface, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "networkpolicies"}, "", errors.New("no"))
	})
	s := eventually(t, watch(t, c), func(s *State) bool { return len(s.Problems) > 0 })
	if len(s.Policies) != 1 || !strings.Contains(s.Problems[0], "your rights to watch networkpolicies") {
		t.Errorf("policies %v, problems %q", s.Policies, s.Problems)
	}
}

// A service without pods says why it has none.
func TestServiceWithoutPods(t *testing.T) {
	svc := func(name string, spec corev1.ServiceSpec) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: spec}
	}
	c, _ := fakeClient(t, nil, slices.Concat(objects(), []runtime.Object{
		svc("name", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example.org"}),
		svc("bare", corev1.ServiceSpec{}),
		svc("nobody", corev1.ServiceSpec{Selector: map[string]string{"app": "nobody"}}),
	})...)
	w := watch(t, c)
	for name, want := range map[string]string{
		"name": `it only stands for the name "db.example.org"`, "bare": "it has no selector", "nobody": `its selector is "app=nobody"`,
	} {
		err := (&Target{Kind: "svc", Namespace: "shop", Name: name}).Check(w)
		if err == nil || !strings.Contains(err.Error(), "has no pods") || !strings.Contains(err.Error(), want) {
			t.Errorf("service %q: %v, want %q", name, err, want)
		}
	}
}

// A name of another namespace is found there.
func TestOtherNamespace(t *testing.T) {
	c, _ := fakeClient(t, nil, append(objects(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "empty"}})...)
	w := watch(t, c)
	for _, target := range []Target{{Kind: "pod", Name: "web-1"}, {Kind: "deploy", Name: "web"}} {
		target.Namespace = "empty"
		if err := target.Check(w); err == nil || !strings.HasSuffix(err.Error(), `there is one in namespace "shop": add -n shop`) {
			t.Errorf("%s: %v", &target, err)
		}
	}
}
