// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// What happens to policies, pods and the lease goes into the timeline, so that
// a verdict that changed stands beside what changed it. It isn't printed among
// the connections.

// The label of our own pods, as pkg/deploy sets it: what we do ourselves is no
// news.
const (
	probeLabel = "app.kubernetes.io/name"
	probeName  = "ebpol-probe"
)

// maxNews is how many events one frame may add; the rest are counted.
const maxNews = 100

// news reports whether an event is about what surrounds the traffic.
func news(e *flow.Event) bool {
	return e.Type == flow.PolicyEvent || e.Type == flow.PodEvent || e.Type == flow.LeaseEvent
}

// tell puts events into the timeline, and says how many more there were.
func (a *applying) tell(all []flow.Event) {
	for i := range all {
		if i == maxNews {
			e := flow.Event{Type: all[i].Type, Time: a.at, Note: fmt.Sprintf("%d more changed at once", len(all)-i)}
			a.s.events.add(&e, FlowID{})
			return
		}
		all[i].Time = a.at
		a.s.events.add(&all[i], FlowID{})
	}
}

// policyStands is a policy as the list last told of it.
type policyStands struct{ mode, text string }

// modes is how each policy stands; nil before the first list.
func (r *rules) modes() map[policyKey]policyStands {
	if r.version == 0 {
		return nil
	}
	out := make(map[policyKey]policyStands, len(r.policies))
	for _, p := range r.policies {
		row := PolicyRow{
			Origin: p.GetOrigin(), Current: p.GetCurrent(), Candidate: p.GetCandidate(),
			Enforced: p.GetEnforced(), NotEvaluated: p.GetNotEvaluated(),
		}
		mode := row.Mode()
		if mode == ModeLeftOut && !r.hasCandidate {
			mode = ModeCurrent // there is nothing that it could be left out of
		}
		out[policyKey{flow.RuleKind(p.GetKind()), p.GetNamespace(), p.GetName()}] = policyStands{mode, p.GetYaml()}
	}
	return out
}

// policiesChanged tells what is otherwise than it was.
func (a *applying) policiesChanged(was map[policyKey]policyStands) {
	if was == nil {
		return // the first list, or one that is still coming
	}
	var out []flow.Event
	add := func(k policyKey, what string) {
		rule := flow.Rule{Kind: k.kind, Namespace: k.namespace, Name: k.name}
		out = append(out, flow.Event{Type: flow.PolicyEvent, Rule: &rule, Note: string(k.kind) + " " + clean(rule.String()) + " " + what})
	}
	is := a.s.rules.modes()
	for k, now := range is {
		old, known := was[k]
		switch {
		case !known:
			add(k, "came: "+now.mode)
		case old.mode != now.mode:
			add(k, "is "+now.mode+" now, was "+old.mode)
		case old.text != now.text:
			add(k, "has another text, "+now.mode)
		}
	}
	for k, old := range was {
		if _, known := is[k]; !known {
			add(k, "is gone, was "+old.mode)
		}
	}
	slices.SortFunc(out, func(x, y flow.Event) int { return strings.Compare(x.Note, y.Note) })
	a.tell(out)
}

// leaseChanged tells that a node began or ceased to enforce.
func (a *applying) leaseChanged(m *wire.LeaseState) {
	e := flow.Event{Type: flow.LeaseEvent, Node: a.node, Note: "enforcement is over: nothing is dropped by this session any more"}
	if m.GetActive() {
		e.Note = "enforcement began, for " + time.Duration(m.GetTotalLeftNs()).Round(time.Second).String() + " at most"
	} else if r := clean(m.GetRefused()); r != "" {
		e.Note += ": " + r
	}
	a.tell([]flow.Event{e})
}

// podsChanged tells what a delta says of pods that the world before, if any,
// didn't know.
func (a *applying) podsChanged(was *identity.World, m *wire.World) {
	if was == nil || m.GetReset_() {
		return
	}
	var out []flow.Event
	add := func(p *identity.Pod, what string) {
		peer := &flow.Peer{Namespace: p.Namespace, Pod: p.Name, Workload: p.Workload, Node: p.Node}
		var ip netip.Addr
		if len(p.IPs) > 0 && !p.NoIP {
			ip = p.IPs[0]
		}
		peer.IP = ip
		out = append(out, flow.Event{Type: flow.PodEvent, Node: p.Node, Source: peer, Note: what})
	}
	is := a.s.names.ledger.World()
	for _, d := range m.GetPods() {
		key := d.GetNamespace() + "/" + d.GetName()
		old, now := was.Pods[key], is.Pods[key]
		switch {
		case now == nil, now.Labels[probeLabel] == probeName: // not ourselves
		case old == nil || old.UID != now.UID:
			if !now.Done && a.at.Sub(now.Created) < time.Minute { // else it is only new to us
				add(now, "came"+ready(now))
			}
		case now.Done && !old.Done:
			add(now, "ended")
		case now.Ready != old.Ready && !now.Done:
			add(now, map[bool]string{true: "is ready", false: "is not ready any more"}[now.Ready])
		}
	}
	for _, g := range m.GetGone() {
		key, _ := strings.CutPrefix(g, "pod ")
		if old := was.Pods[key]; old != nil && key != g && !old.Done && old.Labels[probeLabel] != probeName && is.Pods[key] == nil {
			add(old, "is gone")
		}
	}
	a.tell(out)
}

func ready(p *identity.Pod) string {
	if p.Ready {
		return ", is ready"
	}
	return ""
}
