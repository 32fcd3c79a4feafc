// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Offline is what files say of a cluster.
type Offline struct {
	World *identity.World
	// Assumed says in sentences what the files leave open and was assumed.
	Assumed []string
	Objects int // read, of kinds that matter here
}

// ReadWorld makes a World of the pods, workloads, namespaces, services,
// endpoint slices and nodes in files. Documents of other kinds, policies among
// them, are skipped: [policy.Parse] reads those, and [ReadObjects] both at once.
//
// A workload without pods of its own in the files counts as one pod with the
// labels of its template. A pod without an address is given one that
// no network has, so that it can be asked about by name: of 240.0.0.0/4, and of
// 2001:2::/48 where the files speak of IPv6.
func ReadWorld(files []File) (*Offline, error) {
	o := newOffline()
	objects := &policy.Objects{Other: o.known}
	var errs []error
	for _, f := range files {
		errs = append(errs, objects.Read(f.Data, f.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return o.world(), nil
}

// maxObjects bounds what is kept of files: ten times what the largest clusters
// have.
const maxObjects = 1_000_000

// ReadObjects reads a world, as [ReadWorld] does, and policies into objects, in
// one go and object by object: files may be of any length. Faults are those of
// single objects: what could be read is returned with them. An error means that
// nothing can be said.
func ReadObjects(ctx context.Context, options FileOptions, objects *policy.Objects) (world *Offline, faults, err error) {
	o := newOffline()
	objects.Other = o.known
	defer func() { objects.Other = nil }()
	err = options.each(ctx, func(name string, r io.Reader, size int64) error {
		in := &watchedReader{Reader: r, ctx: ctx, options: &options, at: Reading{Name: name, Size: size}, count: func() int { return o.objects + len(objects.Policies) }}
		faults = errors.Join(faults, objects.ReadStream(in, name))
		in.tell()
		return in.err
	})
	if err != nil {
		return nil, nil, err
	}
	return o.world(), faults, nil
}

// watchedReader reads a file until somebody ends it, and tells how far it is.
type watchedReader struct {
	io.Reader
	ctx     context.Context //nolint:containedctx // a reader lives as long as one call
	options *FileOptions
	at      Reading
	count   func() int
	err     error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	if w.err = w.ctx.Err(); w.err != nil {
		return 0, w.err
	}
	if w.at.Objects = w.count(); w.at.Objects > maxObjects {
		w.err = fmt.Errorf("%s: more than %d objects: choose some of them, such as those of some namespaces", w.at.Name, maxObjects)
		return 0, w.err
	}
	n, err := w.Reader.Read(p)
	w.at.Bytes += int64(n)
	w.tell()
	return n, err
}

func (w *watchedReader) tell() {
	if w.at.Objects = w.count(); w.options.Tell != nil {
		w.options.Tell(w.at)
	}
}

type offline struct {
	t         *table
	pods      []*identity.Pod
	raw       map[string]*corev1.Pod // of pods, what services are joined by
	workloads map[string]*corev1.Pod // namespace/workload -> a pod of its template
	assumed   []string
	objects   int
}

func newOffline() *offline {
	return &offline{t: newTable(), workloads: map[string]*corev1.Pod{}, raw: map[string]*corev1.Pod{}}
}

// known takes an object, if it is of a kind that matters.
func (o *offline) known(apiVersion, kind string, raw []byte) error {
	switch apiVersion + " " + kind {
	case "v1 Pod":
		return decode(raw, o, o.pod)
	case "v1 Namespace":
		return decode(raw, o, func(n *corev1.Namespace) { o.t.spaces[n.Name] = namespaceOf(&n.ObjectMeta) })
	case "v1 Node":
		return decode(raw, o, func(n *corev1.Node) { o.t.nodes[n.Name] = nodeOf(n) })
	case "v1 Service":
		return decode(raw, o, func(s *corev1.Service) { o.t.services[key(named(s))] = &service{spec: s} })
	case "discovery.k8s.io/v1 EndpointSlice":
		return decode(raw, o, func(s *discoveryv1.EndpointSlice) { o.slice(s) })
	case "apps/v1 Deployment":
		return decode(raw, o, func(d *appsv1.Deployment) { o.template("deploy/", d, &d.Spec.Template) })
	case "apps/v1 StatefulSet":
		return decode(raw, o, func(d *appsv1.StatefulSet) { o.template("sts/", d, &d.Spec.Template) })
	case "apps/v1 DaemonSet":
		return decode(raw, o, func(d *appsv1.DaemonSet) { o.template("ds/", d, &d.Spec.Template) })
	case "apps/v1 ReplicaSet":
		return decode(raw, o, func(d *appsv1.ReplicaSet) {
			if metav1.GetControllerOf(d) == nil {
				o.template("rs/", d, &d.Spec.Template)
			}
		})
	case "v1 ReplicationController":
		return decode(raw, o, func(d *corev1.ReplicationController) {
			if d.Spec.Template != nil {
				o.template("rc/", d, d.Spec.Template)
			}
		})
	case "batch/v1 Job":
		return decode(raw, o, func(d *batchv1.Job) { o.template("job/", d, &d.Spec.Template) })
	case "batch/v1 CronJob":
		return decode(raw, o, func(d *batchv1.CronJob) { o.template("cronjob/", d, &d.Spec.JobTemplate.Spec.Template) })
	}
	return nil
}

func decode[T any](raw []byte, o *offline, use func(*T)) error {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	o.objects++
	use(&v)
	return nil
}

// pod keeps what is needed of a pod: a hundred thousand whole ones take
// gigabytes.
func (o *offline) pod(p *corev1.Pod) {
	out := podOf(named(p), nil)
	o.pods = append(o.pods, out)
	o.raw[out.Key()] = portsOf(&p.Spec)
}

// portsOf is a pod with its containers' ports and nothing else.
func portsOf(spec *corev1.PodSpec) *corev1.Pod {
	out := &corev1.Pod{}
	for i := range spec.Containers {
		if ports := spec.Containers[i].Ports; len(ports) > 0 {
			out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Ports: ports})
		}
	}
	return out
}

// named gives an object the namespace that kubectl would put it in.
func named[T metav1.Object](o T) T {
	if o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	return o
}

func (o *offline) slice(s *discoveryv1.EndpointSlice) {
	k := named(s).Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
	if o.t.slices[k] == nil {
		o.t.slices[k] = map[string]*discoveryv1.EndpointSlice{}
	}
	o.t.slices[k][s.Name] = s
}

// template keeps a pod as the workload would make it.
func (o *offline) template(prefix string, owner metav1.Object, t *corev1.PodTemplateSpec) {
	named(owner)
	o.workloads[owner.GetNamespace()+"/"+prefix+owner.GetName()] = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: owner.GetNamespace(), Name: owner.GetName(), Labels: t.Labels}, Spec: t.Spec,
	}
}

