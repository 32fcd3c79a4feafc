// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
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

// front is a service before a pod, and an address that it has for who asks.
type front struct {
	service, pod string // the pod behind it
	address      netip.AddrPort
}

// nodeIPs are a node's own addresses, IPv4 and IPv6.
func nodeIPs(t testing.TB, name string) (out []netip.Addr) {
	t.Helper()
	node, err := env.client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out = append(out, netip.MustParseAddr(a.Address))
		}
	}
	return out
}

// fronts makes one service of each kind before a pod, and gives the addresses
// of each, over IPv4 and IPv6, as a pod on the other node asks for them. Node
// ports are asked for at the asker's own node: another node's are translated
// there. make e2e runs this with kube-proxy in nftables mode, and make
// e2e-iptables in the other.
func (w *world) fronts(pod string) (out []front) {
	w.t.Helper()
	for _, kind := range []struct {
		name   string
		change func(*corev1.ServiceSpec)
	}{
		{"cluster", func(*corev1.ServiceSpec) {}},
		{"headless", func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }},
		{"sticky", func(s *corev1.ServiceSpec) { s.SessionAffinity = corev1.ServiceAffinityClientIP }},
		{"node", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }},
		{"node-local", func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalTrafficPolicy = corev1.ServiceTypeNodePort, corev1.ServiceExternalTrafficPolicyLocal
		}},
	} {
		both := corev1.IPFamilyPolicyRequireDualStack
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: kind.name + "-" + pod}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": pod}, IPFamilyPolicy: &both,
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(dbPort)}},
		}}
		kind.change(&s.Spec)
		s, err := env.client.CoreV1().Services(w.ns).Create(w.t.Context(), s, metav1.CreateOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		switch p := s.Spec.Ports[0]; {
		case p.NodePort != 0:
			for _, ip := range nodeIPs(w.t, env.nodes[1]) {
				out = append(out, front{kind.name, pod, netip.AddrPortFrom(ip, uint16(p.NodePort))})
			}
		case s.Spec.ClusterIP == corev1.ClusterIPNone:
			for _, ip := range w.ips[pod] { // as DNS says
				out = append(out, front{kind.name, pod, netip.AddrPortFrom(netip.MustParseAddr(ip), dbPort)})
			}
		default:
			for _, ip := range s.Spec.ClusterIPs {
				out = append(out, front{kind.name, pod, netip.AddrPortFrom(netip.MustParseAddr(ip), 80)})
			}
		}
	}
	return out
}

// shopper is a pod on the other node that asks all the addresses in turn.
func (w *world) shopper(fronts []front) {
	w.t.Helper()
	w.pod("shopper", env.nodes[1], "sh", "-c", asking(fronts))
	w.ready("shopper")
}

// asking is a shell's loop that connects to addresses.
func asking(fronts []front) string {
	var asks []string
	for _, f := range fronts {
		asks = append(asks, "timeout 1 /agnhost connect --timeout=500ms "+f.address.String())
	}
	return "while :; do " + strings.Join(asks, "; ") + "; sleep 0.2; done"
}

// asks fits lines of a pod that asks for an address.
func asks(pod string, address netip.AddrPort) func(line) bool {
	return func(l line) bool {
		ip, err := netip.ParseAddr(l.Dest.IP)
		return err == nil && l.Source.Pod == pod && l.Direction == "egress" && netip.AddrPortFrom(ip, uint16(l.Dest.Port)) == address
	}
}

// market is a shopper who may ask the database alone, and the fronts of that
// and of a mail server.
func market(t *testing.T) (*world, []front) {
	t.Helper()
	proxyMode(t)
	w := newWorld(t)
	w.pod("mail", env.nodes[0], "/agnhost", "netexec", fmt.Sprintf("--http-port=%d", dbPort))
	w.ready("mail")
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "only-db"}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "shopper"}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress:      []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{withLabel("app", "db")}}},
	}}
	if _, err := env.client.NetworkingV1().NetworkPolicies(w.ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fronts := append(w.fronts("db"), w.fronts("mail")...)
	w.shopper(fronts)
	return w, fronts
}

