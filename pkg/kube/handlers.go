// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"net/netip"
	"reflect"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// on makes a handler of two functions: one for what is there now, one for what
// is gone.
func on[T any](is, gone func(T)) cache.ResourceEventHandler {
	call := func(f func(T), obj any) {
		if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = last.Obj
		}
		if o, ok := obj.(T); ok {
			f(o)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { call(is, o) },
		UpdateFunc: func(_, o any) { call(is, o) },
		DeleteFunc: func(o any) { call(gone, o) },
	}
}

func key(o metav1.Object) string {
	if o.GetNamespace() == "" {
		return o.GetName()
	}
	return o.GetNamespace() + "/" + o.GetName()
}

// keep stores is unless it equals what is stored. Most updates, such as a
// node's heartbeats, change nothing that matters here and wake nobody.
func keep[T any](t *table, m map[string]*T, k string, is *T, copied *bool) {
	t.mu.Lock()
	same := reflect.DeepEqual(m[k], is)
	t.mu.Unlock()
	if same {
		return
	}
	t.change(func() { m[k] = is; *copied = false })
}

func podHandler(t *table) cache.ResourceEventHandler {
	return on(func(p *corev1.Pod) {
		keep(t, t.pods, key(p), podOf(p, t.cronJob), &t.copied.pods)
		if t.noNodes && p.Spec.NodeName != "" {
			t.change(func() { t.hosts[p.Spec.NodeName] = hostIPs(p) })
		}
	}, func(p *corev1.Pod) {
		t.change(func() { delete(t.pods, key(p)); t.copied.pods = false })
	})
}

func hostIPs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.HostIPs {
		if a, ok := address(ip.IP); ok {
			out = append(out, a)
		}
	}
	if a, ok := address(p.Status.HostIP); ok && len(out) == 0 {
		out = append(out, a)
	}
	return out
}

func (t *table) cronJob(namespace, job string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.jobs[namespace+"/"+job]
}

func namespaceHandler(t *table) cache.ResourceEventHandler {
	return on(func(n *corev1.Namespace) {
		keep(t, t.spaces, n.Name, namespaceOf(&n.ObjectMeta), &t.copied.spaces)
	}, func(n *corev1.Namespace) {
		t.change(func() { delete(t.spaces, n.Name); t.copied.spaces = false })
	})
}

func nodeHandler(t *table) cache.ResourceEventHandler {
	return on(func(n *corev1.Node) {
		keep(t, t.nodes, n.Name, nodeOf(n), &t.copied.nodes)
	}, func(n *corev1.Node) {
		t.change(func() { delete(t.nodes, n.Name); t.copied.nodes = false })
	})
}

func serviceHandler(t *table) cache.ResourceEventHandler {
	return on(func(s *corev1.Service) {
		t.change(func() { t.services[key(s)] = &service{spec: s}; t.copied.services = false })
	}, func(s *corev1.Service) {
		t.change(func() { delete(t.services, key(s)); t.copied.services = false })
	})
}

func sliceHandler(t *table) cache.ResourceEventHandler {
	set := func(e *discoveryv1.EndpointSlice, is *discoveryv1.EndpointSlice) {
		k := e.Namespace + "/" + e.Labels[discoveryv1.LabelServiceName]
		t.change(func() {
			if t.slices[k] == nil {
				t.slices[k] = map[string]*discoveryv1.EndpointSlice{}
			}
			if is == nil {
				delete(t.slices[k], e.Name)
			} else {
				t.slices[k][e.Name] = is
			}
			if s := t.services[k]; s != nil {
				t.services[k] = &service{spec: s.spec}
				t.copied.services = false
			}
		})
	}
	return on(func(e *discoveryv1.EndpointSlice) { set(e, e) }, func(e *discoveryv1.EndpointSlice) { set(e, nil) })
}

func networkPolicyHandler(t *table) cache.ResourceEventHandler {
	return on(func(n *networkingv1.NetworkPolicy) {
		p, err := policy.FromNetworkPolicy(n)
		t.putPolicy("NetworkPolicy", n, p, err)
	}, func(n *networkingv1.NetworkPolicy) { t.dropPolicy("NetworkPolicy", n) })
}

// putPolicy stores a policy of the cluster, or why it can't be read.
func (t *table) putPolicy(kind string, o metav1.Object, p *policy.Policy, err error) {
	k := kind + " " + key(o)
	t.change(func() {
		t.copied.policies = false
		if err != nil {
			delete(t.policies, k)
			t.problems[k] = err.Error()
			return
		}
		delete(t.problems, k)
		p.Source.YAML, p.Source.Changed = asYAML(o), written(o)
		t.policies[k] = p
	})
}

func (t *table) dropPolicy(kind string, o metav1.Object) {
	k := kind + " " + key(o)
	t.change(func() { delete(t.policies, k); delete(t.problems, k); t.copied.policies = false })
}

var jobs = batchv1.SchemeGroupVersion.WithResource("jobs")

// runJobs watches the metadata of jobs: which CronJob a job is of.
func (w *Watcher) runJobs(ctx context.Context, namespace string) {
	f := metadatainformer.NewFilteredSharedInformerFactory(w.c.Metadata, 0, namespace, nil)
	i := f.ForResource(jobs).Informer()
	_ = i.SetTransform(strip)
	w.run(ctx, "jobs", i, on(func(j *metav1.PartialObjectMetadata) {
		owner := metav1.GetControllerOf(j)
		if owner == nil || owner.Kind != "CronJob" {
			return
		}
		w.t.change(func() {
			w.t.jobs[key(j)] = owner.Name
			for k, p := range w.t.pods { // those that were told of before their job
				if p.Namespace == j.Namespace && p.Workload == "job/"+j.Name {
					renamed := *p
					renamed.Workload = "cronjob/" + owner.Name
					w.t.pods[k] = &renamed
					w.t.copied.pods = false
				}
			}
		})
	}, func(j *metav1.PartialObjectMetadata) {
		w.t.change(func() { delete(w.t.jobs, key(j)) })
	}))
}
