// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// parsePolicies reads the policies of a file. A file that holds none, or
// policies that aren't judged, is an error: whoever names it expects something
// of it.
func parsePolicies(file kube.File, namespace string) ([]*policy.Policy, error) {
	o := &policy.Objects{Namespace: namespace}
	if err := o.Read(file.Data, file.Name); err != nil {
		return nil, err
	}
	if len(o.NotEvaluated) > 0 {
		n := o.NotEvaluated[0]
		return nil, fmt.Errorf("%s:%d: %s %q: policies of this kind are not evaluated", file.Name, n.Source.Line, n.Kind, n.Name)
	}
	if len(o.Policies) == 0 && len(o.Skipped) > 0 {
		return nil, fmt.Errorf("%s: no policy, but %s", file.Name, strings.Join(slices.Sorted(maps.Keys(o.Skipped)), ", "))
	}
	return o.Policies, nil
}