// proxyMode checks that kube-proxy works as it was asked to.
func proxyMode(t *testing.T) {
	t.Helper()
	if env.state == "" {
		return
	}
	want, got := cmp.Or(os.Getenv("EBPOL_PROXY"), "nftables"), "iptables"
	if strings.Contains(onNode(t, env.nodes[0], "nft", "list", "tables"), " kube-proxy\n") {
		got = "nftables"
	}
	t.Logf("kube-proxy in %s mode", got)
	if got != want {
		t.Errorf("kube-proxy is in %s mode, want %s", got, want)
	}
}

// Enforcement decides by who is behind a service, for every kind of service,
// over IPv4 and IPv6.
func TestServicesEnforced(t *testing.T) {
	w, fronts := market(t)
	ask := func() []error { // all at once: a denied one waits
		answers := make([]error, len(fronts))
		var wait sync.WaitGroup
		for i, f := range fronts {
			wait.Go(func() { _, answers[i] = w.exec("shopper", "/agnhost", "connect", "--timeout=3s", f.address.String()) })
		}
		wait.Wait()
		return answers
	}
	for i, err := range ask() {
		if f := fronts[i]; err != nil {
			t.Fatalf("%s before %s at %s doesn't answer before enforcement: %v", f.service, f.pod, f.address, err)
		}
	}
	r := enforcing(t)
	for i, err := range ask() {
		if f := fronts[i]; (err == nil) != (f.pod == "db") {
			t.Errorf("%s before %s at %s: %v", f.service, f.pod, f.address, err)
		}
	}
	r.interrupt()
	nothingLeft(t, w)
}

// A row of a connection to a service shows both addresses: the one that the
// pod asked for, and the backend's; and its verdict is by who is behind it, for
// every kind of service, over IPv4 and IPv6. Only the asker's node has a probe,
// so the backend is what that node's connection tracking says.
func TestServices(t *testing.T) {
	w, fronts := market(t)
	r := plugin(t, "trace", "pod", "shopper", "-n", w.ns, "-o", "json")
	for _, f := range fronts {
		what := fmt.Sprintf("%s before %s at %s", f.service, f.pod, f.address)
		shown := typed("flow", "verdict", "close")
		if f.service != "headless" {
			shown = both(shown, func(l line) bool { return backendOf(l) != nil })
		}
		l := r.await(time.Minute, "the pod behind "+what, both(shown, asks("shopper", f.address)))
		verdict := map[string]string{"db": "allow", "mail": "deny"}[f.pod]
		if l.Verdict != verdict {
			t.Errorf("%s: want %s: %s", what, verdict, l)
		}
		behind := l.Dest
		if f.service != "headless" {
			behind = *backendOf(l)
		}
		ip, err := netip.ParseAddr(behind.IP)
		if err != nil || behind.Pod != f.pod || behind.Namespace != w.ns || behind.Port != dbPort || !slices.Contains(w.ips[f.pod], behind.IP) || ip.Is4() != f.address.Addr().Is4() {
			t.Errorf("%s: behind it is %+v, want %s at %v port %d: %s", what, behind, f.pod, w.ips[f.pod], dbPort, l)
		}
	}
	r.interrupt()
	nothingLeft(t, w)
}

