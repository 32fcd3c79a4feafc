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
}

var workloadKinds = map[string]string{
	"deploy": "deploy", "deployment": "deploy", "sts": "sts", "statefulset": "sts", "ds": "ds", "daemonset": "ds", "rs": "rs", "replicaset": "rs",
	"job": "job", "cronjob": "cronjob", "rc": "rc", "rollout": "rollout",
}

// Resolve reads "10.0.0.1", "10.0.0.0/24" (its first address), "ns/pod", "pod",
// "pod/x", "deploy/x" and other workloads, "svc/x", "node/x", each of these with
// "@ns" or "ns/kind/x", and "labels:app=a@ns".
func (r *Resolver) Resolve(text string) (Place, error) {
	w := r.view.World
	if pod := w.Pods[text]; pod != nil { // first: by far the most asked
		return r.pod(pod, text)
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		return Place{IPs: []netip.Addr{ip.Unmap().WithZone("")}, Text: text}, nil
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return Place{IPs: []netip.Addr{prefix.Masked().Addr().Unmap()}, Text: text}, nil
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
	switch {
	case kind == "pod" || kind == "po":
		return r.podNamed(namespace, object, text)
	case kind == "svc" || kind == "service":
		return r.service(namespace, object, text)
	case kind == "node" || kind == "no":
		if n := w.Nodes[object]; n != nil {
			return Place{IPs: n.IPs, Text: text}, nil
		}
		return Place{}, missing("node", object, keysOf(w.Nodes))
	case workloadKinds[kind] != "":
		return r.workload(namespace, workloadKinds[kind]+"/"+object, text)
	}
	return r.podNamed(parts[0], object, text)
}

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
	if p := r.view.World.Pods[namespace+"/"+name]; p != nil {
		return r.pod(p, text)
	}
	return Place{}, missing("pod", namespace+"/"+name, keysOf(r.view.World.Pods))
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
	return r.first(r.view.World.PodsOf(namespace, workload), text)
}

// first picks the first pod by name that has an address.
func (r *Resolver) first(pods []*identity.Pod, text string) (Place, error) {
	err := fmt.Errorf("%q has no pods", text)
	for _, p := range pods {
		var place Place
		if place, err = r.pod(p, text); err == nil {
			return place, nil
		}
	}
	return Place{}, err
}

func (r *Resolver) labels(selector, namespace, text string) (Place, error) {
	s, err := labels.Parse(selector)
	if err != nil {
		return Place{}, fmt.Errorf("%q: %w", text, err)
	}
	return r.first(r.view.World.SelectPods(func(p *identity.Pod) bool {
		return p.Namespace == namespace && s.Matches(labels.Set(p.Labels))
	}), text)
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
	return src, dst, fmt.Errorf("%q and %q have no address family in common", from.Text, to.Text)
}
