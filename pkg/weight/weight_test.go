// SPDX-License-Identifier: Apache-2.0

package weight

import (
	"math"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// The worked examples that the method was published with.
func TestPublishedExamples(t *testing.T) {
	w := New(&identity.World{}, Illustrative())
	for _, c := range []struct {
		name   string
		shape  ruleShape
		copies int
		weight float64
	}{
		{"127 pods, 2 selectors of 3578 peers", ruleShape{Profile{LocalPods: 127, PodSelectors: 2}, 3578}, 936, 0.1872},
		{"127 pods, 3 peers", ruleShape{Profile{LocalPods: 127, PodSelectors: 1}, 3}, 127, 0.0015875},
		{"12 pods, 2 selectors of 3578 peers", ruleShape{Profile{LocalPods: 12, PodSelectors: 2}, 3578}, 864, 0.0288},
		{"5 ports", ruleShape{Profile{LocalPods: 127, PodSelectors: 1, SinglePorts: 5}, 127}, 1270, 0.0423333},
		{"21 CIDRs, 1 port", ruleShape{Profile{LocalPods: 127, CIDRs: 21, SinglePorts: 1}, 0}, 273, 0.00546},
		{"4 ports, 3 CIDRs", ruleShape{Profile{LocalPods: 154, CIDRs: 3, SinglePorts: 4}, 0}, 192, 0.00384},
	} {
		covers := w.cover(c.shape)
		if len(covers) != 1 || covers[0].Copies != c.copies || math.Abs(covers[0].Weight-c.weight) > 1e-6 {
			t.Errorf("%s: got %+v, want %d copies of weight %g", c.name, covers, c.copies, c.weight)
		}
	}
}

func TestUnknownProfile(t *testing.T) {
	w := New(&identity.World{}, []Limit{{Profile{1, 0, 0, 0, 0, 0, 1}, 10}})
	if c := w.cover(ruleShape{Profile{LocalPods: 1, CIDRs: 1, PortRanges: 1}, 0}); c != nil {
		t.Errorf("a range is covered by %+v, which has none", c)
	}
}

func TestProfileOfPolicy(t *testing.T) {
	o, err := policy.Parse([]byte(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec:
  podSelector: {}
  ingress:
  - from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 80}]
`), "p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	world := &identity.World{Pods: map[string]*identity.Pod{}, Namespaces: map[string]*identity.Namespace{}}
	add := func(namespace, name, app string) {
		p := &identity.Pod{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}}
		world.Pods[p.Key()] = p
	}
	for _, name := range []string{"1", "2", "3"} {
		add("a", name, "db")
		add("b", name, "web")
	}
	add("c", "1", "web")
	w := New(world, Illustrative())
	e := w.Of(o.Policies[0])
	if e.Profile.String() != "3-1-0-1-2-3-0" {
		t.Errorf("profile %s", e.Profile)
	}
	// 3 pods, 4 peers: 3 × 2 copies of 1-1-0-1-1-3-0 weigh less than 3 of 1-1-0-1-10-10-0.
	if math.Abs(e.Weight-6.0/80000) > 1e-9 {
		t.Errorf("weight %g by %+v", e.Weight, e.Covers)
	}
	if s := w.Sum(o.Policies); s.Weight != e.Weight || len(s.Namespaces) != 1 || s.Namespaces[0].Namespace != "a" {
		t.Errorf("sum %+v", s)
	}
}

func TestReadLimitsRefuses(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "1,2,3", "1,0,0,0,0,0,1,x", "1,0,0,0,0,0,1,0", "0,0,0,0,0,0,1,5", "1,1,0,0,0,0,0,5", "1,0,0,0,0,0,1,-5"} {
		if _, err := ReadLimits(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
