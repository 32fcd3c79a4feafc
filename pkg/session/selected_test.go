// SPDX-License-Identifier: Apache-2.0

package session

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
)

// What is counted along with changes is what a count of the whole gives.
func TestCountsFollowTheWorld(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	g := gen.Shop()
	last := identity.World{Pods: maps.Clone(g.Pods), Namespaces: maps.Clone(g.Namespaces), Nodes: g.Nodes, Services: g.Services}
	objects, err := policy.Parse([]byte(countedPolicies), "policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys, spaces := slices.Sorted(maps.Keys(g.Pods)), slices.Sorted(maps.Keys(g.Namespaces))
	known := map[*policy.Policy]uint32{}
	var c counter
	changed := 0
	for range 300 {
		w := last
		switch key := keys[r.IntN(len(keys))]; r.IntN(4) {
		case 0:
			w.Pods = maps.Clone(w.Pods)
			delete(w.Pods, key)
		case 1, 2:
			w.Pods = maps.Clone(w.Pods)
			p := *g.Pods[key]
			p.Labels = map[string]string{"app": []string{"web", "db", "other"}[r.IntN(3)]}
			p.Done = r.IntN(5) == 0
			p.HostNetwork = r.IntN(5) == 0
			w.Pods[key] = &p
		default:
			w.Namespaces = maps.Clone(w.Namespaces)
			ns := *w.Namespaces[spaces[r.IntN(len(spaces))]]
			ns.Labels = map[string]string{"team": []string{"blue", "red"}[r.IntN(2)]}
			w.Namespaces[ns.Name] = &ns
		}
		last = w
		c.follow(&w)
		var fresh counter
		fresh.follow(&w)
		for _, p := range objects.Policies {
			want := fresh.count(p)
			got, counted := known[p], false
			if _, before := known[p]; !before || !c.stays(p) {
				got, counted = c.count(p), true
			}
			if got != want {
				t.Fatalf("%s: %d pods, want %d (counted again: %t)", p.Key(), got, want, counted)
			}
			if old, before := known[p]; before && old != got {
				changed++
			}
			known[p] = got
		}
	}
	if changed < 50 {
		t.Errorf("only %d counts changed: the test doesn't see enough", changed)
	}
}

const countedPolicies = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: shop}
spec: {podSelector: {}}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: blue}
spec:
  tier: Admin
  priority: 1
  subject: {pods: {namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: web}}}}
  ingress: [{action: Deny, from: [{namespaces: {}}]}]
`
