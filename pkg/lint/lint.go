// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Input is what is judged.
type Input struct {
	World    *identity.World
	Policies []*policy.Policy // all that decide: a DNS hole may be closed by another policy
	// About says which of them to report on; nil: all.
	About func(*policy.Policy) bool
	// Unjudged are policies of kinds that are not evaluated.
	Unjudged []policy.NotEvaluated
	// Guessed says that namespaces may be there only because a policy names them.
	Guessed bool
	// Invalid are policies that could not be read.
	Invalid []Invalid
}

// Invalid is a policy that the API server would refuse.
type Invalid struct {
	Kind   flow.RuleKind
	Policy string
	File   string
	Line   int
	Field  string
	Reason string
}

// Run runs every check.
func Run(in Input) []Finding {
	l := newLinter(in)
	for _, i := range in.Invalid {
		l.out = append(l.out, Finding{
			ID: "invalid", Severity: Error, Kind: i.Kind, Policy: i.Policy, File: i.File, Line: i.Line, Field: i.Field,
			Reason: "the API server would refuse it: " + i.Reason, Fix: fixInvalid(i.Reason),
		})
	}
	for _, n := range in.Unjudged {
		l.out = append(l.out, Finding{
			ID: "not-evaluated", Severity: Note, Kind: flow.RuleKind(n.Kind), Policy: strings.Trim(n.Namespace+"/"+n.Name, "/"), File: n.Source.File, Line: n.Source.Line,
			Reason: "policies of this kind are not evaluated: what they allow or deny is left out of every answer", Fix: "read the answers about its pods with that in mind",
		})
	}
	for _, p := range l.policies {
		if in.About != nil && !in.About(p) {
			continue
		}
		l.warnings(p)
		l.subject(p)
		l.rules(p)
		l.isolation(p)
		l.redundant(p)
		l.probes(p)
		l.priorities(p)
		l.plugin(p)
	}
	slices.SortStableFunc(l.out, compare)
	return slices.Compact(l.out)
}

// linter holds what the checks share.
type linter struct {
	in       Input
	policies []*policy.Policy // in the order of evaluation
	view     *policy.View
	eval     *policy.Evaluator
	pods     []*identity.Pod             // that run, by key
	inside   map[string][]*identity.Pod  // pods by namespace
	network  map[string][]*policy.Policy // NetworkPolicies by namespace, in order
	cluster  []*policy.Policy            // the others, in order
	anybody  map[string]bool             // whether a selector of peers matches a pod, by its text
	anywhere map[string][]*identity.Pod  // pods that a selector matches, by its text
	spaces   []map[string]string         // labels of the namespaces
	mute     map[*identity.Pod][]flow.Protocol
	told     map[flow.RuleKind]bool // not enforced, said already
	dual     bool
	plugins  []plugin
	dnsPods  []*identity.Pod // backends of the cluster's DNS
	localDNS bool            // there is a NodeLocal DNSCache
	out      []Finding
}

func newLinter(in Input) *linter {
	if in.World == nil {
		in.World = &identity.World{}
	}
	l := &linter{
		in: in, view: policy.NewView(in.World), inside: map[string][]*identity.Pod{}, policies: slices.Clone(in.Policies),
		network: map[string][]*policy.Policy{}, anybody: map[string]bool{}, anywhere: map[string][]*identity.Pod{}, mute: map[*identity.Pod][]flow.Protocol{}, told: map[flow.RuleKind]bool{},
	}
	slices.SortStableFunc(l.policies, policy.Compare)
	for _, p := range l.policies {
		if p.Tier == policy.Network {
			l.network[p.Namespace] = append(l.network[p.Namespace], p)
		} else {
			l.cluster = append(l.cluster, p)
		}
	}
	l.eval = policy.NewEvaluatorOf(l.view, l.policies)
	l.pods = in.World.SelectPods(func(p *identity.Pod) bool { return !p.Done })
	for _, p := range l.pods {
		l.inside[p.Namespace] = append(l.inside[p.Namespace], p)
	}
	l.dual = dualStack(in.World)
	l.spaces = l.namespaceLabels()
	l.plugins = pluginsOf(l.pods)
	l.dnsPods, l.localDNS = l.findDNS(), l.findLocalDNS()
	return l
}

// dualStack says whether pods or services have addresses of both families.
func dualStack(w *identity.World) bool {
	for _, p := range w.Pods {
		if len(p.IPs) > 1 && p.IPs[0].Is4() != p.IPs[1].Is4() {
			return true
		}
	}
	for _, s := range w.Services {
		if len(s.IPs) > 1 && s.IPs[0].Is4() != s.IPs[1].Is4() {
			return true
		}
	}
	return false
}

// report adds a finding about a field of a policy.
func (l *linter) report(id string, p *policy.Policy, field, reason, fix string) *Finding {
	l.out = append(l.out, Finding{
		ID: id, Severity: check(id).Severity, Kind: p.Kind, Policy: p.Key(), File: p.Source.File, Line: p.Source.LineOf(field), Field: field,
		Reason: reason, Fix: fix,
	})
	return &l.out[len(l.out)-1]
}

// selected are the pods that a policy is for, those on the host network
// apart: it isn't for them.
func (l *linter) selected(p *policy.Policy) (pods, onHost []*identity.Pod) {
	candidates := l.pods
	if p.Subject.Namespace != "" {
		candidates = l.inside[p.Subject.Namespace]
	}
	for _, pod := range candidates {
		switch {
		case !l.view.Selects(&p.Subject, pod):
		case pod.HostNetwork:
			onHost = append(onHost, pod)
		default:
			pods = append(pods, pod)
		}
	}
	return pods, onHost
}

// directions calls f for each direction that has rules or isolates.
func directions(p *policy.Policy, f func(d flow.Direction, field string)) {
	for _, d := range []flow.Direction{flow.Ingress, flow.Egress} {
		if len(p.Rules(d)) > 0 || p.Isolates(d) {
			f(d, "spec."+d.String())
		}
	}
}

func ruleField(d flow.Direction, index int) string {
	return fmt.Sprintf("spec.%s[%d]", d, index)
}

// some names a few things of many.
func some[T any](list []T, name func(T) string) string {
	out := ""
	for i, x := range list {
		if i == 3 && len(list) > 4 {
			return fmt.Sprintf("%s and %d more", out, len(list)-i)
		}
		if i > 0 {
			out += ", "
		}
		out += name(x)
	}
	return out
}

func byKey(p *identity.Pod) string { return p.Key() }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func plainVerb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
