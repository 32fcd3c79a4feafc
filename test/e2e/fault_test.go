// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// told is what a line says of a cause.
type told struct {
	Type     string `json:"type"`
	Culprit  string `json:"culprit"`
	Note     string `json:"note"`
	Benign   bool   `json:"benign"`
	Observed string `json:"observed"`
	Answer   *struct {
		Question string `json:"question"`
		Code     string `json:"code"`
	} `json:"answer"`
	Source, Destination struct {
		Namespace string `json:"namespace"`
		Pod       string `json:"pod"`
		Service   string `json:"service"`
		IP        string `json:"ip"`
		Port      int    `json:"port"`
	}
}

func (l line) told() (t told) {
	_ = json.Unmarshal([]byte(l.raw), &t) // what isn't JSON says nothing
	return t
}

// fault is something that goes wrong on the node of the database, or in it.
// Only connections of the intruder meet it.
type fault struct {
	name    string
	plant   func(t *testing.T, w *world)
	send    []string // what the intruder does then, again and again; none: its usual attempts
	culprit string   // of the drop
	says    []string // what its sentence holds
	to      func(w *world, l *told) bool
	other   func(l *told) bool // instead of a drop
	all     bool               // everybody meets it
}

// toDB fits drops between the intruder and the database.
func toDB(_ *world, l *told) bool { return l.Source.Pod == "intruder" && l.Destination.Pod == "db" }

func to(ip string) func(*world, *told) bool {
	return func(_ *world, l *told) bool { return l.Source.Pod == "intruder" && l.Destination.IP == ip }
}

func toPort(port int) func(*world, *told) bool {
	return func(_ *world, l *told) bool { return l.Source.Pod == "intruder" && l.Destination.Port == port }
}

