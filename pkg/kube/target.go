// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// Target is what a command is about: pods, named in one of kubectl's ways.
type Target struct {
	Kind      string // pod, deploy, sts, ds, job, cronjob, rs, rc, svc, node; empty: all pods of Namespace
	Namespace string // empty: every namespace, valid for node and for no kind
	Name      string
	Selector  labels.Selector // nil: all
	Node      string          // pods on that node only; empty: all nodes
}

var targetKinds = map[string]string{
	"po": "pod", "pod": "pod", "pods": "pod",
	"deploy": "deploy", "deployment": "deploy", "deployments": "deploy",
	"sts": "sts", "statefulset": "sts", "statefulsets": "sts",
	"ds": "ds", "daemonset": "ds", "daemonsets": "ds",
	"rs": "rs", "replicaset": "rs", "replicasets": "rs",
	"rc": "rc", "replicationcontroller": "rc", "replicationcontrollers": "rc",
	"job": "job", "jobs": "job",
	"cj": "cronjob", "cronjob": "cronjob", "cronjobs": "cronjob",
	"svc": "svc", "service": "svc", "services": "svc",
	"no": "node", "node": "node", "nodes": "node",
	"rollout": "rollout",
}

// targetGroups are the API groups of kinds that aren't of the core.
var targetGroups = map[string]string{"deploy": "apps", "sts": "apps", "ds": "apps", "rs": "apps", "job": "batch", "cronjob": "batch"}

var version = regexp.MustCompile(`^v[0-9][a-z0-9]*(\.|$)`)

// targetKind reads a kind in one of kubectl's spellings: "deploy",
// "deployments.apps", "Deployment.v1.apps".
func targetKind(word string) (kind string, ok bool) {
	word, group, qualified := strings.Cut(strings.ToLower(word), ".")
	kind, ok = targetKinds[word]
	if ok && qualified {
		ok = version.ReplaceAllString(group, "") == targetGroups[kind]
	}
	return kind, ok
}

// ParseTarget reads the words after a command: "pod web-1", "pod/web-1",
// "deploy/web", or "web-1", which is a pod.
func ParseTarget(args []string) (kind, name string, err error) {
	words := args
	if len(args) == 1 {
		if k, n, ok := strings.Cut(args[0], "/"); ok {
			words = []string{k, n}
		} else {
			words = []string{"pod", args[0]}
		}
	}
	if len(words) != 2 || words[1] == "" || strings.Contains(words[1], "/") {
		return "", "", fmt.Errorf("%q names no workload: use pod NAME, deploy/NAME, sts/NAME, ds/NAME, job/NAME, svc/NAME or node/NAME", strings.Join(args, " "))
	}
	kind, ok := targetKind(words[0])
	if !ok {
		return "", "", fmt.Errorf("kind %q can't be traced: use pod, deploy, sts, ds, job, cronjob, svc or node", words[0])
	}
	return kind, words[1], nil
}

func (t *Target) String() string {
	switch {
	case t.Kind == "node":
		return "node/" + t.Name
	case t.Kind != "":
		return t.Namespace + "/" + t.Kind + "/" + t.Name
	case t.Namespace != "":
		return "namespace " + t.Namespace
	}
	return "all namespaces"
}

// Match says which pods are meant, now and later: a pod that a rollout makes
// tomorrow is meant as well. Services are looked up in w each time.
func (t *Target) Match(w *Watcher) func(*identity.Pod) bool {
	one := t.one(w)
	return func(p *identity.Pod) bool {
		return (t.Namespace == "" || p.Namespace == t.Namespace || t.Kind == "node") &&
			(t.Node == "" || p.Node == t.Node) &&
			(t.Selector == nil || t.Selector.Matches(labels.Set(p.Labels))) && one(p)
	}
}

func (t *Target) one(w *Watcher) func(*identity.Pod) bool {
	switch t.Kind {
	case "":
		return func(*identity.Pod) bool { return true }
	case "pod":
		return func(p *identity.Pod) bool { return p.Name == t.Name }
	case "node":
		return func(p *identity.Pod) bool { return p.Node == t.Name }
	case "svc":
		return func(p *identity.Pod) bool { return w.t.serves(t.Namespace+"/"+t.Name, p) }
	}
	return t.owns
}

// owns says whether a pod is of the workload: of its topmost owner, or of the
// Job or ReplicaSet below that, whose controllers write them into labels.
func (t *Target) owns(p *identity.Pod) bool {
	top, topName, _ := strings.Cut(p.Workload, "/")
	switch {
	case top == t.Kind && topName == t.Name:
		return true
	case t.Kind == "job" && top == "cronjob":
		return p.Labels["batch.kubernetes.io/job-name"] == t.Name || p.Labels["job-name"] == t.Name
	case t.Kind == "rs" && top == "deploy":
		return t.Name == topName+"-"+p.Labels["pod-template-hash"]
	case t.Kind == "rs" && top == "rollout":
		return t.Name == topName+"-"+p.Labels["rollouts-pod-template-hash"]
	}
	return false
}

// serves says whether a pod belongs to a service: by its selector, or, if it
// has none, by its endpoints.
func (t *table) serves(key string, p *identity.Pod) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.services[key]
	if s == nil {
		return false
	}
	if len(s.spec.Spec.Selector) > 0 {
		return labels.SelectorFromSet(s.spec.Spec.Selector).Matches(labels.Set(p.Labels))
	}
	for _, slice := range t.slices[key] {
		for i := range slice.Endpoints {
			for _, ip := range slice.Endpoints[i].Addresses {
				if a, ok := address(ip); ok && slices.Contains(p.IPs, a) {
					return true
				}
			}
		}
	}
	return false
}

