// SPDX-License-Identifier: Apache-2.0

package suggest_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/suggest"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// town is a world that tests fill.
type town struct {
	w   *identity.World
	log *traffic.Log
}

func newTown() *town {
	return &town{&identity.World{
		Pods: map[string]*identity.Pod{}, Namespaces: map[string]*identity.Namespace{}, Services: map[string]*identity.Service{},
		Nodes: map[string]*identity.Node{
			"n1": {Name: "n1", IPs: ips("192.168.0.1"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}},
			"n2": {Name: "n2", IPs: ips("192.168.0.2"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")}},
		},
	}, traffic.New()}
}

func ips(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// pod adds a pod; labels are "k=v".
func (t *town) pod(key, workload, ip string, labels ...string) *identity.Pod {
	ns, name, _ := strings.Cut(key, "/")
	p := &identity.Pod{Namespace: ns, Name: name, Workload: workload, Node: "n1", Labels: map[string]string{}, IPs: ips(ip)}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		p.Labels[k] = v
	}
	t.w.Pods[key] = p
	t.w.Namespaces[ns] = &identity.Namespace{Name: ns, Labels: map[string]string{"kubernetes.io/metadata.name": ns}}
	return p
}

func (t *town) service(key, ip string, proto flow.Protocol, port, target uint16, backends ...string) {
	ns, name, _ := strings.Cut(key, "/")
	p := identity.ServicePort{Protocol: proto, Port: port}
	for _, b := range backends {
		p.Backends = append(p.Backends, identity.Backend{IP: netip.MustParseAddr(b), Port: target, Ready: true})
	}
	t.w.Services[key] = &identity.Service{Namespace: ns, Name: name, Type: "ClusterIP", IPs: ips(ip), Ports: []identity.ServicePort{p}}
}

func (t *town) peer(ip string, port uint16) *flow.Peer {
	a := netip.MustParseAddr(ip)
	out := &flow.Peer{IP: a, Port: port}
	for _, p := range t.w.Pods {
		if slices.Contains(p.IPs, a) && !p.HostNetwork {
			out.Namespace, out.Pod, out.Workload, out.Node = p.Namespace, p.Name, p.Workload, p.Node
		}
	}
	for _, s := range t.w.Services {
		if slices.Contains(s.IPs, a) {
			out.Service = s.Key()
		}
	}
	return out
}

// flow is one connection; change may be nil.
func (t *town) flow(d flow.Direction, proto flow.Protocol, from, to string, port uint16, change func(*flow.Event)) {
	now := *t.w
	t.log.Know(&now)
	e := &flow.Event{
		Type: flow.CloseEvent, Time: start, Direction: d, Protocol: proto, Source: t.peer(from, 40000), Destination: t.peer(to, port), Verdict: flow.Allow,
	}
	if change != nil {
		change(e)
	}
	t.log.Event(e)
}

func (t *town) input() suggest.Input {
	return suggest.Input{
		Log: t.log, Coverage: &traffic.Coverage{Began: start, Ended: start.Add(time.Minute)}, Source: "a test",
		Target: func(p *identity.Pod) bool { return p.Namespace == "shop" },
	}
}

// yaml is the proposal's text, without the lines of comments at its head.
func yaml(t *testing.T, in suggest.Input) string {
	t.Helper()
	p, err := suggest.From(in)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := p.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func holds(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("lacks %q:\n%s", w, text)
		}
	}
}

func lacks(t *testing.T, text string, never ...string) {
	t.Helper()
	for _, n := range never {
		if strings.Contains(text, n) {
			t.Errorf("holds %q:\n%s", n, text)
		}
	}
}

func shop() *town {
	t := newTown()
	web := t.pod("shop/web-6c8d5-4tzlp", "deploy/web", "10.0.1.2", "app=web", "pod-template-hash=6c8d5", "version=v7", "app.kubernetes.io/version=7")
	web.Ports = []identity.NamedPort{{Name: "http", Protocol: flow.TCP, Number: 8080}}
	t.pod("shop/web-6c8d5-9wq7r", "deploy/web", "10.0.1.3", "app=web", "pod-template-hash=6c8d5").Ports = web.Ports
	t.pod("shop/db-0", "sts/db", "10.0.1.4", "app=db", "controller-revision-hash=db-1", "statefulset.kubernetes.io/pod-name=db-0", "apps.kubernetes.io/pod-index=0")
	t.pod("shop/report-29384-qzv6t", "cronjob/report", "10.0.1.5", "app=report", "controller-uid=u", "batch.kubernetes.io/job-name=report-29384", "job-name=report-29384", "batch.kubernetes.io/controller-uid=u")
	t.pod("kube-system/coredns-1", "deploy/coredns", "10.0.2.9", "k8s-app=kube-dns", "pod-template-hash=x")
	t.pod("monitoring/prom-0", "sts/prom", "10.0.2.7", "app.kubernetes.io/name=prometheus", "app.kubernetes.io/instance=main")
	t.service("kube-system/kube-dns", "10.96.0.10", flow.UDP, 53, 1053, "10.0.2.9")
	t.service("shop/web", "10.96.0.20", flow.TCP, 80, 8080, "10.0.1.2", "10.0.1.3")
	t.w.ClusterDNS = ips("10.96.0.10")
	return t
}

func TestLabelsOutliveARollout(t *testing.T) {
	w := shop()
	w.flow(flow.Ingress, flow.TCP, "10.0.1.2", "10.0.1.4", 5432, nil)
	w.flow(flow.Ingress, flow.TCP, "10.0.1.5", "10.0.1.4", 5432, nil)
	text := yaml(t, w.input())
	holds(t, text, "app: web", "app: db", "app: report", "name: ebpol-db", "port: 5432")
	_, text, _ = strings.Cut(text, "apiVersion") // pods that were not watched are named at the head
	lacks(t, text, "hash", "controller-uid", "job-name", "pod-name", "pod-index", "version:", "ipBlock", "6c8d5", "29384")
}

func TestServicesAreTheirPods(t *testing.T) {
	w := shop()
	w.flow(flow.Egress, flow.TCP, "10.0.1.5", "10.96.0.20", 80, nil) // who answered isn't known
	text := yaml(t, w.input())
	holds(t, text, "deploy/web by service shop/web: 1 flow", "port: http # 8080: 1 flow")
	lacks(t, text, "10.96.0.20", "port: 80")
}

// A service that somebody outside answers is named by both addresses: network
// plugins differ on which of them counts.
func TestServicesWithoutPods(t *testing.T) {
	w := shop()
	w.service("default/kubernetes", "10.96.0.1", flow.TCP, 443, 6443, "192.168.0.1")
	w.flow(flow.Egress, flow.TCP, "10.0.1.5", "10.96.0.1", 443, nil)
	text := yaml(t, w.input())
	holds(t, text, `cidr: "192.168.0.1/32"`, "port: 6443", `cidr: "10.96.0.1/32"`, "port: 443", "node n1", "service default/kubernetes")
}

func TestDNSIsThisClusters(t *testing.T) {
	w := shop()
	w.flow(flow.Egress, flow.UDP, "10.0.1.5", "10.96.0.10", 53, nil)
	text := yaml(t, w.input())
	holds(t, text, "k8s-app: kube-dns", "kubernetes.io/metadata.name: kube-system", "- protocol: UDP\n      port: 1053", "- protocol: TCP\n      port: 1053")
	lacks(t, text, "169.254", "10.96.0.10")

	w.pod("kube-system/node-local-dns-a", "ds/node-local-dns", "192.168.0.1", "k8s-app=node-local-dns").HostNetwork = true
	w.flow(flow.Egress, flow.UDP, "10.0.1.5", "169.254.20.10", 53, nil)
	text = yaml(t, w.input())
	holds(t, text, `cidr: "169.254.20.10/32"`, `cidr: "10.96.0.10/32"`, "NodeLocal DNSCache")
}

func TestOutsideIsListedOneByOneAndJoinedWhenAsked(t *testing.T) {
	w := shop()
	for i, ip := range []string{"203.0.113.7", "203.0.113.9", "198.51.100.1", "2001:db8::7"} {
		w.flow(flow.Egress, flow.TCP, "10.0.1.5", ip, 443, func(e *flow.Event) {
			if i == 0 {
				e.Destination.Name = "api.example.com"
			}
		})
	}
	in := w.input()
	for _, name := range []string{"api.example.com.", "cdn.example.com."} {
		in.Log.Event(&flow.Event{Type: flow.DNSEvent, Answer: &flow.Answer{Question: name, IPs: ips("198.51.100.1")}})
	}
	text := yaml(t, in)
	holds(t, text, "# api.example.com, cdn.example.com: 1 flow")
	holds(t, text, `"203.0.113.7/32"`, `"203.0.113.9/32"`, `"198.51.100.1/32"`, `"2001:db8::7/128"`, "# api.example.com: 1 flow")
	if n := strings.Count(text, "port: 443"); n != 1 {
		t.Errorf("%d rules for one port:\n%s", n, text)
	}
	for _, j := range []string{"/24", "/64"} {
		p, err := suggest.ParseJoin(j)
		if err != nil {
			t.Fatal(err)
		}
		in.Join = append(in.Join, p)
	}
	text = yaml(t, in)
	holds(t, text, `"203.0.113.0/24"`, `"198.51.100.0/24"`, `"2001:db8::/64"`, "203.0.113.7, api.example.com, 203.0.113.9")
	lacks(t, text, "/32")
	block, err := suggest.ParseJoin("203.0.112.0/20")
	if err != nil {
		t.Fatal(err)
	}
	in.Join = []suggest.Join{block}
	holds(t, yaml(t, in), `"203.0.112.0/20"`, `"198.51.100.1/32"`)
}

func TestWhatJoinsAreNot(t *testing.T) {
	for _, s := range []string{"/0", "/129", "/x", "24", "10.0.0.0", "::ffff:10.0.0.0/104", ""} {
		if j, err := suggest.ParseJoin(s); err == nil {
			t.Errorf("%q gives %+v", s, j)
		}
	}
}

func TestWhatIsDeniedIsLeftOut(t *testing.T) {
	w := shop()
	deny := func(e *flow.Event) { e.Verdict = flow.Deny }
	w.flow(flow.Ingress, flow.TCP, "10.0.1.5", "10.0.1.4", 5432, nil)
	w.flow(flow.Ingress, flow.TCP, "10.0.2.7", "10.0.1.4", 9187, deny)
	w.flow(flow.Egress, flow.TCP, "10.0.1.2", "10.0.1.4", 22, nil) // allowed here …
	w.flow(flow.Ingress, flow.TCP, "10.0.1.2", "10.0.1.4", 22, deny)
	in := w.input()
	text := yaml(t, in)
	holds(t, text, "# - monitoring/sts/prom to shop/sts/db:9187/TCP (1 flow)", "shop/deploy/web to shop/sts/db:22/TCP (2 flows)")
	lacks(t, text, "port: 9187", "port: 22")
	in.Denied = true
	holds(t, yaml(t, in), "port: 9187", "port: 22", "app.kubernetes.io/name: prometheus")
}

// Where the far end was not watched the cluster's policies are asked.
func TestWhatTheFarEndDeniesIsLeftOut(t *testing.T) {
	w := shop()
	w.flow(flow.Egress, flow.TCP, "10.0.1.5", "10.0.2.7", 9090, nil)
	w.flow(flow.Egress, flow.TCP, "10.0.1.5", "10.0.1.4", 5432, nil)
	o, err := policy.Parse([]byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: monitoring}\nspec: {podSelector: {}}\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	in := w.input()
	in.Current = o.Policies
	text := yaml(t, in)
	holds(t, text, "cronjob/report to monitoring/sts/prom:9090/TCP (1 flow)")
	lacks(t, text, "port: 9090")
}

// Samples of one end may be lost: what the other end saw is let in all the same.
func TestBothEndsAreLetThrough(t *testing.T) {
	w := shop()
	w.flow(flow.Egress, flow.TCP, "10.0.1.5", "10.0.1.4", 5432, nil)
	text := yaml(t, w.input())
	holds(t, text, "name: ebpol-db", "name: ebpol-report", "  ingress:\n  # cronjob/report\n")
}

func TestNodes(t *testing.T) {
	w := shop()
	w.flow(flow.Ingress, flow.TCP, "192.168.0.1", "10.0.1.2", 8080, nil) // kubelet: its own node
	if _, err := suggest.From(w.input()); !errors.Is(err, suggest.ErrNothing) {
		t.Errorf("a policy of the kubelet's probes: %v", err)
	}
	w.flow(flow.Ingress, flow.TCP, "192.168.0.2", "10.0.1.2", 8080, nil)
	text := yaml(t, w.input())
	holds(t, text, `cidr: "192.168.0.2/32"`, "# node n2: 1 flow")
	lacks(t, text, "192.168.0.1")
}

func TestWhatNoPolicyCanSay(t *testing.T) {
	w := shop()
	w.flow(flow.Egress, flow.TCP, "10.0.1.5", "10.0.1.4", 5432, nil)
	w.flow(flow.Egress, flow.ICMP, "10.0.1.5", "10.0.1.4", 0, nil)
	w.flow(flow.Ingress, flow.TCP, "10.0.2.77", "10.0.1.4", 5432, nil) // a pod that nobody knows
	w.pod("shop/bare", "pod/bare", "10.0.1.8", "pod-template-hash=1")
	w.flow(flow.Ingress, flow.TCP, "10.0.1.5", "10.0.1.8", 80, nil)
	text := yaml(t, w.input())
	holds(t, text, "/ICMP, which no NetworkPolicy can name", "10.0.2.77, an address of the cluster's pods", "a policy for shop/pod/bare: its pods have no label")
	lacks(t, text, "10.0.2.77/32")
}

func TestWhatWasNotSeen(t *testing.T) {
	w := shop()
	w.flow(flow.Ingress, flow.TCP, "10.0.1.5", "10.0.1.2", 9000, nil)
	in := w.input()
	in.Coverage.Watched = []string{"shop/web-6c8d5-4tzlp", "shop/web-6c8d5-9wq7r", "shop/report-29384-qzv6t"}
	in.Coverage.CronJobs = []traffic.CronJob{
		{Namespace: "shop", Name: "report", Schedule: "* * * * *"},
		{Namespace: "shop", Name: "backup", Schedule: "0 3 * * *"},
		{Namespace: "shop", Name: "off", Schedule: "0 4 * * *", Suspended: true},
		{Namespace: "other", Name: "x", Schedule: "0 5 * * *"},
	}
	in.Coverage.Lost = 7
	text := yaml(t, in)
	holds(t, text,
		"shop/db-0 (on n1): no probe watched them", "no traffic at all, and so no policy: shop/sts/db", "no traffic of 1 of 2 pods of shop/deploy/web",
		"nobody asked, and so nobody may: shop/deploy/web:8080 (http)", "CronJobs that did not run: shop/backup (0 3 * * *)\n", "7 samples were lost", "these 1m0s")
	lacks(t, text, "shop/off", "other/x")
}

// Names come from the network and the cluster: none of them may become YAML.
func TestNamesStayWithinTheirComment(t *testing.T) {
	w := shop()
	w.flow(flow.Egress, flow.TCP, "10.0.1.5", "203.0.113.7", 443, func(e *flow.Event) {
		e.Destination.Name = "x\nspec: {podSelector: {}}\r# \x1b[31m"
	})
	w.pod("shop/odd", "deploy/odd", "10.0.1.6", "app=true", "on=0x10")
	w.flow(flow.Egress, flow.TCP, "10.0.1.6", "203.0.113.7", 443, nil)
	text := yaml(t, w.input())
	lacks(t, text, "\nspec: {", "\x1b", "\r")
	holds(t, text, `app: "true"`)
}

// Whom labels can't tell apart shares a policy, and that is said.
func TestLabelsThatTwoWorkloadsShare(t *testing.T) {
	w := shop()
	w.pod("shop/twin-a", "deploy/twin-a", "10.0.1.20", "app=twin")
	w.pod("shop/twin-b", "deploy/twin-b", "10.0.1.21", "app=twin")
	w.pod("shop/part", "deploy/part", "10.0.1.22", "app=web", "component=part")
	w.flow(flow.Ingress, flow.TCP, "10.0.1.5", "10.0.1.20", 80, nil)
	w.flow(flow.Ingress, flow.TCP, "10.0.1.5", "10.0.1.22", 81, nil)
	text := yaml(t, w.input())
	holds(t, text, "no label that lasts tells its pods from those of deploy/twin-b", "component: part")
}

// Whatever was seen, the proposal allows it: a world and flows by chance.
func TestProposalsAllowWhatTheyAreMadeOf(t *testing.T) {
	w := shop()
	all := []string{"10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.2.9", "10.0.2.7", "192.168.0.2", "203.0.113.1", "10.96.0.20", "10.96.0.10"}
	n := 0
	for i, from := range all[:8] {
		for j, to := range all {
			for k, d := range []flow.Direction{flow.Ingress, flow.Egress} {
				if d == flow.Ingress && j > 5 || d == flow.Egress && i > 5 || from == to {
					continue
				}
				w.flow(d, []flow.Protocol{flow.TCP, flow.UDP, flow.SCTP}[(i+j+k)%3], from, to, []uint16{53, 80, 8080}[(i*j)%3], nil)
				n++
			}
		}
	}
	in := w.input()
	in.Target = func(*identity.Pod) bool { return true }
	p, err := suggest.From(in)
	if err != nil {
		t.Fatal(err)
	}
	if p.Flows < n-5 {
		t.Errorf("made of %d of %d flows: %q %q", p.Flows, n, p.Denied, p.Left)
	}
	if len(p.Policies) != 5 {
		t.Error(fmt.Sprint(len(p.Policies), " policies"))
	}
}
