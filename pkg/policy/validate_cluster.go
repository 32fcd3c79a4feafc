// SPDX-License-Identifier: Apache-2.0

package policy

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	v1alpha1 "sigs.k8s.io/network-policy-api/apis/v1alpha1"
	v1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// ValidateClusterNetworkPolicy says what the CRD's validation says to a new
// ClusterNetworkPolicy. A peer without any field that is known is left to
// "fail closed" (case 38): it comes from a newer version of the API.
func ValidateClusterNetworkPolicy(in *v1alpha2.ClusterNetworkPolicy) field.ErrorList {
	errs := validateName(&in.ObjectMeta)
	spec := field.NewPath("spec")
	errs = append(errs, validateOneOf(spec.Child("tier"), string(in.Spec.Tier), "Admin", "Baseline")...)
	errs = append(errs, validatePriority(spec.Child("priority"), in.Spec.Priority)...)
	subject := spec.Child("subject")
	errs = append(errs, exactlyOne(subject, in.Spec.Subject, in.Spec.Subject.Namespaces != nil, in.Spec.Subject.Pods != nil)...)
	errs = append(errs, validateUnion(subject, in.Spec.Subject.Namespaces, cnpPods(in.Spec.Subject.Pods))...)
	errs = append(errs, atMost(spec.Child("ingress"), len(in.Spec.Ingress), 25)...)
	errs = append(errs, atMost(spec.Child("egress"), len(in.Spec.Egress), 25)...)
	for i, r := range in.Spec.Ingress {
		path := spec.Child("ingress").Index(i)
		errs = append(errs, validateRule(path, "from", r.Name, string(r.Action), len(r.From), 25, "Accept", "Deny", "Pass")...)
		for j, p := range r.From {
			errs = append(errs, validatePeer(path.Child("from").Index(j), anyPeer{namespaces: p.Namespaces, pods: cnpPods(p.Pods)})...)
		}
		errs = append(errs, validateProtocols(path.Child("protocols"), r.Protocols)...)
	}
	for i, r := range in.Spec.Egress {
		path := spec.Child("egress").Index(i)
		errs = append(errs, validateRule(path, "to", r.Name, string(r.Action), len(r.To), 25, "Accept", "Deny", "Pass")...)
		for j, p := range r.To {
			errs = append(errs, validatePeer(path.Child("to").Index(j), anyPeer{p.Namespaces, cnpPods(p.Pods), p.Nodes, texts(p.Networks), texts(p.DomainNames)})...)
		}
		errs = append(errs, validateProtocols(path.Child("protocols"), r.Protocols)...)
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

func validateProtocols(path *field.Path, in []v1alpha2.ClusterNetworkPolicyProtocol) field.ErrorList {
	errs := atMost(path, len(in), 25)
	for i, p := range in {
		at := path.Index(i)
		errs = append(errs, exactlyOne(at, p, p.TCP != nil, p.UDP != nil, p.SCTP != nil, p.DestinationNamedPort != "")...)
		if p.TCP != nil {
			errs = append(errs, validatePort(at.Child("tcp", "destinationPort"), p.TCP.DestinationPort)...)
		}
		if p.UDP != nil {
			errs = append(errs, validatePort(at.Child("udp", "destinationPort"), p.UDP.DestinationPort)...)
		}
		if p.SCTP != nil {
			errs = append(errs, validatePort(at.Child("sctp", "destinationPort"), p.SCTP.DestinationPort)...)
		}
	}
	return errs
}

func validatePort(path *field.Path, p *v1alpha2.Port) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := exactlyOne(path, p, p.Number != 0, p.Range != nil)
	if p.Number != 0 {
		errs = append(errs, validatePortNumber(path.Child("number"), p.Number)...)
	}
	if p.Range != nil {
		errs = append(errs, validateRange(path.Child("range"), p.Range.Start, p.Range.End)...)
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
	errs := exactlyOne(path, in, in.Namespaces != nil, in.Pods != nil)
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
		errs = append(errs, exactlyOne(at, p, p.PortNumber != nil, p.PortRange != nil, p.NamedPort != nil)...)
		if p.PortNumber != nil {
			errs = append(errs, validatePortNumber(at.Child("portNumber", "port"), p.PortNumber.Port)...)
		}
		if p.PortRange != nil {
			errs = append(errs, validateRange(at.Child("portRange"), p.PortRange.Start, p.PortRange.End)...)
		}
	}
	return errs
}
