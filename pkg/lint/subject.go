// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/nearest"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

const nameLabel = "kubernetes.io/metadata.name"

func (l *linter) warnings(p *policy.Policy) {
	for _, w := range p.Warnings {
		field, text, ok := strings.Cut(w, " ")
		if !ok {
			field, text = "spec", w
		}
		if strings.HasPrefix(text, policy.Refused) {
			l.report("invalid", p, field, text, fixInvalid(text))
			continue
		}
		l.report("not-evaluated", p, field, text, "leave it out, or don't rely on what is said here about this policy")
	}
}

// subject asks whom the policy is for.
func (l *linter) subject(p *policy.Policy) {
	pods, onHost := l.selected(p)
	field := "spec.podSelector"
	if p.Tier != policy.Network {
		field = "spec.subject"
	}
	switch {
	case len(pods) > 0 || p.Subject.None || len(l.pods) == 0:
		return
	case len(onHost) > 0:
		l.report("host-network-subject", p, field,
			fmt.Sprintf("it selects only pods on the host network (%s), which policies don't cover", some(onHost, byKey)), "protect those nodes by other means, or take the pods off the host network")
		return
	}
	ns := p.Subject.Namespace
	if ns != "" && len(l.inside[ns]) == 0 {
		if near := l.nearNamespace(ns); near != "" && nearest.Slip(ns, near) && (l.in.Guessed || l.in.World.Namespaces[ns] == nil) {
			l.report("typo", p, "metadata.namespace", fmt.Sprintf("there is no namespace %q, but there is %q", ns, near), fmt.Sprintf("write namespace: %s", near))
			return
		}
		l.report("selects-nothing", p, field, fmt.Sprintf("namespace %q has no pods", ns), "check the namespace, or delete the policy if its pods are gone for good")
		return
	}
	where, candidates := "the cluster", l.pods
	if ns != "" {
		where, candidates = fmt.Sprintf("namespace %q", ns), l.inside[ns]
	} else if s := p.Subject.Namespaces; !l.anyNamespace(s) {
		if was, is := correct(s, l.spaces); is != "" {
			l.typo(p, field, was, is, "namespace")
			return
		}
	}
	if was, is := correct(p.Subject.Pods, podLabels(candidates)); is != "" {
		l.typo(p, field, was, is, "pod")
		return
	}
	l.report("selects-nothing", p, field, fmt.Sprintf("no pod of %s has the labels %q", where, p.Subject.Pods), "correct the labels, or delete the policy if its pods are gone for good")
}

func (l *linter) typo(p *policy.Policy, field, was, is, what string) {
	l.report("typo", p, field, fmt.Sprintf("no %s has %q, but some have %q", what, was, is), fmt.Sprintf("write %s", strings.Replace(is, "=", ": ", 1)))
}

// peer asks whom a peer is.
func (l *linter) peer(p *policy.Policy, peer *policy.Peer) {
	if peer.Kind != policy.PodPeer || len(l.pods) == 0 || l.matchesAnybody(peer) {
		return
	}
	candidates := l.inside[peer.Namespace]
	if peer.Namespace == "" {
		if !l.anyNamespace(peer.Namespaces) {
			if was, is := correct(peer.Namespaces, l.spaces); is != "" {
				l.typo(p, peer.Path, was, is, "namespace")
				return
			}
			l.report("selects-no-peer", p, peer.Path, fmt.Sprintf("no namespace has the labels %q", peer.Namespaces), "correct the labels, or leave the peer out")
			return
		}
		candidates = nil
		for _, pod := range l.pods {
			if peer.Namespaces.Matches(l.view.NamespaceLabels(pod.Namespace)) {
				candidates = append(candidates, pod)
			}
		}
	}
	if was, is := correct(peer.Pods, podLabels(candidates)); is != "" {
		l.typo(p, peer.Path, was, is, "pod there")
		return
	}
	// Pods elsewhere that fit: the most common slip is to forget that a
	// podSelector alone means the policy's own namespace.
	if peer.Namespace != "" {
		elsewhere := l.labelled(peer.Pods)
		if len(elsewhere) > 0 {
			l.report("selects-no-peer", p, peer.Path,
				fmt.Sprintf("a podSelector alone means namespace %q, where no pod has the labels %q; elsewhere %s", peer.Namespace, peer.Pods, some(elsewhere, byKey)+plainVerb(len(elsewhere), " has them", " have them")),
				fmt.Sprintf("add to the same peer: namespaceSelector: {matchLabels: {%s: %s}}", nameLabel, elsewhere[0].Namespace))
			return
		}
	}
	l.report("selects-no-peer", p, peer.Path, fmt.Sprintf("no pod has the labels %q there", peer.Pods), "correct the labels, or leave the peer out")
}

