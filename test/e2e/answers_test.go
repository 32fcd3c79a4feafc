// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// town is twenty pods in four namespaces on two nodes, under ten policies.
type town struct {
	t      *testing.T
	prefix string
	worlds []*world // one for each namespace
	pods   []inhabitant
}

type inhabitant struct {
	w    *world
	name string
}

func (p inhabitant) ip() string { return p.w.ips[p.name][0] }

// townPorts are asked for at each pod: one that is served, one that nobody
// listens on, and one of another protocol.
var townPorts = []struct {
	protocol string
	number   int
}{{"TCP", dbPort}, {"TCP", 9090}, {"UDP", 8081}}

const townPolicies = `
- metadata: {name: deny-in, namespace: A}
  spec: {podSelector: {}, policyTypes: [Ingress]}
- metadata: {name: web-in, namespace: A}
  spec:
    podSelector: {matchLabels: {role: web}}
    ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: 8080}]}]
- metadata: {name: named, namespace: A}
  spec:
    podSelector: {matchLabels: {role: db}}
    ingress: [{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: role, operator: NotIn, values: [cache]}]}}], ports: [{port: http}]}]
- metadata: {name: range, namespace: B}
  spec:
    podSelector: {matchExpressions: [{key: role, operator: In, values: [web, db]}]}
    ingress: [{ports: [{port: 9000, endPort: 9100}, {protocol: UDP, port: 8081}]}]
- metadata: {name: out, namespace: B}
  spec:
    podSelector: {matchLabels: {role: db}}
    policyTypes: [Egress]
    egress: [{to: [{namespaceSelector: {matchLabels: {team: a}}}], ports: [{port: 8080}]}, {to: [{podSelector: {matchLabels: {role: web}}}]}]
- metadata: {name: silent, namespace: B}
  spec: {podSelector: {matchLabels: {role: cache}}, policyTypes: [Egress]}
- metadata: {name: block, namespace: C}
  spec:
    podSelector: {matchLabels: {role: web}}
    ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.0.0/25]}}], ports: [{port: 8080}]}]
- metadata: {name: open, namespace: C}
  spec: {podSelector: {matchLabels: {role: db}}, ingress: [{}]}
- metadata: {name: both, namespace: C}
  spec:
    podSelector: {matchLabels: {role: cache}}
    policyTypes: [Ingress, Egress]
    ingress: [{from: [{podSelector: {matchExpressions: [{key: odd, operator: Exists}]}}]}]
    egress: [{to: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [a]}]}}]}]
- metadata: {name: outside, namespace: C}
  spec: {podSelector: {matchLabels: {odd: "yes"}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}
`

func newTown(t *testing.T) *town {
	t.Helper()
	x := &town{t: t, prefix: "e2e-" + random()}
	roles := []string{"web", "db", "cache", "job", "web"}
	for i, team := range []string{"a", "b", "c", "d"} {
		w := &world{t: t, ns: x.prefix + "-" + team, ips: map[string][]string{}, others: others(t)}
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns, Labels: map[string]string{"team": team}}}
		if _, err := env.client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := env.client.CoreV1().Namespaces().Delete(context.Background(), w.ns, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		x.worlds = append(x.worlds, w)
		for j, role := range roles {
			p := inhabitant{w, fmt.Sprintf("%s-%d", role, j)}
			labels := map[string]string{"role": role}
			if (i+j)%2 == 1 {
				labels["odd"] = "yes"
			}
			x.pods = append(x.pods, p)
			x.create(p, env.nodes[(i+j)%2], labels)
		}
	}
	for _, p := range x.pods {
		p.w.ready(p.name)
	}
	return x
}

func (x *town) create(p inhabitant, node string, labels map[string]string) {
	x.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: new(int64), EnableServiceLinks: new(bool),
			Containers: []corev1.Container{{
				Name: "main", Image: env.agnhost, Command: []string{"/agnhost", "netexec", fmt.Sprintf("--http-port=%d", dbPort), "--udp-port=8081"},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: dbPort}},
			}},
		},
	}
	if _, err := env.client.CoreV1().Pods(p.w.ns).Create(x.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		x.t.Fatal(err)
	}
}

// policies gives the cluster ten NetworkPolicies.
func (x *town) policies() {
	x.t.Helper()
	text := townPolicies
	for _, team := range []string{"a", "b", "c"} {
		text = strings.ReplaceAll(text, "namespace: "+strings.ToUpper(team)+"}", "namespace: "+x.prefix+"-"+team+"}")
	}
	var list []networkingv1.NetworkPolicy
	if err := yaml.UnmarshalStrict([]byte(text), &list); err != nil || len(list) != 10 {
		x.t.Fatalf("%d policies: %v", len(list), err)
	}
	put(x.t, list)
}