// Sixteen faults: each is blamed on whoever did it, in words, and nobody else
// is blamed for anything meanwhile.
func TestFaults(t *testing.T) {
	onMachine(t)
	w := newWorld(t)
	node := env.nodes[0]
	faults := []fault{
		{
			name: "nftables engine", plant: func(t *testing.T, w *world) {
				ruleset(t, node, "e2e_engine", fmt.Sprintf(`chain pods { ip saddr %s ip daddr %s drop comment "e2e/default-deny"; };
				chain forward { type filter hook forward priority 0; jump pods; };`, v4(w, "intruder"), v4(w, "db")))
			},
			culprit: "netfilter rule", says: []string{`of chain pods in table inet e2e_engine ("e2e/default-deny") dropped it`, "nft -a list chain inet e2e_engine pods"}, to: toDB,
		},
		{
			name: "iptables engine", plant: func(t *testing.T, w *world) {
				chain := "KUBE-NWPLCY-E2E"
				onNode(t, node, "iptables", "-N", chain)
				onNode(t, node, "iptables", "-A", chain, "-s", v4(w, "intruder"), "-d", v4(w, "db"), "-m", "comment", "--comment", "default policy of e2e", "-j", "DROP")
				onNode(t, node, "iptables", "-I", "FORWARD", "-j", chain)
				t.Cleanup(func() {
					onNode(t, node, "iptables", "-D", "FORWARD", "-j", chain)
					onNode(t, node, "iptables", "-F", chain)
					onNode(t, node, "iptables", "-X", chain)
				})
			},
			culprit: "netfilter rule of kube-router", says: []string{"KUBE-NWPLCY-E2E", `("default policy of e2e")`, "kubectl ebpol explain"}, to: toDB,
		},
		{
			name: "eBPF program", plant: func(t *testing.T, w *world) { shoot(t, node, deviceOf(t, node, v4(w, "intruder")), v4(w, "db")) },
			culprit: "eBPF program on ", says: []string{"where packets come in", "there hang: cil_e2e", "Cilium"}, to: toDB,
		},
		{
			name: "reverse-path filter", plant: func(t *testing.T, w *world) {
				ip, right, wrong := v4(w, "intruder"), deviceOf(t, node, v4(w, "intruder")), deviceOf(t, node, v4(w, "db"))
				was := strings.TrimSpace(onNode(t, node, "sysctl", "-n", "net.ipv4.conf.all.rp_filter"))
				onNode(t, node, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
				onNode(t, node, "ip", "route", "replace", ip, "dev", wrong)
				t.Cleanup(func() {
					onNode(t, node, "ip", "route", "replace", ip, "dev", right)
					onNode(t, node, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter="+was)
				})
			},
			culprit: "reverse-path filter", says: []string{"rp_filter"}, to: toDB,
		},
		{
			name: "no socket", plant: func(*testing.T, *world) {}, send: []string{"timeout", "1", "/agnhost", "connect", "--timeout=300ms", "DB:9999"},
			culprit: "no socket", says: []string{"Nobody listens on that port"}, to: toPort(9999),
		},
		{
			name: "service without endpoints", plant: func(t *testing.T, w *world) {
				s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "empty"}, Spec: corev1.ServiceSpec{
					Selector: map[string]string{"app": "nobody"}, Ports: []corev1.ServicePort{{Port: 81, TargetPort: intstr.FromInt32(81)}},
				}}
				made, err := env.client.CoreV1().Services(w.ns).Create(t.Context(), s, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				w.ips["empty"] = made.Spec.ClusterIPs
			},
			send:    []string{"timeout", "1", "/agnhost", "connect", "--timeout=300ms", "EMPTY:81"},
			culprit: "service without ready endpoints", says: []string{"has no ready endpoint", "kubectl get endpointslices"}, to: toPort(81),
		},
		{
			name: "MTU", plant: func(t *testing.T, w *world) {
				dev := deviceOf(t, node, v4(w, "db"))
				onNode(t, node, "ip", "link", "set", dev, "mtu", "1280")
				t.Cleanup(func() { onNode(t, node, "ip", "link", "set", dev, "mtu", "1500") })
			},
			send:    []string{"timeout", "1", "wget", "-qO-", "http://DB:8080/echo?msg=" + strings.Repeat("x", 3000)},
			culprit: "MTU", says: []string{"larger than the MTU"}, to: toDB,
		},
		{
			name: "blackhole", plant: func(t *testing.T, _ *world) {
				onNode(t, node, "ip", "route", "add", "blackhole", "198.51.100.7")
				t.Cleanup(func() { onNode(t, node, "ip", "route", "del", "blackhole", "198.51.100.7") })
			},
			send:    []string{"timeout", "1", "/agnhost", "connect", "--timeout=300ms", "198.51.100.7:80"},
			culprit: "blackhole route", says: []string{"of type blackhole"}, to: to("198.51.100.7"),
		},
		{
			name: "neighbour", plant: func(t *testing.T, w *world) {
				dev := deviceOf(t, node, v4(w, "db"))
				onNode(t, node, "ip", "route", "add", "198.51.100.8", "dev", dev)
				t.Cleanup(func() { onNode(t, node, "ip", "route", "del", "198.51.100.8") })
			},
			send:    []string{"timeout", "5", "/agnhost", "connect", "--timeout=4s", "198.51.100.8:80"},
			culprit: "neighbour", says: []string{"doesn't answer ARP"}, to: to("198.51.100.8"),
		},
		{
			name: "slow reader", plant: func(t *testing.T, w *world) {
				var slow net.PacketConn
				inPod(t, node, v4(w, "db"), func() (err error) {
					slow, err = net.ListenPacket("udp4", ":7001")
					return err
				})
				t.Cleanup(func() { _ = slow.Close() })
				if err := slow.(*net.UDPConn).SetReadBuffer(4096); err != nil {
					t.Fatal(err)
				}
				inPod(t, node, v4(w, "intruder"), func() error {
					c, err := net.Dial("udp4", v4(w, "db")+":7001")
					if err != nil {
						return err
					}
					defer c.Close()
					for range 100 {
						if _, err := c.Write(make([]byte, 1000)); err != nil {
							return err
						}
					}
					return nil
				})
			},
			culprit: "socket buffer full", says: []string{"doesn't read fast enough"}, to: toPort(7001),
		},
		{
			name: "DNS blocked", plant: func(t *testing.T, w *world) {
				ruleset(t, node, "e2e_engine", fmt.Sprintf(`chain forward { type filter hook forward priority 0; ip saddr %s udp dport 53 drop comment "egress of e2e"; };`, v4(w, "intruder")))
			},
			send:    []string{"timeout", "2", "nslookup", "kubernetes.default.svc.cluster.local"},
			culprit: "netfilter rule", says: []string{`"egress of e2e"`, "It is a question to DNS", "allow egress to port 53"}, to: toPort(53),
		},
		{
			name: "kubelet's probe", plant: func(t *testing.T, w *world) {
				probed(t, w, "probed", node)
				ruleset(t, node, "e2e_engine", fmt.Sprintf(`chain output { type filter hook output priority 0; ip daddr %s tcp dport %d drop comment "deny-all of e2e"; };`, v4(w, "probed"), dbPort))
			},
			culprit: "netfilter rule", says: []string{`"deny-all of e2e"`, "from the pod's own node", "probe of the kubelet"},
			to: func(_ *world, l *told) bool { return l.Destination.Pod == "probed" },
		},
		{
			name: "application resets", plant: func(t *testing.T, w *world) {
				go func() {
					_, _ = w.exec("db", "timeout", "20", "sh", "-c", "while :; do nc -l -p 7002 -e true; done") // ends by itself
				}()
			},
			send:  []string{"sh", "-c", "(echo hello; sleep 1) | timeout 2 nc DB 7002"},
			other: func(l *told) bool { return l.Destination.Port == 7002 && l.Observed == "reset" },
		},
		{
			name: "full conntrack", plant: func(t *testing.T, _ *world) { fillConntrack(t, node) },
			culprit: "connection tracking, table full", says: []string{"nf_conntrack_max"}, to: toDB, all: true,
		},
		{
			name: "NXDOMAIN", plant: func(*testing.T, *world) {}, send: []string{"timeout", "2", "nslookup", "nobody.default.svc.cluster.local"},
			other: func(l *told) bool {
				return l.Type == "dns" && l.Answer != nil && l.Answer.Code == "NXDOMAIN" && strings.HasPrefix(l.Answer.Question, "nobody.default.svc.cluster.local")
			},
		},
	}
	r := plugin(t, "trace", "node/"+node, "-o", "json")
	r.await(time.Minute, "a flow", both(typed("flow"), between("intruder", "db", 4)))
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) { w.suffer(t, r, &f) })
	}
	r.interrupt()
	nothingLeft(t, w)

	// The sixteenth is this very tool.
	r = plugin(t, "enforce", "-f", w.onlyWeb(), "-n", w.ns, "--for=1m", "--yes", "-o", "json")
	l := r.await(30*time.Second, "an enforced drop", func(l line) bool { return l.Type == "drop" && l.Enforced })
	if x := l.told(); x.Culprit != "this session's lease" || x.Source.Pod != "intruder" || !strings.Contains(x.Note, "it is free again when the lease ends") {
		t.Errorf("drop %s", l)
	}
	r.interrupt()
	nothingLeft(t, w)
}