func (o *offline) world() *Offline {
	there := map[string]bool{}
	for _, p := range o.pods {
		o.t.pods[p.Key()] = p
		there[p.Namespace+"/"+p.Workload] = true
	}
	for _, k := range slices.Sorted(maps.Keys(o.workloads)) {
		p := o.workloads[k]
		if there[k] || o.t.pods[key(p)] != nil {
			continue
		}
		out := podOf(p, nil)
		out.Workload = strings.TrimPrefix(k, out.Namespace+"/")
		o.t.pods[out.Key()], o.raw[out.Key()] = out, p
		o.assumed = append(o.assumed, fmt.Sprintf("%s has no pods in the files: one pod of its template stands for it", k))
	}
	switch n := o.addresses(); {
	case n == 1:
		o.assumed = append(o.assumed, "one pod has no IP in the files: rules about labels answer for it, and what address blocks say is contested")
	case n > 1:
		o.assumed = append(o.assumed, fmt.Sprintf("%d pods have no IP in the files: rules about labels answer for them, and what address blocks say is contested", n))
	}
	for _, p := range o.t.pods {
		if o.t.spaces[p.Namespace] == nil {
			o.t.spaces[p.Namespace] = namespaceOf(&metav1.ObjectMeta{Name: p.Namespace})
		}
	}
	inside := map[string][]*identity.Pod{}
	for _, p := range o.t.pods {
		if !p.Done {
			inside[p.Namespace] = append(inside[p.Namespace], p)
		}
	}
	for k, s := range o.t.services {
		if len(o.t.slices[k]) == 0 && len(s.spec.Spec.Selector) > 0 {
			o.t.slices[k] = o.endpoints(s.spec, inside[s.spec.Namespace])
		}
	}
	o.t.change(func() {})
	return &Offline{World: o.t.state().World, Assumed: o.assumed, Objects: o.objects}
}
