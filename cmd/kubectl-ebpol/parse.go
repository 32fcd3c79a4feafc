// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// parsePolicies reads the policies of a file.
func parsePolicies(file kube.File, namespace string) ([]*policy.Policy, error) {
	var out []*policy.Policy
	for i, doc := range bytes.Split(file.Data, []byte("\n---")) {
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &meta); err != nil {
			return nil, fmt.Errorf("%q, document %d: not YAML: %w", file.Name, i+1, err)
		}
		if meta.Kind != "NetworkPolicy" {
			return nil, fmt.Errorf("%q, document %d: kind %q is no policy that is evaluated", file.Name, i+1, meta.Kind)
		}
		var np networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict(doc, &np); err != nil {
			return nil, fmt.Errorf("%q, document %d: %w", file.Name, i+1, err)
		}
		if np.Namespace == "" {
			np.Namespace = namespace
		}
		p, err := policy.FromNetworkPolicy(&np)
		if err != nil {
			return nil, fmt.Errorf("%q, document %d: %w", file.Name, i+1, err)
		}
		p.Source.File, p.Source.YAML = file.Name, string(doc)
		out = append(out, p)
	}
	return out, nil
}