// suffer plants one fault, and looks at who is blamed.
func (w *world) suffer(t *testing.T, r *run, f *fault) {
	t.Helper()
	outer := r.t
	r.t = t // a fault that isn't found leaves the others to be tried
	defer func() { r.t = outer }()
	start := time.Now()
	f.plant(t, w)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f.send != nil && ctx.Err() == nil {
			_, _ = w.exec("intruder", w.fill(f.send)...) // that it goes wrong is the point
		}
	}()
	defer func() { stop(); <-done }()
	mine := func(l line) (told, bool) {
		x := l.told()
		if !l.at.After(start) {
			return x, false
		}
		if f.other != nil {
			return x, f.other(&x)
		}
		return x, l.Type == "drop" && !x.Benign && f.to(w, &x)
	}
	var last string
	l := r.await(40*time.Second, f.name, func(l line) bool {
		x, ok := mine(l)
		if !ok || f.other != nil {
			return ok
		}
		last = x.Culprit + ": " + x.Note
		return strings.HasPrefix(x.Culprit, f.culprit) && !slices.ContainsFunc(f.says, func(s string) bool { return !strings.Contains(x.Note+" "+x.Culprit, s) })
	})
	t.Logf("after %s: %s", l.at.Sub(start).Round(time.Millisecond), last)
	for _, l := range r.all(typed("drop")) {
		x := l.told()
		_, ok := mine(l)
		if l.at.After(start) && !ok && !x.Benign && !(f.all && strings.HasPrefix(x.Culprit, f.culprit)) && (x.Source.Namespace == w.ns && x.Source.Pod != "intruder" && x.Destination.Pod != "intruder" && x.Destination.Pod != "probed") {
			t.Errorf("another flow is blamed: %s", l)
		}
	}
}

// fill puts addresses into a command.
func (w *world) fill(command []string) []string {
	out := slices.Clone(command)
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], "DB", v4(w, "db"))
		if strings.Contains(out[i], "EMPTY") {
			out[i] = strings.ReplaceAll(out[i], "EMPTY", v4(w, "empty"))
		}
	}
	return out
}

// v4 is the IPv4 address of a pod or service.
func v4(w *world, name string) string {
	for _, ip := range w.ips[name] {
		if net.ParseIP(ip).To4() != nil {
			return ip
		}
	}
	w.t.Fatalf("%s has no IPv4 address: %v", name, w.ips[name])
	return ""
}

// ruleset gives the node an engine of nftables until the test ends.
func ruleset(t *testing.T, node, table, chains string) {
	t.Helper()
	onNode(t, node, "nft", "table inet "+table+" { "+chains+" }")
	t.Cleanup(func() { onNode(t, node, "nft", "delete table inet "+table) })
}

// deviceOf is the node's end of a pod's veth.
func deviceOf(t *testing.T, node, ip string) string {
	t.Helper()
	words := strings.Fields(onNode(t, node, "ip", "-o", "route", "get", ip))
	i := slices.Index(words, "dev")
	if i < 0 || i+1 >= len(words) {
		t.Fatalf("no device in %q", words)
	}
	return words[i+1]
}
