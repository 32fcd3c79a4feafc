// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
	"sigs.k8s.io/yaml"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// policyKind is a kind of policy that is evaluated and that a cluster may or
// may not have.
type policyKind struct {
	schema.GroupVersionResource
	kind string
	read func(*unstructured.Unstructured) (*policy.Policy, error)
}

const policyGroup = "policy.networking.k8s.io"

var policyKinds = []policyKind{
	{schema.GroupVersionResource{Group: policyGroup, Version: "v1alpha2", Resource: "clusternetworkpolicies"}, "ClusterNetworkPolicy", read(policy.FromClusterNetworkPolicy)},
	{schema.GroupVersionResource{Group: policyGroup, Version: "v1alpha1", Resource: "adminnetworkpolicies"}, "AdminNetworkPolicy", read(policy.FromAdminNetworkPolicy)},
	{schema.GroupVersionResource{Group: policyGroup, Version: "v1alpha1", Resource: "baselineadminnetworkpolicies"}, "BaselineAdminNetworkPolicy", read(policy.FromBaselineAdminNetworkPolicy)},
}

func read[T v1alpha1.AdminNetworkPolicy | v1alpha1.BaselineAdminNetworkPolicy | v1alpha2.ClusterNetworkPolicy](from func(*T) (*policy.Policy, error)) func(*unstructured.Unstructured) (*policy.Policy, error) {
	return func(u *unstructured.Unstructured) (*policy.Policy, error) {
		var typed T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &typed); err != nil {
			return nil, fmt.Errorf("%s %q: %w", u.GetKind(), u.GetName(), err)
		}
		return from(&typed)
	}
}

// foreignKinds are policies of others, by group: listed, so that "no policy
// selects it" is never read as "open", but not judged.
var foreignKinds = []struct {
	group string
	kinds map[string]string // resource -> kind
	whose string
}{
	{"cilium.io", map[string]string{"ciliumnetworkpolicies": "CiliumNetworkPolicy", "ciliumclusterwidenetworkpolicies": "CiliumClusterwideNetworkPolicy"}, "Cilium"},
	{"crd.projectcalico.org", map[string]string{"networkpolicies": "NetworkPolicy.projectcalico.org", "globalnetworkpolicies": "GlobalNetworkPolicy"}, "Calico"},
	{"crd.antrea.io", map[string]string{"networkpolicies": "NetworkPolicy.crd.antrea.io", "clusternetworkpolicies": "ClusterNetworkPolicy.crd.antrea.io"}, "Antrea"},
	{"k8s.ovn.org", map[string]string{"egressfirewalls": "EgressFirewall"}, "OVN-Kubernetes"},
	{"security.istio.io", map[string]string{"authorizationpolicies": "AuthorizationPolicy"}, "Istio"},
	{"kubeovn.io", map[string]string{"security-groups": "SecurityGroup"}, "Kube-OVN"},
	{"networking.k8s.aws", map[string]string{"clusternetworkpolicies": "ClusterNetworkPolicy.networking.k8s.aws", "applicationnetworkpolicies": "ApplicationNetworkPolicy"}, "the AWS VPC CNI"},
}

// startPolicyKinds watches the policy kinds that the cluster has besides
// NetworkPolicy, and lists those of others.
func (w *Watcher) startPolicyKinds(ctx, run context.Context, see sight) error {
	groups, err := w.c.Discovery.ServerGroups()
	if err != nil {
		return fmt.Errorf("ask which APIs the cluster has: %w", err)
	}
	versions := map[string][]string{}
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			versions[g.Name] = append(versions[g.Name], v.Version)
		}
	}
	f := dynamicinformer.NewDynamicSharedInformerFactory(w.c.Dynamic, 0)
	for _, k := range policyKinds {
		if !slices.Contains(versions[k.Group], k.Version) || !w.has(k) {
			continue
		}
		if _, err := w.c.Dynamic.Resource(k.GroupVersionResource).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			w.t.change(func() {
				w.t.problems[k.kind] = fmt.Sprintf("%s objects can't be listed with your rights: what they decide is not known", k.kind)
			})
			continue
		}
		i := f.ForResource(k.GroupVersionResource).Informer()
		_ = i.SetTransform(strip)
		w.run(run, k.Resource, i, on(func(u *unstructured.Unstructured) {
			p, err := k.read(u)
			w.t.putPolicy(k.kind, u, p, err)
		}, func(u *unstructured.Unstructured) { w.t.dropPolicy(k.kind, u) }))
	}
	w.listForeign(ctx, versions, see.namespace)
	return nil
}

func (w *Watcher) has(k policyKind) bool {
	list, err := w.c.Discovery.ServerResourcesForGroupVersion(k.GroupVersion().String())
	if err != nil {
		return false
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == k.Resource })
}

func (w *Watcher) listForeign(ctx context.Context, versions map[string][]string, namespace string) {
	var found []Foreign
	for _, f := range foreignKinds {
		for resource, kind := range f.kinds {
			for _, version := range versions[f.group] {
				list, err := w.c.Metadata.Resource(schema.GroupVersionResource{Group: f.group, Version: version, Resource: resource}).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 500})
				if err != nil {
					continue // another version has it, or nobody
				}
				for i := range list.Items {
					o := &list.Items[i]
					found = append(found, Foreign{kind, o.Namespace, o.Name, fmt.Sprintf("a policy of %s: its meaning is not evaluated here", f.whose)})
				}
				break
			}
		}
	}
	if len(found) > 0 {
		w.t.change(func() { w.t.foreign = found })
	}
}

// asYAML is the object as its author might have written it; empty if it is too large to show.
func asYAML(o metav1.Object) string {
	b, err := json.Marshal(o)
	var m map[string]any
	if err = errors.Join(err, json.Unmarshal(b, &m)); err != nil {
		return ""
	}
	meta := map[string]any{"name": o.GetName()}
	if ns := o.GetNamespace(); ns != "" {
		meta["namespace"] = ns
	}
	if l := o.GetLabels(); len(l) > 0 {
		meta["labels"] = l
	}
	m["metadata"] = meta
	delete(m, "status")
	if m["kind"] == nil { // typed objects from a watch don't say
		m["apiVersion"], m["kind"] = "networking.k8s.io/v1", "NetworkPolicy"
	}
	text, err := yaml.Marshal(m)
	if err != nil || len(text) > 64<<10 {
		return ""
	}
	return string(text)
}
