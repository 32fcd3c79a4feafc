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

// checkClusterNetworkPolicy says what the API server would say to a new
// ClusterNetworkPolicy, of which raw is the JSON. Selectors it takes as they
// are; what can't be one is a fault nevertheless, since nobody can follow it.
func checkClusterNetworkPolicy(raw []byte) (*violations, error) {
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
	v := checkSchema(clusterNetworkPolicySpec, object.Spec, spec)
	v.errs = append(validateName(&object.Metadata), v.errs...)
	return v, nil
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

func validateRule(path *field.Path, peersField, name, action string, peers, most int, actions ...string) field.ErrorList {
	errs := validateNameLength(path.Child("name"), name)
	errs = append(errs, validateOneOf(path.Child("action"), action, actions...)...)
	errs = append(errs, needsOne(path.Child(peersField), peers)...)
	return append(errs, atMost(path.Child(peersField), peers, most)...)
}

func validatePeer(path *field.Path, p anyPeer) field.ErrorList {
	errs := validateUnion(path, p.namespaces, p.pods)
	if p.nodes != nil {
		errs = append(errs, validateSelector(p.nodes, path.Child("nodes"))...)
	}
	errs = append(errs, atMost(path.Child("networks"), len(p.networks), 25)...)
	errs = append(errs, atMost(path.Child("domainNames"), len(p.domains), 25)...)
	for i, s := range p.networks {
		errs = append(errs, validateCIDR(path.Child("networks").Index(i), s)...)
	}
	n := 0
	for _, set := range []bool{p.namespaces != nil, p.pods != nil, p.nodes != nil, p.networks != nil, p.domains != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		errs = append(errs, field.TooMany(path, n, 1))
	}
	return errs
}

func validateRange(path *field.Path, start, end int32) field.ErrorList {
	errs := validatePortNumber(path.Child("start"), start)
	errs = append(errs, validatePortNumber(path.Child("end"), end)...)
	if len(errs) == 0 && start >= end {
		errs = append(errs, field.Invalid(path, start, "Start port must be less than End port"))
	}
	return errs
}

// ValidateAdminNetworkPolicy says what the CRD's validation says to a new
// AdminNetworkPolicy.
func ValidateAdminNetworkPolicy(in *v1alpha1.AdminNetworkPolicy) field.ErrorList {
	errs := validateName(&in.ObjectMeta)
	spec := field.NewPath("spec")
	errs = append(errs, validatePriority(spec.Child("priority"), in.Spec.Priority)...)
	errs = append(errs, validateSubject(spec.Child("subject"), in.Spec.Subject)...)
	errs = append(errs, atMost(spec.Child("ingress"), len(in.Spec.Ingress), 100)...)
	errs = append(errs, atMost(spec.Child("egress"), len(in.Spec.Egress), 100)...)
	for i, r := range in.Spec.Ingress {
		errs = append(errs, validateANPIngress(spec.Child("ingress").Index(i), r.Name, string(r.Action), r.From, r.Ports, "Allow", "Deny", "Pass")...)
	}
	for i, r := range in.Spec.Egress {
		errs = append(errs, validateANPEgress(spec.Child("egress").Index(i), r.Name, string(r.Action), r.To, r.Ports, "Allow", "Deny", "Pass")...)
	}
	return errs
}

// ValidateBaselineAdminNetworkPolicy says what the CRD's validation says to a
// new BaselineAdminNetworkPolicy.
func ValidateBaselineAdminNetworkPolicy(in *v1alpha1.BaselineAdminNetworkPolicy) field.ErrorList {
	errs := validateName(&in.ObjectMeta)
	if in.Name != "default" {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), in.Name, "Only one baseline admin network policy with metadata.name=\"default\" can be created in the cluster"))
	}
	spec := field.NewPath("spec")
	errs = append(errs, validateSubject(spec.Child("subject"), in.Spec.Subject)...)
	errs = append(errs, atMost(spec.Child("ingress"), len(in.Spec.Ingress), 100)...)
	errs = append(errs, atMost(spec.Child("egress"), len(in.Spec.Egress), 100)...)
	for i, r := range in.Spec.Ingress {
		errs = append(errs, validateANPIngress(spec.Child("ingress").Index(i), r.Name, string(r.Action), r.From, r.Ports, "Allow", "Deny")...)
	}
	for i, r := range in.Spec.Egress {
		errs = append(errs, validateANPEgress(spec.Child("egress").Index(i), r.Name, string(r.Action), baselinePeers(r.To), r.Ports, "Allow", "Deny")...)
	}
	return errs
}

func validateSubject(path *field.Path, in v1alpha1.AdminNetworkPolicySubject) field.ErrorList {
	errs := exactlyOne(path, in.Namespaces != nil, in.Pods != nil)
	return append(errs, validateUnion(path, in.Namespaces, anpPods(in.Pods))...)
}

func validateANPIngress(path *field.Path, name, action string, from []v1alpha1.AdminNetworkPolicyIngressPeer, ports *[]v1alpha1.AdminNetworkPolicyPort, actions ...string) field.ErrorList {
	errs := validateRule(path, "from", name, action, len(from), 100, actions...)
	for j, p := range from {
		errs = append(errs, validatePeer(path.Child("from").Index(j), anyPeer{namespaces: p.Namespaces, pods: anpPods(p.Pods)})...)
	}
	return append(errs, validateANPPorts(path.Child("ports"), ports)...)
}

func validateANPEgress(path *field.Path, name, action string, to []v1alpha1.AdminNetworkPolicyEgressPeer, ports *[]v1alpha1.AdminNetworkPolicyPort, actions ...string) field.ErrorList {
	errs := validateRule(path, "to", name, action, len(to), 100, actions...)
	for j, p := range to {
		errs = append(errs, validatePeer(path.Child("to").Index(j), anyPeer{p.Namespaces, anpPods(p.Pods), p.Nodes, texts(p.Networks), texts(p.DomainNames)})...)
	}
	return append(errs, validateANPPorts(path.Child("ports"), ports)...)
}

func validateANPPorts(path *field.Path, ports *[]v1alpha1.AdminNetworkPolicyPort) field.ErrorList {
	if ports == nil {
		return nil
	}
	errs := atMost(path, len(*ports), 100)
	for i, p := range *ports {
		at := path.Index(i)
		errs = append(errs, exactlyOne(at, p.PortNumber != nil, p.PortRange != nil, p.NamedPort != nil)...)
		if p.PortNumber != nil {
			errs = append(errs, validatePortNumber(at.Child("portNumber", "port"), p.PortNumber.Port)...)
		}
		if p.PortRange != nil {
			errs = append(errs, validateRange(at.Child("portRange"), p.PortRange.Start, p.PortRange.End)...)
		}
	}
	return errs
}
