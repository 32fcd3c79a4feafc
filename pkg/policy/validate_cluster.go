// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	v1alpha1 "sigs.k8s.io/network-policy-api/apis/v1alpha1"
	v1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// checkSpec says what the API server would say to a new object of the policy
// API, of which raw is the JSON. Selectors it takes as they are; what can't be
// one is a fault nevertheless, since nobody can follow it.
func checkSpec(s *schema) func(raw []byte) (*violations, error) {
	return func(raw []byte) (*violations, error) {
		var object struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
			Spec     any               `json:"spec"`
		}
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&object); err != nil {
			return nil, err
		}
		spec := field.NewPath("spec")
		if object.Spec == nil {
			return &violations{errs: append(validateName(&object.Metadata), field.Required(spec, ""))}, nil
		}
		v := checkSchema(s, object.Spec, spec)
		v.errs = append(validateName(&object.Metadata), v.errs...)
		if s == baselineNetworkPolicySpec && len(v.errs) == 0 && object.Metadata.Name != "default" {
			v.add(false, &field.Error{Type: field.ErrorTypeInvalid, Field: "<nil>", BadValue: field.OmitValueType{}, Detail: onlyDefault})
		}
		return v, nil
	}
}

func validateSelectors(in *v1alpha2.ClusterNetworkPolicy) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateUnion(spec.Child("subject"), in.Spec.Subject.Namespaces, cnpPods(in.Spec.Subject.Pods))
	for i, r := range in.Spec.Ingress {
		for j, p := range r.From {
			errs = append(errs, validateUnion(spec.Child("ingress").Index(i).Child("from").Index(j), p.Namespaces, cnpPods(p.Pods))...)
		}
	}
	for i, r := range in.Spec.Egress {
		for j, p := range r.To {
			path := spec.Child("egress").Index(i).Child("to").Index(j)
			errs = append(errs, validateUnion(path, p.Namespaces, cnpPods(p.Pods))...)
			if p.Nodes != nil {
				errs = append(errs, validateSelector(p.Nodes, path.Child("nodes"))...)
			}
		}
	}
	return errs
}

func cnpPods(in *v1alpha2.NamespacedPod) *podsPeer {
	if in == nil {
		return nil
	}
	return &podsPeer{in.NamespaceSelector, in.PodSelector}
}

func validateUnion(path *field.Path, namespaces *metav1.LabelSelector, pods *podsPeer) field.ErrorList {
	var errs field.ErrorList
	if namespaces != nil {
		errs = append(errs, validateSelector(namespaces, path.Child("namespaces"))...)
	}
	if pods != nil {
		errs = append(errs, validateSelector(&pods.namespaces, path.Child("pods", "namespaceSelector"))...)
		errs = append(errs, validateSelector(&pods.pods, path.Child("pods", "podSelector"))...)
	}
	return errs
}

func validateAdminSelectors(in *v1alpha1.AdminNetworkPolicy) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateUnion(spec.Child("subject"), in.Spec.Subject.Namespaces, anpPods(in.Spec.Subject.Pods))
	for i, r := range in.Spec.Ingress {
		errs = append(errs, validateSources(spec.Child("ingress").Index(i), r.From)...)
	}
	for i, r := range in.Spec.Egress {
		errs = append(errs, validateTargets(spec.Child("egress").Index(i), r.To)...)
	}
	return errs
}

func validateBaselineSelectors(in *v1alpha1.BaselineAdminNetworkPolicy) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateUnion(spec.Child("subject"), in.Spec.Subject.Namespaces, anpPods(in.Spec.Subject.Pods))
	for i, r := range in.Spec.Ingress {
		errs = append(errs, validateSources(spec.Child("ingress").Index(i), r.From)...)
	}
	for i, r := range in.Spec.Egress {
		errs = append(errs, validateTargets(spec.Child("egress").Index(i), baselinePeers(r.To))...)
	}
	return errs
}

func validateSources(rule *field.Path, from []v1alpha1.AdminNetworkPolicyIngressPeer) field.ErrorList {
	var errs field.ErrorList
	for j, p := range from {
		errs = append(errs, validateUnion(rule.Child("from").Index(j), p.Namespaces, anpPods(p.Pods))...)
	}
	return errs
}

func validateTargets(rule *field.Path, to []v1alpha1.AdminNetworkPolicyEgressPeer) field.ErrorList {
	var errs field.ErrorList
	for j, p := range to {
		path := rule.Child("to").Index(j)
		errs = append(errs, validateUnion(path, p.Namespaces, anpPods(p.Pods))...)
		if p.Nodes != nil {
			errs = append(errs, validateSelector(p.Nodes, path.Child("nodes"))...)
		}
	}
	return errs
}
