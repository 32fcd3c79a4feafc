// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
)

// Objects is what files hold, as far as it is about policies. What a world is
// made of (pods, services …) is read by pkg/kube.
type Objects struct {
	Namespace    string // of namespaced objects that name none, as with kubectl -n; empty: default
	Policies     []*Policy
	NotEvaluated []NotEvaluated // policies of kinds that aren't judged
	Skipped      map[string]int // objects of other kinds, by kind
	// Other is given those as JSON; nil: nobody wants them. Its error is a fault
	// of the file.
	Other func(apiVersion, kind string, object []byte) error
}

// NotEvaluated names a policy of a kind that isn't judged: that no policy
// selects a pod is then not to be read as "open".
type NotEvaluated struct {
	Kind      string // with its group, such as "CiliumNetworkPolicy.cilium.io"
	Namespace string
	Name      string
	Source    Source
}

// foreignPolicies are API groups whose policies filter the same traffic.
var foreignPolicies = []string{
	"cilium.io/", "crd.projectcalico.org/", "projectcalico.org/", "crd.antrea.io/", "policy.networking.k8s.io/", "security.istio.io/",
	"kubeovn.io/", "k8s.ovn.org/", "networking.k8s.aws/", "networking.gke.io/", "policy.linkerd.io/",
}

// foreign says whether an object that isn't evaluated is a policy all the same.
func foreign(h head) bool {
	return strings.Contains(h.Kind, "Policy") && slices.ContainsFunc(foreignPolicies, func(group string) bool { return strings.HasPrefix(h.APIVersion, group) })
}

func (o *Objects) addForeign(h head, src Source) {
	group, _, _ := strings.Cut(h.APIVersion, "/")
	o.NotEvaluated = append(o.NotEvaluated, NotEvaluated{h.Kind + "." + group, h.Metadata.Namespace, h.Metadata.Name, src})
}
