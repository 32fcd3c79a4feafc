// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// backendOf reads who answers for the service of a line; nil: not known.
func backendOf(l line) *end {
	var more struct {
		Backend *end `json:"backend"`
	}
	if json.Unmarshal([]byte(l.raw), &more) != nil {
		return nil
	}
	return more.Backend
}

// services makes one service of each kind before the database, and gives the
// address of each as a pod asks for it. run.sh runs this with kube-proxy in
// nftables mode, and with EBPOL_PROXY=iptables in the other. Node ports are
// asked for at the asker's own node: another node's are translated there.
func (w *world) services() map[string]string {
	w.t.Helper()
	node, err := env.client.CoreV1().Nodes().Get(w.t.Context(), env.nodes[1], metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var nodeIP string
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && nodeIP == "" {
			nodeIP = a.Address
		}
	}
	out := map[string]string{}
	for name, change := range map[string]func(*corev1.ServiceSpec){
		"cluster":  func(*corev1.ServiceSpec) {},
		"headless": func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone },
		"sticky":   func(s *corev1.ServiceSpec) { s.SessionAffinity = corev1.ServiceAffinityClientIP },
		"node":     func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort },
		"node-local": func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalTrafficPolicy = corev1.ServiceTypeNodePort, corev1.ServiceExternalTrafficPolicyLocal
		},
	} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "db"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(dbPort)}},
		}}
		change(&s.Spec)
		s, err := env.client.CoreV1().Services(w.ns).Create(w.t.Context(), s, metav1.CreateOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		switch p := s.Spec.Ports[0]; {
		case p.NodePort != 0:
			out[name] = net.JoinHostPort(nodeIP, fmt.Sprint(p.NodePort))
		case s.Spec.ClusterIP == corev1.ClusterIPNone:
			out[name] = net.JoinHostPort(w.ips["db"][0], fmt.Sprint(dbPort)) // as DNS says
		default:
			out[name] = net.JoinHostPort(s.Spec.ClusterIP, "80")
		}
	}
	return out
}

// shopper is a pod on the other node that asks all the addresses in turn.
func (w *world) shopper(addresses map[string]string) {
	w.t.Helper()
	var asks []string
	for _, a := range addresses {
		asks = append(asks, "timeout 1 /agnhost connect --timeout=500ms "+a)
	}
	w.pod("shopper", env.nodes[1], "sh", "-c", "while :; do "+strings.Join(asks, "; ")+"; sleep 0.2; done")
	w.ready("shopper")
}

func shops(address string) func(line) bool {
	ip, port, _ := net.SplitHostPort(address)
	return func(l line) bool {
		return l.Source.Pod == "shopper" && l.Direction == "egress" && l.Dest.IP == ip && strconv.Itoa(l.Dest.Port) == port
	}
}

// A row of a connection to a service shows both addresses: the one that the
// pod asked for, and the backend's. Only the pod's own node has a probe, so the
// backend is what that node's connection tracking says.
func TestServiceRowsShowBothAddresses(t *testing.T) {
	w := newWorld(t)
	addresses := w.services()
	w.shopper(addresses)
	r := plugin(t, "trace", "pod", "shopper", "-n", w.ns, "-o", "json")
	for name, address := range addresses {
		if name == "headless" {
			l := r.await(time.Minute, "the connection to the pod itself", both(typed("flow"), shops(address)))
			if l.Dest.Pod != "db" || backendOf(l) != nil {
				t.Errorf("headless: %s", l)
			}
			continue
		}
		l := r.await(time.Minute, "the backend of "+name, both(typed("flow", "close"), shops(address), func(l line) bool { return backendOf(l) != nil }))
		if b := backendOf(l); b.IP != w.ips["db"][0] || b.Port != dbPort || b.Pod != "db" || b.Namespace != w.ns {
			t.Errorf("%s: backend %+v, want db at %s port %d: %s", name, b, w.ips["db"][0], dbPort, l)
		}
		if l.Verdict != "allow" {
			t.Errorf("%s: verdict of %s", name, l)
		}
	}
	r.interrupt()
}
