// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/objects"
)

// Objects is what files or a cluster hold.
type Objects struct {
	Policies     []*Policy
	NotEvaluated []NotEvaluated // policies of kinds that aren't judged
	Skipped      map[string]int // objects of kinds that don't matter here, by kind

	namespaces []*identity.Namespace
	nodes      []*identity.Node
	pods       []*podObject
	templates  []*podObject // of workloads
	services   []*corev1.Service
	slices     []*discoveryv1.EndpointSlice
	endpoints  []*corev1.Endpoints //nolint:staticcheck // deprecated, and still in files
}

// NotEvaluated names a policy of a kind that isn't judged: that no policy
// selects a pod is then not to be read as "open".
type NotEvaluated struct {
	Kind      string // with its group, such as "CiliumNetworkPolicy.cilium.io"
	Namespace string
	Name      string
	Source    Source
}

// podObject is a pod, or what a workload's pods will be.
type podObject struct {
	pod      *identity.Pod
	hasState bool // it has a status: that it isn't ready means something
}

// foreignPolicies are API groups whose policies filter the same traffic.
var foreignPolicies = []string{
	"cilium.io/", "crd.projectcalico.org/", "projectcalico.org/", "crd.antrea.io/", "policy.networking.k8s.io/", "security.istio.io/",
	"kubeovn.io/", "k8s.ovn.org/", "networking.k8s.aws/", "networking.gke.io/", "policy.linkerd.io/",
}

// addObject reads what a world is made of, leniently: other versions of the
// API may have other fields.
func (o *Objects) addObject(h head, data []byte, src Source) []error {
	fail := func(err error) []error {
		return []error{fmt.Errorf("%s%s %q: %w", src.prefix(src.Line), h.Kind, h.Metadata.Name, err)}
	}
	var err error
	switch h.APIVersion + " " + h.Kind {
	case "v1 Namespace":
		var in corev1.Namespace
		if err = json.Unmarshal(data, &in); err == nil {
			o.namespaces = append(o.namespaces, objects.Namespace(&in.ObjectMeta))
		}
	case "v1 Node":
		var in corev1.Node
		if err = json.Unmarshal(data, &in); err == nil {
			o.nodes = append(o.nodes, objects.Node(&in))
		}
	case "v1 Pod":
		var in corev1.Pod
		if err = json.Unmarshal(data, &in); err == nil {
			o.addPod(&in)
		}
	case "v1 Service":
		var in corev1.Service
		if err = json.Unmarshal(data, &in); err == nil {
			in.Namespace = orDefault(in.Namespace)
			o.services = append(o.services, &in)
		}
	case "v1 Endpoints":
		var in corev1.Endpoints //nolint:staticcheck // deprecated, and still in files
		if err = json.Unmarshal(data, &in); err == nil {
			in.Namespace = orDefault(in.Namespace)
			o.endpoints = append(o.endpoints, &in)
		}
	case "discovery.k8s.io/v1 EndpointSlice":
		var in discoveryv1.EndpointSlice
		if err = json.Unmarshal(data, &in); err == nil {
			in.Namespace = orDefault(in.Namespace)
			o.slices = append(o.slices, &in)
		}
	default:
		return o.addOther(h, data, src, fail)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

func orDefault(namespace string) string {
	if namespace == "" {
		return corev1.NamespaceDefault
	}
	return namespace
}

func (o *Objects) addPod(in *corev1.Pod) {
	in.Namespace = orDefault(in.Namespace)
	p := &podObject{pod: objects.Pod(in, nil), hasState: len(in.Status.Conditions) > 0}
	p.pod.Ready = p.pod.Ready || !p.hasState
	o.pods = append(o.pods, p)
}

// workloadKinds are those whose template says what their pods will be.
var workloadKinds = map[string]string{
	"apps/v1 Deployment": "deploy", "apps/v1 StatefulSet": "sts", "apps/v1 DaemonSet": "ds", "apps/v1 ReplicaSet": "rs",
	"v1 ReplicationController": "rc", "batch/v1 Job": "job", "batch/v1 CronJob": "cronjob",
}

func (o *Objects) addOther(h head, data []byte, src Source, fail func(error) []error) []error {
	if kind, ok := workloadKinds[h.APIVersion+" "+h.Kind]; ok {
		template, err := templateOf(kind, data)
		if err != nil {
			return fail(err)
		}
		o.addTemplate(kind, h, template)
		return nil
	}
	for _, group := range foreignPolicies {
		if strings.HasPrefix(h.APIVersion, group) && strings.Contains(h.Kind, "Policy") {
			name, _, _ := strings.Cut(h.APIVersion, "/")
			o.NotEvaluated = append(o.NotEvaluated, NotEvaluated{h.Kind + "." + name, h.Metadata.Namespace, h.Metadata.Name, src})
			return nil
		}
	}
	if o.Skipped == nil {
		o.Skipped = map[string]int{}
	}
	o.Skipped[h.Kind]++
	return nil
}

func templateOf(kind string, data []byte) (corev1.PodTemplateSpec, error) {
	if kind == "cronjob" {
		var in batchv1.CronJob
		err := json.Unmarshal(data, &in)
		return in.Spec.JobTemplate.Spec.Template, err
	}
	var in struct { // the others have it at the same place
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	err := json.Unmarshal(data, &in)
	return in.Spec.Template, err
}

// addTemplate makes one pod stand for all that a workload will have.
func (o *Objects) addTemplate(kind string, h head, t corev1.PodTemplateSpec) {
	pod := corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}
	pod.Name, pod.Namespace = h.Metadata.Name, orDefault(h.Metadata.Namespace)
	p := &podObject{pod: objects.Pod(&pod, nil)}
	p.pod.Workload, p.pod.Ready = kind+"/"+h.Metadata.Name, true
	o.templates = append(o.templates, p)
}