// Check says in one sentence why there is nothing to watch, or nil. It finds
// the nearest names for what doesn't exist.
func (t *Target) Check(w *Watcher) error {
	world := w.State().World
	if err := t.checkNames(w, world); err != nil {
		return err
	}
	pods := world.SelectPods(t.Match(w))
	if t.Kind == "pod" && len(pods) > 0 {
		return checkPod(pods[0])
	}
	if len(pods) == 0 {
		return fmt.Errorf("%s has no pods%s: nothing to watch%s", t, t.narrowed(), t.whyNone(w))
	}
	alive := func(p *identity.Pod) bool { return checkPod(p) == nil }
	if (t.Kind != "" || t.Selector != nil) && t.Kind != "node" && !slices.ContainsFunc(pods, alive) {
		return fmt.Errorf("%s: none of its %d pods%s can be watched: %w", t, len(pods), t.narrowed(), checkPod(pods[0]))
	}
	return nil
}

// whyNone is what a service lacks that has no pods, as the end of a sentence.
func (t *Target) whyNone(w *Watcher) string {
	if t.Kind != "svc" {
		return ""
	}
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	s := w.t.services[t.Namespace+"/"+t.Name]
	switch {
	case s == nil:
		return ""
	case s.spec.Spec.Type == corev1.ServiceTypeExternalName:
		return fmt.Sprintf("; it only stands for the name %q: trace who asks for it", s.spec.Spec.ExternalName)
	case len(s.spec.Spec.Selector) == 0:
		return fmt.Sprintf("; it has no selector, and no endpoint of it is a pod's address: see kubectl get endpointslices -n %s -l kubernetes.io/service-name=%s", t.Namespace, t.Name)
	}
	return fmt.Sprintf("; its selector is %q", labels.SelectorFromSet(s.spec.Spec.Selector))
}

func (t *Target) narrowed() string {
	var by []string
	if t.Selector != nil && !t.Selector.Empty() {
		by = append(by, fmt.Sprintf("with labels %q", t.Selector))
	}
	if t.Node != "" {
		by = append(by, fmt.Sprintf("on node %q", t.Node))
	}
	if len(by) == 0 {
		return ""
	}
	return " " + strings.Join(by, " ")
}

func (t *Target) checkNames(w *Watcher, world *identity.World) error {
	if t.Namespace != "" && t.Kind != "node" && world.Namespaces[t.Namespace] == nil {
		return missing("namespace", t.Namespace, "", slices.Collect(maps.Keys(world.Namespaces)), "")
	}
	node := t.Node
	if t.Kind == "node" {
		node = t.Name
	}
	if node != "" && world.Nodes[node] == nil {
		return missing("node", node, "", slices.Collect(maps.Keys(world.Nodes)), "")
	}
	in := fmt.Sprintf(" in namespace %q", t.Namespace)
	var names []string
	switch t.Kind {
	case "", "node":
		return nil
	case "svc":
		if world.Services[t.Namespace+"/"+t.Name] != nil {
			return nil
		}
		for _, s := range world.Services {
			if s.Namespace == t.Namespace {
				names = append(names, s.Name)
			}
		}
		return missing("service", t.Name, in, names, "")
	case "pod":
		if world.Pods[t.Namespace+"/"+t.Name] != nil {
			return nil
		}
		for _, p := range world.Pods {
			if p.Namespace == t.Namespace {
				names = append(names, p.Name)
			}
		}
		return missing("pod", t.Name, in, names, t.elsewhere(world, func(p *identity.Pod) bool { return p.Name == t.Name }))
	}
	for _, p := range world.Pods {
		if p.Namespace != t.Namespace {
			continue
		}
		if t.owns(p) {
			return nil
		}
		if kind, name, ok := strings.Cut(p.Workload, "/"); ok && kind == t.Kind {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return missing("pod of "+t.Kind, t.Name, in, slices.Compact(names),
		t.elsewhere(world, t.owns))
}

// elsewhere is the first namespace that has what the target's lacks, or "".
func (t *Target) elsewhere(world *identity.World, is func(*identity.Pod) bool) string {
	found := ""
	for _, p := range world.Pods {
		if is(p) && (found == "" || p.Namespace < found) {
			found = p.Namespace
		}
	}
	return found
}

// checkPod says why a pod can't be watched.
func checkPod(p *identity.Pod) error {
	switch {
	case p.Done:
		return fmt.Errorf("pod %q in namespace %q has completed: it has no address and no traffic any more", p.Name, p.Namespace)
	case p.Node == "":
		return fmt.Errorf("pod %q in namespace %q is not scheduled to a node yet; see kubectl describe pod %s -n %s", p.Name, p.Namespace, p.Name, p.Namespace)
	case len(p.IPs) == 0:
		return fmt.Errorf("pod %q in namespace %q has no IP yet; see kubectl describe pod %s -n %s", p.Name, p.Namespace, p.Name, p.Namespace)
	}
	return nil
}

// Unjudged says in one sentence what is different about those of the pods that
// are on the host network; empty if none is, or nobody asked for them.
func (t *Target) Unjudged(w *Watcher) string {
	if t.Kind == "" || t.Kind == "node" {
		return ""
	}
	var names []string
	for _, p := range w.State().World.SelectPods(t.Match(w)) {
		if p.HostNetwork && !p.Done {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf("on the host network, where network policies don't reach: the flows of %s have no verdict", strings.Join(names, ", "))
}
