// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"slices"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// stable is how long a verdict must stand before a disagreement is claimed:
// rules reach us, and whoever enforces them, at different moments.
const stable = 2 * time.Second

// silent is the same where nothing but silence speaks for it: no drop was seen,
// and what arrived at a busy node may be told late.
const silent = 5 * time.Second

// agree compares the verdict of the cluster's policies with the outcome, and
// says whether that is final. It claims a disagreement only if nothing that is
// ordinary explains it.
func (s *Store) agree(r *row) bool {
	claimed, note := r.agreement, r.note
	r.agreement, r.note = "", ""
	if r.verdict == flow.NotJudged || r.outcome == "" || !r.protocol.HasPorts() || r.enforced {
		return r.outcome != ""
	}
	delivered := s.delivered(r)
	stopped := r.outcome == flow.Dropped || r.outcome == flow.NotArrived || r.outcome == flow.Rejected
	ordinary := r.preex || r.guessed // opened under rules that nobody knows
	switch {
	case !delivered && !stopped:
		if r.outcome == flow.Retransmitting && r.verdict == flow.Deny {
			r.agreement = flow.Agrees
		}
		return false
	case r.verdict == flow.Contested:
		if !r.service && !ordinary && r.altered == 0 {
			r.agreement = flow.ContestedButSettled
		}
		return true
	case r.verdict == flow.Deny && stopped, r.verdict == flow.Allow && delivered && !s.answerLost(r):
		r.agreement = flow.Agrees
	case r.verdict == flow.Allow && stopped && s.deniedFar(r):
		return true
	case ordinary, r.altered > 0, s.foreign(r):
		// An established connection may outlive a change of the rules
		// (SEMANTICS case 20); what others' policies say isn't known.
		return true
	case s.age(r) < stable, r.fault == nil && (r.outcome == flow.NotArrived || s.answerLost(r)) && s.age(r) < silent:
		return false
	case r.done && r.verdict == flow.Deny && claimed == flow.DeniedButDelivered:
		r.agreement, r.note = claimed, note // it was judged again until it ended: its end takes nothing back
		return true
	case s.rulesMoved(r):
		return true // a connection that has ended isn't judged again
	case r.verdict == flow.Deny:
		r.agreement, r.note = flow.DeniedButDelivered, s.since(r, r.deniers())
	default:
		s.wronglyStopped(r)
	}
	s.isolated(r)
	return true
}

// delivered says whether the packets that opened the connection came to the
// far pod.
func (s *Store) delivered(r *row) bool {
	switch r.outcome {
	case flow.Answered, flow.Unanswered, flow.Reset, flow.HalfOpen:
		return true
	case flow.Refused:
		return r.direction == flow.Ingress || r.other() != nil
	case flow.Dropped:
		return (r.direction == flow.Ingress || r.other() != nil) && (r.fault == nil || !r.fault.inside)
	}
	return false
}

// answerLost: delivered, answered, and the answer was stopped on its way back.
func (s *Store) answerLost(r *row) bool {
	egress := r
	if r.direction == flow.Ingress {
		egress = r.other()
	}
	if egress == nil || egress.other() == nil {
		return false
	}
	back, _ := egress.replied()
	sent, _ := egress.other().replied()
	return back == 0 && sent > 0 && s.age(egress) >= patience
}

// deniers are the rules that deny a row: one, or all policies that isolate.
func (r *row) deniers() []flow.Rule {
	if r.rule != nil {
		return []flow.Rule{*r.rule}
	}
	return r.isolatedBy
}

