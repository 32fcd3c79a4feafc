// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The cluster is what the other tests take it for: pods on two nodes, services
// and names, over IPv4 and IPv6.
func TestCluster(t *testing.T) {
	w := newWorld(t)
	for pod, ips := range w.ips {
		if len(ips) != 2 {
			t.Errorf("pod %q has addresses %v, want two", pod, ips)
		}
	}
	svc, err := env.client.CoreV1().Services(w.ns).Get(t.Context(), "db", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{fmt.Sprintf("db.%s.svc.cluster.local:80", w.ns)}
	for _, ip := range svc.Spec.ClusterIPs {
		urls = append(urls, net.JoinHostPort(ip, "80"))
	}
	for _, ip := range w.ips["db"] {
		urls = append(urls, net.JoinHostPort(ip, fmt.Sprint(dbPort)))
	}
	if len(urls) != 5 {
		t.Errorf("addresses of the database: %v", urls)
	}
	for _, u := range urls {
		for _, from := range []string{"web", "intruder"} {
			out, err := w.exec(from, "timeout", "4", "wget", "-qO-", "http://"+u+"/hostname")
			if err != nil || strings.TrimSpace(out) != "db" {
				t.Errorf("from %s to %s: %q, error %v", from, u, out, err)
			}
		}
	}
}
