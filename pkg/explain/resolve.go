// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/nearest"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Resolver finds what a name stands for.
type Resolver struct {
	view *policy.View
	// Namespace is that of names without one.
	Namespace string
}

// NewResolver looks names up in the view's world.
func NewResolver(v *policy.View) *Resolver { return &Resolver{view: v, Namespace: "default"} }

// Place is one end of a question: addresses, and who has them if known.
type Place struct {
	IPs     []netip.Addr
	Pod     *identity.Pod     // nil: none
	Service *identity.Service // nil: none
	Text    string            // as asked

	Pods  []*identity.Pod // valid iff it names many: those that have an address
	Block netip.Prefix    // valid iff it is a block of more than one address
}

// many says whether the place stands for more than one.
func (p *Place) many() bool { return p.Block.IsValid() || len(p.Pods) > 1 }

var workloadKinds = map[string]string{
	"deploy": "deploy", "deployment": "deploy", "sts": "sts", "statefulset": "sts", "ds": "ds", "daemonset": "ds", "rs": "rs", "replicaset": "rs",
	"job": "job", "cronjob": "cronjob", "rc": "rc", "rollout": "rollout",
}

// Resolve reads "10.0.0.1", "10.0.0.0/24", "ns/pod", "pod", "pod/x", "deploy/x"
// and other workloads, "svc/x", "node/x", each of these with "@ns" or
// "ns/kind/x", and "labels:app=a@ns".
func (r *Resolver) Resolve(text string) (Place, error) {
	w := r.view.World
	if pod := w.Pods[text]; pod != nil && !kinds[pod.Namespace] { // first: by far the most asked
		return r.pod(pod, text)
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		return Place{IPs: []netip.Addr{ip.Unmap().WithZone("")}, Text: text}, nil
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		if prefix.Addr().Is4In6() {
			return Place{}, fmt.Errorf("%q is an IPv4 block in the form of an IPv6 block: write it as IPv4", text)
		}
		out := Place{IPs: []netip.Addr{prefix.Masked().Addr()}, Text: text}
		if !prefix.IsSingleIP() {
			out.Block = prefix.Masked()
		}
		return out, nil
	}
	if strings.Count(text, ".") > 1 && strings.Trim(text, "0123456789./") == "" {
		return Place{}, fmt.Errorf("%q is no IP address, nor a block of them: use four numbers up to 255, and a length up to 32", text)
	}
	name, namespace, _ := strings.Cut(text, "@")
	if namespace == "" {
		namespace = r.Namespace
	}
	if selector, ok := strings.CutPrefix(name, "labels:"); ok {
		return r.labels(selector, namespace, text)
	}
	parts := strings.Split(name, "/")
	if len(parts) == 3 {
		namespace, parts = parts[0], parts[1:]
	}
	switch {
	case len(parts) == 1:
		return r.podNamed(namespace, parts[0], text)
	case len(parts) != 2:
		return Place{}, fmt.Errorf("%q is no address and names nothing: use ns/pod, deploy/name, svc/name, labels:key=value@ns or an IP", text)
	}
	kind, object := strings.ToLower(parts[0]), parts[1]
	if !kinds[kind] {
		return r.podNamed(parts[0], object, text)
	}
	place, err := r.ofKind(kind, namespace, object, text)
	if pod := w.Pods[text]; pod != nil { // of a namespace that is called like a kind
		if err == nil && place.Pod != pod {
			return Place{}, fmt.Errorf("%q may be pod %q of namespace %q or %s %q of namespace %q: write pod/%s@%s, or %s/%s@%s",
				text, object, parts[0], kind, object, namespace, object, parts[0], kind, object, namespace)
		}
		return r.pod(pod, text)
	}
	return place, err
}

// ofKind finds an object by the short name of its kind.
func (r *Resolver) ofKind(kind, namespace, object, text string) (Place, error) {
	switch kind {
	case "pod", "po":
		return r.podNamed(namespace, object, text)
	case "svc", "service":
		return r.service(namespace, object, text)
	case "node", "no":
		if n := r.view.World.Nodes[object]; n != nil {
			if len(n.IPs) == 0 {
				return Place{}, fmt.Errorf("node %q has no address", object)
			}
			return Place{IPs: n.IPs, Text: text}, nil
		}
		return Place{}, missing("node", object, keysOf(r.view.World.Nodes))
	}
	return r.workload(namespace, workloadKinds[kind]+"/"+object, text)
}

// kinds are the words before a slash that aren't only a namespace's name.
var kinds = func() map[string]bool {
	out := map[string]bool{"pod": true, "po": true, "svc": true, "service": true, "node": true, "no": true}
	for k := range workloadKinds {
		out[k] = true
	}
	return out
}()

func (r *Resolver) pod(p *identity.Pod, text string) (Place, error) {
	switch {
	case p.Done:
		return Place{}, fmt.Errorf("pod %q has ended: it has no address any more", p.Key())
	case len(p.IPs) == 0:
		return Place{}, fmt.Errorf("pod %q has no address yet", p.Key())
	}
	return Place{IPs: p.IPs, Pod: p, Text: text}, nil
}

func (r *Resolver) podNamed(namespace, name, text string) (Place, error) {
	w := r.view.World
	if p := w.Pods[namespace+"/"+name]; p != nil {
		return r.pod(p, text)
	}
	return Place{}, r.missingPod(namespace, name)
}

