// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// priorities finds policies that may be asked in any order and decide
// differently (case 37). Of a pair the later is reported.
func (l *linter) priorities(p *policy.Policy) {
	if p.Tier == policy.Network {
		return
	}
	for _, o := range l.cluster {
		if o == p {
			return
		}
		if o.Tier != p.Tier || o.Priority != p.Priority || (o.Kind == flow.BaselineAdminNetwork) != (p.Kind == flow.BaselineAdminNetwork) || sameActions(o, p) {
			continue
		}
		if shared := l.shared(o, p); shared != "" {
			l.report("equal-priority", p, "spec.priority", fmt.Sprintf("%s has priority %d as well, both select %s, and their rules act differently: either may win", o.Key(), p.Priority, shared), "give them different priorities; the lower number goes first")
		}
	}
}

// sameActions says whether all rules of both do the same, direction by
// direction, so that their order decides nothing.
func sameActions(a, b *policy.Policy) bool {
	for _, d := range []flow.Direction{flow.Ingress, flow.Egress} {
		if len(a.Rules(d)) == 0 || len(b.Rules(d)) == 0 {
			continue
		}
		first := a.Rules(d)[0].Action
		for _, r := range slices.Concat(a.Rules(d), b.Rules(d)) {
			if r.Action != first {
				return false
			}
		}
	}
	return true
}

// shared says for which pods both policies are; without pods, whether one's
// subject covers the other's.
func (l *linter) shared(a, b *policy.Policy) string {
	ours, _ := l.selected(b)
	theirs, _ := l.selected(a)
	var both []*identity.Pod
	for _, p := range ours {
		if slices.Contains(theirs, p) {
			both = append(both, p)
		}
	}
	if len(both) > 0 {
		return some(both, byKey)
	}
	covers := func(x, y *policy.Subject) bool {
		return x.Namespaces.Covers(y.Namespaces) && x.Pods.Covers(y.Pods)
	}
	if len(l.pods) == 0 && !a.Subject.None && !b.Subject.None && (covers(&a.Subject, &b.Subject) || covers(&b.Subject, &a.Subject)) {
		return "some of the same pods"
	}
	return ""
}

// plugin is a network plugin that was recognised by its pods.
type plugin struct {
	name string
	// kinds that it is known to enforce.
	kinds []flow.RuleKind
}

// knownPlugins by the name of their DaemonSet or label k8s-app. Kinds that a
// plugin enforces behind a switch only count as enforced.
var knownPlugins = []struct {
	names []string
	plugin
}{
	{[]string{"kube-flannel-ds", "kube-flannel", "flannel"}, plugin{"flannel", nil}},
	{[]string{"calico-node", "canal"}, plugin{"Calico", []flow.RuleKind{flow.NetworkPolicy, flow.AdminNetworkPolicy, flow.BaselineAdminNetwork, flow.ClusterNetworkPolicy}}},
	{[]string{"cilium"}, plugin{"Cilium", []flow.RuleKind{flow.NetworkPolicy}}},
	{[]string{"antrea-agent"}, plugin{"Antrea", []flow.RuleKind{flow.NetworkPolicy, flow.AdminNetworkPolicy, flow.BaselineAdminNetwork}}},
	{[]string{"ovnkube-node", "ovnkube"}, plugin{"OVN-Kubernetes", []flow.RuleKind{flow.NetworkPolicy, flow.AdminNetworkPolicy, flow.BaselineAdminNetwork, flow.ClusterNetworkPolicy}}},
	{[]string{"kube-router"}, plugin{"kube-router", []flow.RuleKind{flow.NetworkPolicy}}},
	{[]string{"kube-network-policies"}, plugin{"kube-network-policies", []flow.RuleKind{flow.NetworkPolicy, flow.AdminNetworkPolicy, flow.BaselineAdminNetwork, flow.ClusterNetworkPolicy}}},
	{[]string{"kindnet"}, plugin{"kindnet", []flow.RuleKind{flow.NetworkPolicy, flow.AdminNetworkPolicy, flow.BaselineAdminNetwork, flow.ClusterNetworkPolicy}}},
	{[]string{"weave-net"}, plugin{"Weave Net", []flow.RuleKind{flow.NetworkPolicy}}},
	{[]string{"aws-node"}, plugin{"the AWS VPC CNI", []flow.RuleKind{flow.NetworkPolicy}}},
}

func pluginsOf(pods []*identity.Pod) []plugin {
	var out []plugin
	for _, known := range knownPlugins {
		if slices.ContainsFunc(pods, func(p *identity.Pod) bool {
			kind, name, _ := strings.Cut(p.Workload, "/")
			return kind == "ds" && (slices.Contains(known.names, name) || slices.Contains(known.names, p.Labels["k8s-app"]))
		}) {
			out = append(out, known.plugin)
		}
	}
	return out
}

// plugin asks whether anybody in the cluster enforces policies of this kind;
// it says so once for each kind.
// A cluster whose plugins aren't recognised is given the benefit of the doubt.
func (l *linter) plugin(p *policy.Policy) {
	if len(l.plugins) == 0 || slices.ContainsFunc(l.plugins, func(x plugin) bool { return slices.Contains(x.kinds, p.Kind) }) {
		return
	}
	if l.told[p.Kind] {
		return
	}
	l.told[p.Kind] = true
	names := some(l.plugins, func(x plugin) string { return x.name })
	l.report("not-enforced", p, "kind", fmt.Sprintf("%s, the cluster's network plugin, is not known to enforce %s: this and others of the kind", names, p.Kind), "add an engine that does (see doctor), or express it in a kind that is enforced; dry-run shows what it would do")
}
