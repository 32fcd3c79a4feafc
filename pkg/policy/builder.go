// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// builder fills a cluster-scoped policy; ClusterNetworkPolicy and the two
// kinds before it differ in spelling only. Errors are collected.
type builder struct {
	p   *Policy
	err error
}

func (b *builder) fail(path string, err error) {
	if err != nil {
		b.err = errors.Join(b.err, fmt.Errorf("%s %q: %s: %w", b.p.Kind, b.p.Name, path, err))
	}
}

func (b *builder) warn(path, text string) {
	b.p.Warnings = append(b.p.Warnings, path+" "+text)
}

func (b *builder) selector(path string, in *metav1.LabelSelector) Selector {
	s, err := NewSelector(in)
	b.fail(path, err)
	return s
}

func (b *builder) subject(namespaces *metav1.LabelSelector, pods *podsPeer) {
	switch {
	case namespaces != nil:
		b.p.Subject = Subject{Namespaces: b.selector("spec.subject.namespaces", namespaces), Pods: Everything()}
	case pods != nil:
		b.p.Subject = Subject{
			Namespaces: b.selector("spec.subject.pods.namespaceSelector", &pods.namespaces),
			Pods:       b.selector("spec.subject.pods.podSelector", &pods.pods),
		}
	default:
		b.p.Subject = Subject{None: true}
		b.warn("spec.subject", "holds no kind of subject that is known, so the policy selects nothing")
	}
}

type ruleBuilder struct {
	Rule
	path   string
	closed bool
}

func (b *builder) rule(path string, index int, name, action string) *ruleBuilder {
	r := &ruleBuilder{Rule: Rule{Index: index, Name: name, Line: b.p.Source.LineOf(path), AnyPort: true}, path: path}
	switch action {
	case "Accept", "Allow":
		r.Action = Accept
	case "Deny":
		r.Action = Deny
	case "Pass":
		r.Action = Pass
	default:
		b.fail(path+".action", fmt.Errorf("%q is no action", action))
	}
	return r
}

// anyPeer holds what one peer may hold; exactly one field is set.
type anyPeer struct {
	namespaces *metav1.LabelSelector
	pods       *podsPeer
	nodes      *metav1.LabelSelector
	networks   []string
	domains    []string
}

func (b *builder) peer(path string, rule *ruleBuilder, in anyPeer) {
	base := Peer{Path: path, Line: b.p.Source.LineOf(path)}
	switch {
	case in.namespaces != nil:
		base.Kind, base.Namespaces, base.Pods = PodPeer, b.selector(path+".namespaces", in.namespaces), Everything()
		rule.Peers = append(rule.Peers, base)
	case in.pods != nil:
		base.Kind = PodPeer
		base.Namespaces = b.selector(path+".pods.namespaceSelector", &in.pods.namespaces)
		base.Pods = b.selector(path+".pods.podSelector", &in.pods.pods)
		rule.Peers = append(rule.Peers, base)
	case in.nodes != nil:
		base.Kind, base.Nodes = NodePeer, b.selector(path+".nodes", in.nodes)
		rule.Peers = append(rule.Peers, base)
	case len(in.networks) > 0:
		for i, s := range in.networks {
			cidr, err := parseCIDR(s)
			b.fail(at(path+".networks", i), err)
			peer := base
			peer.Kind, peer.CIDR, peer.Internal = CIDRPeer, cidr, true
			rule.Peers = append(rule.Peers, peer)
		}
	case len(in.domains) > 0 && rule.Action == Accept:
		// Which addresses a name has is not known here: the peer matches
		// nothing, and the policy says so.
		b.warn(path+".domainNames", "is not evaluated: names of domains match no address here")
	default:
		rule.closed = true
		b.warn(path, "holds no kind of peer that is known, so the rule fails closed")
	}
}

func (b *builder) port(rule *ruleBuilder, path string, port Port, err error) {
	b.fail(path, err)
	port.Line = b.p.Source.LineOf(path)
	rule.AnyPort = false
	rule.Ports = append(rule.Ports, port)
}

// finish applies "fail closed" as the specification words it: an Accept rule
// matches no traffic, any other is a rule that denies all (case 38).
func (r *ruleBuilder) finish() Rule {
	if !r.closed {
		return r.Rule
	}
	out := Rule{Index: r.Index, Name: r.Name, Action: r.Action, Line: r.Line, Closed: true, AnyPort: true}
	if r.Action != Accept {
		out.Action, out.AnyPeer = Deny, true
	}
	return out
}