// missingPod says what else may have been meant: a pod of that name elsewhere,
// something else of that name, or what is spelled nearly so.
func (r *Resolver) missingPod(namespace, name string) error {
	w := r.view.World
	var elsewhere, others []string
	for _, p := range w.Pods {
		if p.Name == name {
			elsewhere = append(elsewhere, p.Key())
		}
		if kind, workload, ok := strings.Cut(p.Workload, "/"); ok && workload == name && p.Namespace == namespace && kind != "pod" {
			others = append(others, p.Workload)
		}
	}
	if w.Services[namespace+"/"+name] != nil {
		others = append(others, "svc/"+name)
	}
	slices.Sort(elsewhere)
	slices.Sort(others)
	switch others = slices.Compact(others); {
	case len(others) == 1:
		return fmt.Errorf("pod %q doesn't exist; did you mean %q?", namespace+"/"+name, others[0])
	case len(others) > 1:
		return fmt.Errorf("%q may be any of %q in namespace %q: say which", name, others, namespace)
	case len(elsewhere) == 1:
		return fmt.Errorf("pod %q doesn't exist; did you mean %q?", namespace+"/"+name, elsewhere[0])
	case len(elsewhere) > 1:
		return fmt.Errorf("pod %q isn't in namespace %q, but there are %q: say which", name, namespace, elsewhere[:min(len(elsewhere), 5)])
	case !r.known(namespace):
		return missing("namespace", namespace, keysOf(w.Namespaces))
	}
	return missing("pod", namespace+"/"+name, keysOf(w.Pods))
}

// known says whether anything of the namespace is known.
func (r *Resolver) known(namespace string) bool {
	w := r.view.World
	if w.Namespaces[namespace] != nil || len(w.Namespaces) == 0 {
		return true
	}
	for _, p := range w.Pods {
		if p.Namespace == namespace {
			return true
		}
	}
	return false
}

func (r *Resolver) service(namespace, name, text string) (Place, error) {
	s := r.view.World.Services[namespace+"/"+name]
	if s == nil {
		return Place{}, missing("service", namespace+"/"+name, keysOf(r.view.World.Services))
	}
	if len(s.IPs) == 0 {
		return Place{}, fmt.Errorf("service %q has no address of its own: ask about its pods", s.Key())
	}
	return Place{IPs: s.IPs, Service: s, Text: text}, nil
}

func (r *Resolver) workload(namespace, workload, text string) (Place, error) {
	pods := r.view.World.PodsOf(namespace, workload)
	if len(pods) > 0 {
		return r.group(pods, text)
	}
	all := map[string]bool{}
	for _, p := range r.view.World.Pods {
		if p.Workload != "" {
			all[p.Namespace+"/"+p.Workload] = true
		}
	}
	return Place{}, missing("workload", namespace+"/"+workload, keysOf(all))
}

// group is the pods of a list that have an address.
func (r *Resolver) group(pods []*identity.Pod, text string) (Place, error) {
	running := alive(pods)
	if len(running) == 0 {
		if len(pods) > 0 {
			return r.pod(pods[0], text) // says what is the matter with it
		}
		return Place{}, fmt.Errorf("%q has no pods", text)
	}
	out, err := r.pod(running[0], text)
	if len(running) > 1 {
		out.Pods = running
	}
	return out, err
}

func (r *Resolver) labels(selector, namespace, text string) (Place, error) {
	s, err := labels.Parse(selector)
	if err != nil {
		return Place{}, fmt.Errorf("%q: %w", text, err)
	}
	pods := r.view.World.SelectPods(func(p *identity.Pod) bool { return p.Namespace == namespace && s.Matches(labels.Set(p.Labels)) })
	if len(pods) == 0 {
		if !r.known(namespace) {
			return Place{}, missing("namespace", namespace, keysOf(r.view.World.Namespaces))
		}
		return Place{}, r.unlabelled(s, namespace, text)
	}
	return r.group(pods, text)
}

// unlabelled names the labels of the namespace's pods that come near.
func (r *Resolver) unlabelled(s labels.Selector, namespace, text string) error {
	there := map[string]bool{}
	for _, p := range r.view.World.Pods {
		if p.Namespace == namespace && !p.Done {
			for k, v := range p.Labels {
				there[k+"="+v] = true
			}
		}
	}
	err := fmt.Errorf("%q selects no pod of namespace %q", text, namespace)
	if near := nearest.Of(s.String(), keysOf(there), 3); len(near) > 0 {
		return fmt.Errorf("%w; did you mean one of %q?", err, near)
	}
	return err
}

func missing(kind, name string, all []string) error {
	err := fmt.Errorf("%s %q doesn't exist", kind, name)
	if near := nearest.Of(name, all, 3); len(near) > 0 {
		return fmt.Errorf("%w; did you mean one of %q?", err, near)
	}
	return err
}

func keysOf[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}

// pair picks addresses of one family: that of the end that has only one, else
// the first that both have.
func pair(from, to Place) (src, dst netip.Addr, err error) {
	for _, s := range from.IPs {
		for _, d := range to.IPs {
			if s.Is4() == d.Is4() {
				return s, d, nil
			}
		}
	}
	if len(from.IPs) == 0 || len(to.IPs) == 0 {
		return src, dst, errors.New("one end has no address")
	}
	return src, dst, fmt.Errorf("%q and %q have no address family in common: ask about addresses of one family", from.Text, to.Text)
}