// put creates policies, or puts them in the place of those of the same name.
func put(t *testing.T, list []networkingv1.NetworkPolicy) {
	t.Helper()
	for i := range list {
		api := env.client.NetworkingV1().NetworkPolicies(list[i].Namespace)
		_, err := api.Create(t.Context(), &list[i], metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			_, err = api.Update(t.Context(), &list[i], metav1.UpdateOptions{})
		}
		if err != nil {
			t.Fatalf("policy %s/%s: %v", list[i].Namespace, list[i].Name, err)
		}
	}
}

// suggested reads what suggest prints, as strictly as the API server does.
func suggested(t *testing.T, text string) []networkingv1.NetworkPolicy {
	t.Helper()
	var list struct{ Items []networkingv1.NetworkPolicy }
	if strings.HasPrefix(text, "{") {
		if err := yaml.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var p networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte(doc), &p); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		list.Items = append(list.Items, p)
	}
	return list.Items
}

// question is one direction of one connection.
type question struct {
	direction, protocol, from, to string
	port                          int
}

// explain asks for all pairs and ports at once, before any traffic.
func (x *town) explain() map[question]string {
	x.t.Helper()
	var in bytes.Buffer
	type query struct {
		ID       string `json:"id"`
		From     string `json:"from"`
		To       string `json:"to"`
		Protocol string `json:"protocol"`
		Port     int    `json:"port"`
	}
	asked := map[string]query{}
	e := json.NewEncoder(&in)
	for _, from := range x.pods {
		for _, to := range x.pods {
			if from == to {
				continue
			}
			for _, p := range townPorts {
				q := query{fmt.Sprint(len(asked)), from.ip(), to.ip(), p.protocol, p.number}
				asked[q.ID] = q
				if err := e.Encode(q); err != nil {
					x.t.Fatal(err)
				}
			}
		}
	}
	cmd := exec.Command(env.plugin, "explain", "--queries", "-", "--engine", "all")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.kubeconfig)
	cmd.Stdin = &in
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		x.t.Fatalf("explain: %v\n%s", err, &errs)
	}
	answers := map[question]string{}
	for text := range bytes.Lines(out) {
		var a struct {
			ID              string
			Ingress, Egress struct{ Verdict string }
			Error           string
		}
		if err := json.Unmarshal(text, &a); err != nil || a.Error != "" {
			x.t.Fatalf("%v %s", err, text)
		}
		q := asked[a.ID]
		answers[question{"ingress", q.Protocol, q.From, q.To, q.Port}] = a.Ingress.Verdict
		answers[question{"egress", q.Protocol, q.From, q.To, q.Port}] = a.Egress.Verdict
	}
	if len(answers) != 2*len(asked) {
		x.t.Fatalf("%d answers to %d questions", len(answers), len(asked))
	}
	return answers
}

// talk has every pod ask those that it has not been seen to ask.
func (x *town) talk(missing map[question]string) {
	var wait sync.WaitGroup
	room := make(chan struct{}, 4)
	for _, from := range x.pods {
		var asks []string
		done := map[question]bool{}
		for q := range missing {
			q.direction = ""
			if q.from != from.ip() || done[q] {
				continue
			}
			done[q] = true
			if q.protocol == "UDP" {
				asks = append(asks, fmt.Sprintf("/agnhost connect --protocol=udp --timeout=500ms %s:%d >/dev/null 2>&1", q.to, q.port))
			} else {
				asks = append(asks, fmt.Sprintf("nc -w 1 %s %d </dev/null >/dev/null 2>&1", q.to, q.port))
			}
		}
		if len(asks) == 0 {
			continue
		}
		wait.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			// In the background, all but a few at once: an ask lasts up to a second.
			script := ""
			for i, a := range asks {
				script += "(" + a + ") & "
				if i%19 == 18 {
					script += "wait; "
				}
			}
			if out, err := from.w.exec(from.name, "sh", "-c", script+"wait"); err != nil {
				x.t.Logf("%s: %v %s", from.name, err, out)
			}
		})
	}
	wait.Wait()
}

