// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// passing are labels that a rollout, a restart or an upgrade changes: a rule
// on them would allow today's pods and no others.
var passing = []string{
	"pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash", "pod-template-generation", "controller-uid", "job-name",
	"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
	"batch.kubernetes.io/job-completion-index", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart", "chart",
	"heritage", "version", "revision", "security.istio.io/tlsMode", "service.istio.io/canonical-revision", "topology.kubernetes.io/zone",
	"topology.kubernetes.io/region", "kubernetes.io/hostname", "deployment", "deploymentconfig",
}

// telling are labels that say what a program is, most usual first.
var telling = []string{
	"k8s-app", "app.kubernetes.io/name", "app", "name", "app.kubernetes.io/component", "component", "app.kubernetes.io/instance", "role", "tier", "run",
}

func stays(key string) bool {
	return !slices.Contains(passing, key) && !strings.HasSuffix(key, "-hash") && !strings.HasSuffix(key, "-uid") && !strings.HasSuffix(key, "/revision")
}

// choose finds the fewest lasting labels that select the pods of a workload
// and no other pod of its namespace. also are other workloads that cannot be
// told from it by labels. No labels: it has none that last.
func choose(pods, others []*identity.Pod) (labels map[string]string, also []string) {
	common := map[string]string{}
	for i, p := range pods {
		for k, v := range p.Labels {
			if i == 0 && stays(k) {
				common[k] = v
			}
		}
		for k, v := range common {
			if p.Labels[k] != v {
				delete(common, k)
			}
		}
	}
	keys := make([]string, 0, len(common))
	for k := range common {
		if !slices.Contains(telling, k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range slices.Backward(telling) {
		if _, ok := common[k]; ok {
			keys = slices.Insert(keys, 0, k)
		}
	}
	labels = map[string]string{}
	for _, k := range keys {
		rest := slices.DeleteFunc(slices.Clone(others), func(p *identity.Pod) bool { return p.Labels[k] != common[k] })
		if len(labels) > 0 && len(rest) == len(others) {
			continue // tells nobody apart
		}
		labels[k] = common[k]
		if others = rest; len(others) == 0 {
			break
		}
	}
	for _, p := range others {
		if !slices.Contains(also, p.Workload) {
			also = append(also, p.Workload)
		}
	}
	slices.Sort(also)
	return labels, also
}

// portName is what all of the pods call a port, if the name stands for that
// port alone on each of them.
func portName(pods []*identity.Pod, want identity.NamedPort) string {
	name := ""
	for _, p := range pods {
		if len(p.Ports) == 0 && p.Done {
			continue
		}
		found := ""
		for _, port := range p.Ports {
			if port.Number == want.Number && port.Protocol == want.Protocol && (found == "" || port.Name == name) {
				found = port.Name
			}
		}
		if found == "" || name != "" && found != name || ambiguous(p, found, want) {
			return ""
		}
		name = found
	}
	return name
}

func ambiguous(p *identity.Pod, name string, want identity.NamedPort) bool {
	return slices.ContainsFunc(p.Ports, func(o identity.NamedPort) bool {
		return o.Name == name && o.Protocol == want.Protocol && o.Number != want.Number
	})
}