// wronglyStopped: the row's own end allows; the other end must allow too
// before anyone is blamed.
func (s *Store) wronglyStopped(r *row) {
	if r.outcome == flow.Rejected && r.fault == nil && r.icmp != nil && (r.icmp.who == nil || r.icmp.who.node == "") {
		return // a router outside says so; no policy of the cluster is its business
	}
	switch verdict, _ := s.farVerdict(r); verdict {
	case flow.Contested:
		r.agreement = flow.ContestedButSettled
		return
	case flow.NotJudged:
		return // not known
	}
	r.agreement, r.note = flow.AllowedButDropped, s.since(r, nil)
	if r.culprit == "" {
		r.culprit = "not known: " + r.because
	}
}

// deniedFar says whether the other end denies what this one allows: then it
// was rightly stopped.
func (s *Store) deniedFar(r *row) bool {
	verdict, by := s.farVerdict(r)
	if verdict != flow.Deny {
		return false
	}
	r.agreement = flow.Agrees
	if len(by) > 0 {
		r.note = "denied at the other end by " + ruleList(by)
	}
	s.isolatedFar(r, by)
	return true
}

// foreign says whether policies that nobody here judges may have decided.
func (s *Store) foreign(r *row) bool {
	if s.rules.notEvaluated == 0 {
		return false
	}
	return slices.ContainsFunc(s.rules.policies, func(p policyState) bool {
		return p.GetNotEvaluated() != "" && (p.GetNamespace() == "" || p.GetNamespace() == r.localWho.namespace || p.GetNamespace() == r.peerWho.namespace)
	})
}

// rulesMoved says whether the rules changed between a connection's first
// packet and the moment at which its verdict counts as stable. One that is
// open has been judged again since.
func (s *Store) rulesMoved(r *row) bool {
	if r.verdict == flow.Deny && !r.done {
		return false
	}
	moved := func(at time.Time) bool {
		return at.After(r.arrived.time().Add(-stable)) && at.Before(r.arrived.time().Add(2*stable))
	}
	if moved(s.rules.movedAt) {
		return true
	}
	n := s.nodes[r.id.Node]
	return n != nil && moved(n.appliedAt)
}

// since says how old everything is that a disagreement may be too young for.
func (s *Store) since(r *row, rules []flow.Rule) string {
	var parts []string
	young := false
	at := r.since
	if w := s.names.ledger.World(); w != nil && r.localWho.pod != "" {
		if p := w.Pods[r.localWho.namespace+"/"+r.localWho.pod]; p != nil {
			if from := s.readyAt(p.Key(), p.ReadySince); !from.IsZero() && at.After(from) {
				parts = append(parts, fmt.Sprintf("%s was ready for %s", p.Key(), old(at.Sub(from))))
				young = young || at.Sub(from) < notYet
			} else if !p.Created.IsZero() {
				parts = append(parts, fmt.Sprintf("%s was %s old", p.Key(), old(at.Sub(p.Created))))
				young = young || at.Sub(p.Created) < notYet
			}
		}
	}
	for _, rule := range rules[:min(len(rules), 3)] {
		if from := s.rules.changed(keyOf(&rule)); !from.IsZero() {
			rule.Index = nil
			parts = append(parts, fmt.Sprintf("%s in effect for %s", rule.String(), old(at.Sub(from))))
			young = young || at.Sub(from) < notYet
		}
	}
	text := joinWords(parts)
	switch {
	case len(rules) == 0 || text == "":
		return text
	case young:
		return "not yet enforced? " + text
	}
	return "not enforced: " + text
}

// notYet is how long whoever enforces policies may take to learn of a pod or a
// policy before it is called broken rather than late.
const notYet = 10 * time.Second

func old(d time.Duration) string {
	switch {
	case d < 0:
		return "no time"
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func joinWords(parts []string) string {
	switch len(parts) {
	case 0:
		return ""
	case 1:
		return parts[0]
	}
	text := parts[0]
	for _, p := range parts[1:] {
		text += ", " + p
	}
	return text
}

func ruleList(rules []flow.Rule) string {
	var parts []string
	for i := range rules[:min(len(rules), 3)] {
		parts = append(parts, rules[i].String())
	}
	return joinWords(parts)
}
