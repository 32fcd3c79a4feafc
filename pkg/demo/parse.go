// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Parse reads the policies of a folder of [Policies]. Those of the candidate's
// folder say which file they are from; the cluster's have none.
func Parse(folder string) ([]*policy.Policy, error) {
	files, err := fs.Glob(Policies, folder+"/*.yaml")
	if err != nil {
		return nil, err
	}
	var list []*policy.Policy
	for _, file := range files {
		text, err := Policies.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
			var np networkingv1.NetworkPolicy
			if err := yaml.UnmarshalStrict(doc, &np); err != nil {
				return nil, fmt.Errorf("demo policy %q: %w", file, err)
			}
			p, err := policy.FromNetworkPolicy(&np)
			if err != nil {
				return nil, fmt.Errorf("demo policy %q: %w", file, err)
			}
			p.Source.YAML = string(bytes.TrimSpace(doc))
			if folder == CandidatePolicies {
				p.Source.File = path.Base(file)
			}
			list = append(list, p)
		}
	}
	return list, nil
}