// explain predicts, from the API alone and before any traffic, what trace then
// shows: for every ordered pair of twenty pods under ten policies, at both ends.
func TestExplainPredictsTrace(t *testing.T) {
	x := newTown(t)
	x.policies()
	want := x.explain()
	count := map[string]int{}
	for _, v := range want {
		count[v]++
	}
	t.Logf("%d answers: %v", len(want), count)
	if count["allow"] < 100 || count["deny"] < 100 {
		t.Errorf("a world in which too little differs: %v", count)
	}
	var runs []*run
	for _, n := range env.nodes {
		runs = append(runs, plugin(t, "trace", "node/"+n, "-o", "json"))
	}
	missing := map[question]string{}
	for q, v := range want {
		missing[q] = v
	}
	wrong := map[question]string{}
	seen := make([]int, len(runs))
	look := func() {
		for i, r := range runs {
			lines := r.all(func(line) bool { return true })
			for _, l := range lines[seen[i]:] {
				q := question{l.Direction, l.Protocol, l.Source.IP, l.Dest.IP, l.Dest.Port}
				v, asked := want[q]
				// Of one that was open when the probe came nobody knows who opened it.
				if l.Type != "flow" || !asked || l.Guess {
					continue
				}
				delete(missing, q)
				if l.Verdict != v {
					wrong[q] = l.raw
				}
			}
			seen[i] = len(lines)
		}
	}
	for round := 0; len(missing) > 0 && round < 6; round++ {
		x.talk(missing)
		for patience := time.Now().Add(10 * time.Second); len(missing) > 0 && time.Now().Before(patience); {
			runs[0].mu.Lock()
			more := runs[0].more
			runs[0].mu.Unlock()
			look()
			select {
			case <-more:
			case <-time.After(time.Second):
			}
		}
		t.Logf("round %d: %d of %d still unseen", round, len(missing), len(want))
	}
	for q := range missing {
		t.Errorf("never seen: %+v", q)
		if len(missing) > 20 {
			t.Fatalf("and %d more", len(missing))
		}
	}
	for q, raw := range wrong {
		t.Errorf("%+v: explain says %s, trace %s", q, want[q], raw)
	}
	for _, r := range runs {
		r.interrupt()
	}
	nothingLeft(t, x.worlds[0])
}

// What suggest writes from live traffic can be applied, and cuts nothing of it.
func TestSuggest(t *testing.T) {
	w := newWorld(t)
	suggest := func(args ...string) string {
		cmd := exec.Command(env.plugin, append([]string{"suggest", "-n", w.ns, "--for", "6s", "--probe-image=" + env.image}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+env.kubeconfig)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("suggest: %v\n%s", err, &errs)
		}
		return string(out)
	}
	text := suggest()
	for _, want := range []string{"name: ebpol-db", "name: ebpol-web", "name: ebpol-intruder", "app: web", fmt.Sprintf("port: %d # ", dbPort), "Not seen"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	for _, ip := range slices.Concat(w.ips["db"], w.ips["web"], w.ips["intruder"]) {
		if strings.Contains(text, ip) {
			t.Errorf("names the pod's address %s:\n%s", ip, text)
		}
	}
	file := w.file(text)
	out := once(t, "dry-run", "-n", w.ns, "-f", file, "--for", "5s", "--exit-code", "--report", "text", "--probe-image="+env.image)
	if !strings.Contains(out, " 0 would be denied") {
		t.Errorf("dry-run:\n%s", out)
	}
	put(t, suggested(t, text))
	put(t, suggested(t, suggest("-o", "json")))
	// With the policies there, the same flows are still allowed.
	r := plugin(t, "trace", "pod", "db", "-n", w.ns, "-o", "json")
	l := r.await(30*time.Second, "a flow under the policies", both(typed("flow"), between("web", "db", 4)))
	if l.Verdict != "allow" || l.Rule == nil || l.Rule.Name != "ebpol-db" {
		t.Errorf("flow %s", l)
	}
	r.interrupt()
	nothingLeft(t, w)
}

// lint, matrix and weigh answer about a real cluster.
func TestStillAnswers(t *testing.T) {
	x := newTown(t)
	x.policies()
	ns := x.worlds[0].ns
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"lint", "-A", "--fail-on", "never"}, "policies: "},
		{[]string{"lint", "-n", x.worlds[1].ns, "--fail-on", "never"}, "k8s-app: kube-dns"}, // the fix names this cluster's DNS
		{[]string{"lint", "-A", "--fail-on", "never", "-o", "sarif"}, `"version": "2.1.0"`},
		{[]string{"matrix", "-n", ns}, ns + "/pod/web-0"},
		{[]string{"matrix", "-A", "-o", "json"}, `"current":"deny"`},
		{[]string{"matrix", "-n", ns, "-o", "dot"}, "digraph"},
		{[]string{"matrix", "-n", ns, "-o", "svg"}, "<svg "},
		{[]string{"weigh", "-A"}, ns + "/web-in"},
		{[]string{"weigh", "-n", ns, "-o", "json"}, `"type":"sum"`},
	} {
		if out := once(t, c.args...); !strings.Contains(out, c.want) {
			t.Errorf("%v lacks %q:\n%s", c.args, c.want, tail(out, 3000))
		}
	}
}