func (l *linter) matchesAnybody(peer *policy.Peer) bool {
	key := peer.Namespace + "|" + peer.Namespaces.String() + "|" + peer.Pods.String()
	known, ok := l.anybody[key]
	if !ok {
		candidates := l.pods
		if peer.Namespace != "" {
			candidates = l.inside[peer.Namespace]
		}
		known = slices.ContainsFunc(candidates, func(pod *identity.Pod) bool { return l.view.SelectsPeer(peer, pod) })
		l.anybody[key] = known
	}
	return known
}

// labelled are the pods of all namespaces that a selector matches.
func (l *linter) labelled(s policy.Selector) []*identity.Pod {
	out, known := l.anywhere[s.String()]
	if !known {
		for _, pod := range l.pods {
			if s.Matches(pod.Labels) {
				out = append(out, pod)
			}
		}
		l.anywhere[s.String()] = out
	}
	return out
}

func (l *linter) anyNamespace(s policy.Selector) bool {
	return slices.ContainsFunc(l.spaces, s.Matches)
}

// namespaceLabels are those of all namespaces that exist or have pods.
func (l *linter) namespaceLabels() []map[string]string {
	names := map[string]bool{}
	for n := range l.in.World.Namespaces {
		names[n] = true
	}
	for n := range l.inside {
		names[n] = true
	}
	var out []map[string]string
	for _, n := range sorted(names) {
		out = append(out, l.view.NamespaceLabels(n))
	}
	return out
}

func (l *linter) nearNamespace(name string) string {
	names := sorted(l.in.World.Namespaces)
	for n := range l.inside {
		names = append(names, n)
	}
	if near := nearest.Of(name, slices.DeleteFunc(names, func(n string) bool { return n == name }), 1); len(near) > 0 && !numbered(near[0], name) {
		return near[0]
	}
	return ""
}

func podLabels(pods []*identity.Pod) []map[string]string {
	out := make([]map[string]string, 0, len(pods))
	for _, p := range pods {
		out = append(out, p.Labels)
	}
	return out
}

// correct finds one requirement of a selector that is nearly fulfilled by an
// object that fulfils all others: "app=frontend" where "app=front-end" is
// there, "ap=web" where "app=web" is. What some object has as it is written is
// no slip. Empty: there is none.
func correct(s policy.Selector, objects []map[string]string) (was, is string) {
	for _, labels := range objects {
		misses := s.Misses(labels)
		if len(misses) != 1 || len(misses[0].Want) == 0 || had(misses[0].Key, misses[0].Want, objects) {
			continue
		}
		m := misses[0]
		if !m.Lacks {
			if near := nearest.Of(m.Has, m.Want, 1); len(near) > 0 && nearest.Slip(near[0], m.Has) && !numbered(near[0], m.Has) {
				return m.Key + "=" + near[0], m.Key + "=" + m.Has
			}
			continue
		}
		for _, key := range nearest.Of(m.Key, sorted(labels), 3) {
			if slices.Contains(m.Want, labels[key]) && nearest.Slip(m.Key, key) && !numbered(m.Key, key) {
				return m.Key + "=" + labels[key], key + "=" + labels[key]
			}
		}
	}
	return "", ""
}

// had says whether an object has the label with one of the values.
func had(key string, values []string, objects []map[string]string) bool {
	return slices.ContainsFunc(objects, func(labels map[string]string) bool {
		value, there := labels[key]
		return there && slices.Contains(values, value)
	})
}

// numbered says whether two names differ in their numbers alone, such as db-1
// and db-2: those are two things, not one and a slip.
func numbered(a, b string) bool {
	strip := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, s)
	}
	return a != b && strip(a) == strip(b)
}

// isolation asks what a policy isolates without saying so.
func (l *linter) isolation(p *policy.Policy) {
	if p.Tier != policy.Network {
		return
	}
	_, said := p.Source.Lines["spec.policyTypes"]
	_, ingress := p.Source.Lines["spec.ingress"]
	if p.Source.Lines != nil && !said && !ingress && p.IsolatesIngress && len(p.Egress) > 0 {
		l.report("implicit-ingress", p, "spec.egress", "policyTypes is absent, so that it also denies all ingress of the pods that it selects", "write policyTypes: [Egress], or policyTypes: [Ingress, Egress] if that is meant")
	}
	if p.IsolatesEgress {
		l.dns(p)
	}
}

var protocolsOfDNS = []flow.Protocol{flow.UDP, flow.TCP}
