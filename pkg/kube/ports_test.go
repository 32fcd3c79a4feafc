// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Named ports are those of containers that run while the pod serves, whether
// the pod comes from a file or was slimmed by a watch.
func TestPortsOfInitContainers(t *testing.T) {
	container := func(name string, number int32, policy *corev1.ContainerRestartPolicy) corev1.Container {
		return corev1.Container{Name: name, RestartPolicy: policy, Ports: []corev1.ContainerPort{{Name: name, ContainerPort: number}}}
	}
	always := corev1.ContainerRestartPolicyAlways
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop"}}
	p.Spec.InitContainers = []corev1.Container{container("once", 1, nil), container("sidecar", 2, &always)}
	p.Spec.Containers = []corev1.Container{container("main", 3, nil)}
	slim, err := strip(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range []*corev1.Pod{p, slim.(*corev1.Pod)} {
		out := podOf(pod, nil)
		if len(out.Ports) != 2 || out.Ports[0].Name != "sidecar" || out.Ports[1].Name != "main" {
			t.Errorf("ports %+v", out.Ports)
		}
	}
}