// A pod reaches itself through its service. Where it is isolated the meaning of
// that is open, and the verdict says so; where no policy is against it, it is
// allowed; and the row shows both addresses.
func TestHairpin(t *testing.T) {
	w := newWorld(t)
	both4and6 := corev1.IPFamilyPolicyRequireDualStack
	var fronts []front
	for _, pod := range []string{"free", "isolated"} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: pod}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": pod}, IPFamilyPolicy: &both4and6,
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(dbPort)}},
		}}
		s, err := env.client.CoreV1().Services(w.ns).Create(t.Context(), s, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var own []front
		for _, ip := range s.Spec.ClusterIPs {
			own = append(own, front{"cluster", pod, netip.AddrPortFrom(netip.MustParseAddr(ip), 80)})
		}
		w.pod(pod, env.nodes[0], "sh", "-c", fmt.Sprintf("/agnhost netexec --http-port=%d & %s", dbPort, asking(own)))
		w.ready(pod)
		fronts = append(fronts, own...)
	}
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "isolated"}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "isolated"}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
	}}
	if _, err := env.client.NetworkingV1().NetworkPolicies(w.ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := plugin(t, "trace", "node/"+env.nodes[0], "-o", "json")
	for _, f := range fronts {
		what := fmt.Sprintf("%s's own service at %s", f.pod, f.address)
		l := r.await(time.Minute, "the pod behind "+what, both(typed("flow", "verdict", "close"), asks(f.pod, f.address), func(l line) bool { return backendOf(l) != nil }))
		// Ingress is from the pod's own node, as whom kube-proxy masquerades it.
		want := map[string]string{"free": "allow", "isolated": "contested"}[f.pod]
		if back := backendOf(l); l.Verdict != want || back.Pod != f.pod || back.Port != dbPort || !slices.Contains(w.ips[f.pod], back.IP) {
			t.Errorf("%s: want %s and itself behind it: %s", what, want, l)
		}
		l = r.await(time.Minute, "the arrival from "+what, both(typed("flow", "verdict", "close"), func(l line) bool {
			ip, err := netip.ParseAddr(l.Dest.IP)
			return err == nil && l.Direction == "ingress" && l.Dest.Pod == f.pod && ip.Is4() == f.address.Addr().Is4()
		}))
		if l.Verdict != "allow" || l.Source.Pod != "" {
			t.Errorf("%s: want an arrival from the node, which may: %s", what, l)
		}
	}
	r.interrupt()
	nothingLeft(t, w)
}

// Who comes from outside the cluster to a node port is judged by the address
// that the pod sees: under externalTrafficPolicy Local the client's own, under
// Cluster that of the node that passed it on.
func TestNodePortFromOutside(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	var cidrs []networkingv1.NetworkPolicyPeer
	var outside []netip.Addr
	for _, a := range strings.Fields(onNode(t, "cp", "sh", "-c", "ip -o addr show dev eth0 scope global | awk '{print $4}'")) {
		ip := netip.MustParsePrefix(a).Addr()
		outside = append(outside, ip)
		cidrs = append(cidrs, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: netip.PrefixFrom(ip, ip.BitLen()).String()}})
	}
	if err := w.admit("only-outside", cidrs...); err != nil {
		t.Fatal(err)
	}
	ports := map[string]uint16{}
	for _, f := range w.fronts("db") {
		ports[f.service] = f.address.Port()
	}
	r := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	r.await(30*time.Second, "a flow", both(typed("flow"), between("web", "db", 0)))
	for _, c := range []struct {
		service, at string
		from        string // whom the pod sees: outside, or a node; nobody: it doesn't come to the pod
		verdict     string
	}{
		{"node-local", env.nodes[0], "outside", "allow"},
		{"node-local", env.nodes[1], "nobody", ""}, // the pod isn't there
		{"node", env.nodes[0], env.nodes[0], "allow"},
		{"node", env.nodes[1], env.nodes[1], "deny"}, // another node isn't the client that the policy lets in
	} {
		for _, ip := range nodeIPs(t, c.at) {
			what := fmt.Sprintf("service %s at %s", c.service, netip.AddrPortFrom(ip, ports[c.service]))
			start := time.Now()
			text := onNode(t, "cp", "bash", "-c", fmt.Sprintf("timeout 5 bash -c '</dev/tcp/%s/%d' 2>/dev/null && echo connected || echo no", ip, ports[c.service]))
			if got := strings.TrimSpace(text) == "connected"; got != (c.from != "nobody") {
				t.Errorf("%s: connected=%t", what, got)
			}
			if c.from == "nobody" {
				continue
			}
			l := r.await(30*time.Second, "a connection by "+what, both(typed("flow"), func(l line) bool {
				from, err := netip.ParseAddr(l.Source.IP)
				if err != nil || !l.at.After(start) || l.Source.Pod != "" || from.Is4() != ip.Is4() {
					return false
				}
				return c.from == "outside" && slices.Contains(outside, from) || l.Source.Node == c.from
			}))
			if l.Verdict != c.verdict || l.Dest.Pod != "db" || l.Dest.Port != dbPort {
				t.Errorf("%s: want %s: %s", what, c.verdict, l)
			}
		}
	}
	r.interrupt()
	nothingLeft(t, w)
}
