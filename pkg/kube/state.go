// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// State is what is known of a cluster at one moment. It must not be changed.
type State struct {
	World        *identity.World
	Policies     []*policy.Policy // sorted by kind, namespace and name
	NotEvaluated []Foreign
	Problems     []string // policies of the cluster that could not be read, and why
}

// Foreign is a policy of a kind that isn't judged.
type Foreign struct {
	Kind, Namespace, Name string
	Why                   string
}

// table collects what the informers tell and makes States of it.
type table struct {
	mu       sync.Mutex
	dirty    bool
	changed  chan struct{} // closed and replaced when a newer State can be had
	scope    []string
	pods     map[string]*identity.Pod
	spaces   map[string]*identity.Namespace
	nodes    map[string]*identity.Node
	services map[string]*service
	slices   map[string]map[string]*discoveryv1.EndpointSlice // by service key, then by name
	policies map[string]*policy.Policy
	problems map[string]string
	jobs     map[string]string // namespace/job -> cronjob
	hosts    map[string][]netip.Addr
	foreign  []Foreign

	noNodes bool // nodes can't be seen: they are pieced together from pods
	copied  copies
	last    *State
}

// copies says which maps of last are still equal to the table's.
type copies struct{ pods, spaces, nodes, services, policies bool }

type service struct {
	spec   *corev1.Service
	joined *identity.Service // nil: to be joined again
}

func newTable() *table {
	return &table{
		changed: make(chan struct{}), pods: map[string]*identity.Pod{}, spaces: map[string]*identity.Namespace{},
		nodes: map[string]*identity.Node{}, services: map[string]*service{}, slices: map[string]map[string]*discoveryv1.EndpointSlice{},
		policies: map[string]*policy.Policy{}, problems: map[string]string{}, jobs: map[string]string{}, hosts: map[string][]netip.Addr{},
		last: &State{World: &identity.World{}},
	}
}

// change runs f with the table locked and wakes whoever waits.
func (t *table) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	if !t.dirty {
		t.dirty = true
		close(t.changed)
	}
}

// wait is closed when there is a newer State than the last one taken.
func (t *table) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// state is the newest State. What didn't change is shared with the one before.
func (t *table) state() *State {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.dirty {
		return t.last
	}
	old := t.last.World
	w := &identity.World{Pods: old.Pods, Namespaces: old.Namespaces, Nodes: old.Nodes, Services: old.Services, Scope: t.scope}
	if !t.copied.pods || w.Pods == nil {
		w.Pods = maps.Clone(t.pods)
	}
	if !t.copied.spaces || w.Namespaces == nil {
		w.Namespaces = maps.Clone(t.spaces)
	}
	if t.noNodes {
		t.inventNodes()
	}
	if !t.copied.nodes || w.Nodes == nil {
		w.Nodes = maps.Clone(t.nodes)
	}
	if !t.copied.services || w.Services == nil {
		w.Services = make(map[string]*identity.Service, len(t.services))
		for key, s := range t.services {
			if s.joined == nil {
				s.joined = serviceOf(s.spec, slices.Collect(maps.Values(t.slices[key])))
			}
			w.Services[key] = s.joined
		}
	}
	w.ClusterDNS = clusterDNS(w.Services)
	s := &State{World: w, NotEvaluated: t.foreign, Policies: t.last.Policies}
	if !t.copied.policies {
		s.Policies = slices.SortedFunc(maps.Values(t.policies), func(a, b *policy.Policy) int {
			return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
		})
	}
	for _, key := range slices.Sorted(maps.Keys(t.problems)) {
		s.Problems = append(s.Problems, t.problems[key])
	}
	t.last, t.dirty, t.copied = s, false, copies{true, true, true, true, true}
	t.changed = make(chan struct{})
	return s
}

// inventNodes pieces nodes together from what pods say of them: name and
// address are certain, labels are not known.
func (t *table) inventNodes() {
	for _, p := range t.pods {
		if p.Node == "" || t.nodes[p.Node] != nil {
			continue
		}
		t.nodes[p.Node] = &identity.Node{Name: p.Node, IPs: t.hosts[p.Node], Ready: true}
		t.copied.nodes = false
	}
}

// clusterDNS finds the address that pods send their questions to. kube-dns is
// the name by convention, whatever serves it.
func clusterDNS(services map[string]*identity.Service) []netip.Addr {
	for _, key := range []string{"kube-system/kube-dns", "kube-system/coredns", "openshift-dns/dns-default"} {
		if s := services[key]; s != nil && len(s.IPs) > 0 {
			return s.IPs
		}
	}
	return nil
}
