// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kubelet asks a pod of a bridge network from the bridge's address.
func TestNodeHasItsInsideAddresses(t *testing.T) {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{"projectcalico.org/IPv4VXLANTunnelAddr": "10.244.9.64", "network.cilium.io/ipv4-cilium-host": "nonsense"}},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24", "fd00:1::/64", "10.9.9.9/32"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.0.1"}}},
	}
	slim, err := strip(n)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(nodeOf(slim.(*corev1.Node)).IPs)
	if want := "[192.168.0.1 10.244.1.1 fd00:1::1 10.244.9.64]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
