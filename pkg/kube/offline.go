// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bufio"
	"bytes"
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
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

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
// them, are skipped: [policy.Parse] reads those.
//
// A workload without pods of its own in the files counts as one pod with the
// labels of its template. A pod without an address is given one that
// no network has, so that it can be asked about by name: of 240.0.0.0/4, and of
// 2001:2::/48 where the files speak of IPv6.
func ReadWorld(files []File) (*Offline, error) {
	o := &offline{t: newTable(), workloads: map[string]*corev1.Pod{}}
	var errs []error
	for _, f := range files {
		if err := o.file(f); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return o.world(), nil
}

type offline struct {
	t         *table
	pods      []*corev1.Pod
	workloads map[string]*corev1.Pod // namespace/workload -> a pod of its template
	assumed   []string
	objects   int
}

// file reads YAML documents, JSON objects one after another, and Lists.
func (o *offline) file(f File) error {
	if policy.IsJSON(f.Data) {
		d := json.NewDecoder(bytes.NewReader(f.Data))
		for {
			var raw json.RawMessage
			if err := d.Decode(&raw); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := o.object(raw); err != nil {
				return err
			}
		}
	}
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(f.Data)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		raw, err := yaml.YAMLToJSON(doc)
		if err != nil {
			return err
		}
		if err := o.object(raw); err != nil {
			return err
		}
	}
}

func (o *offline) object(raw json.RawMessage) error {
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Items           []json.RawMessage `json:"items"`
	}
	if string(raw) == "null" {
		return nil
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return fmt.Errorf("not an object: %w", err)
	}
	if strings.HasSuffix(head.Kind, "List") {
		for _, item := range head.Items {
			if err := o.item(head.TypeMeta, item); err != nil {
				return err
			}
		}
		return nil
	}
	return o.known(head.APIVersion, head.Kind, raw)
}

// item reads one of a List, which may leave out what kind it is.
func (o *offline) item(list metav1.TypeMeta, raw json.RawMessage) error {
	var t metav1.TypeMeta
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("not an object: %w", err)
	}
	if t.Kind == "" {
		t = metav1.TypeMeta{APIVersion: list.APIVersion, Kind: strings.TrimSuffix(list.Kind, "List")}
	}
	return o.known(t.APIVersion, t.Kind, raw)
}

func (o *offline) known(apiVersion, kind string, raw json.RawMessage) error {
	switch apiVersion + " " + kind {
	case "v1 Pod":
		return decode(raw, o, func(p *corev1.Pod) { o.pods = append(o.pods, p) })
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

func decode[T any](raw json.RawMessage, o *offline, use func(*T)) error {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	o.objects++
	use(&v)
	return nil
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
	raw := map[string]*corev1.Pod{}
	there := map[string]bool{}
	for _, p := range o.pods {
		out := podOf(named(p), nil)
		o.t.pods[out.Key()], raw[out.Key()] = out, p
		there[out.Namespace+"/"+out.Workload] = true
	}
	for _, k := range slices.Sorted(maps.Keys(o.workloads)) {
		p := o.workloads[k]
		if there[k] || o.t.pods[key(p)] != nil {
			continue
		}
		out := podOf(p, nil)
		out.Workload = strings.TrimPrefix(k, out.Namespace+"/")
		o.t.pods[out.Key()], raw[out.Key()] = out, p
		o.assumed = append(o.assumed, fmt.Sprintf("%s has no pods in the files: one pod of its template stands for it", k))
	}
	if n := o.addresses(); n > 0 {
		o.assumed = append(o.assumed, fmt.Sprintf("%d pods have no address in the files: they are given some that no network has", n))
	}
	for _, p := range o.t.pods {
		if o.t.spaces[p.Namespace] == nil {
			o.t.spaces[p.Namespace] = namespaceOf(&metav1.ObjectMeta{Name: p.Namespace})
		}
	}
	for k, s := range o.t.services {
		if len(o.t.slices[k]) == 0 && len(s.spec.Spec.Selector) > 0 {
			o.t.slices[k] = o.endpoints(s.spec, raw)
		}
	}
	o.t.change(func() {})
	return &Offline{World: o.t.state().World, Assumed: o.assumed, Objects: o.objects}
}
