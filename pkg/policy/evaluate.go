// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// Evaluator is the reference: what a set of policies means in a world. It is
// immutable; many may ask at once.
type Evaluator struct {
	view      *View
	policies  []*Policy            // admin and baseline tiers, in order
	network   map[string][]*Policy // NetworkPolicies by namespace, in order
	nodeNames []string
}

// NewEvaluator makes an evaluator. Neither world nor policies may change
// afterwards.
func NewEvaluator(w *identity.World, policies []*Policy) *Evaluator {
	return NewEvaluatorOf(NewView(w), policies)
}

// NewEvaluatorOf is NewEvaluator for a world that is indexed already.
func NewEvaluatorOf(v *View, policies []*Policy) *Evaluator {
	e := &Evaluator{view: v, network: map[string][]*Policy{}}
	sorted := slices.Clone(policies)
	slices.SortStableFunc(sorted, Compare)
	for _, p := range sorted {
		if p.Tier == Network {
			e.network[p.Namespace] = append(e.network[p.Namespace], p)
		} else {
			e.policies = append(e.policies, p)
		}
	}
	for name := range v.World.Nodes {
		e.nodeNames = append(e.nodeNames, name)
	}
	slices.Sort(e.nodeNames)
	return e
}

// Compare is the order in which policies are asked: tier, priority, then
// kind, namespace and name, which decide nothing but which of several equal
// rules is named.
func Compare(a, b *Policy) int {
	return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// View is the world that the evaluator speaks of.
func (e *Evaluator) View() *View { return e.view }

// Evaluate answers for one packet, both ends.
func (e *Evaluator) Evaluate(p Packet) *Result {
	x := e.ends(&p)
	a := answers{questions: e.questions(&p, x)}
	a.each(func(r *reading) []outcome {
		var out []outcome
		egress, whyOut := e.egress(&p, x, r)
		ingress, whyIn := e.ingress(&p, x, r)
		for _, eg := range egress {
			for _, in := range ingress {
				out = append(out, outcome{egress: eg, ingress: in, whyOut: whyOut, whyIn: whyIn})
			}
		}
		return out
	})
	return a.summarize(x)
}

// Words for why an end is not asked.
const (
	whyNoPod     = "no pod of this cluster"
	whyOwn       = "a pod always reaches its own address"
	whyOwnNode   = "a node always reaches its own pods"
	whyNeighbour = "neighbour discovery always passes"
	whyHairpin   = "a pod always reaches itself, in this reading"
	whyHost      = "policies don't cover pods on the host network, in this reading"
)

var unjudged = []Decision{{Verdict: flow.NotJudged}}

var allowed = []Decision{{Verdict: flow.Allow}}

// egress judges at the source. More than one decision: policies of equal
// priority disagree.
func (e *Evaluator) egress(p *Packet, x *ends, r *reading) ([]Decision, string) {
	subject := x.src.pod
	if subject == nil {
		return unjudged, whyNoPod
	}
	if why := exempt(p, x, r, x.src.onHost()); why != "" {
		return allowed, why
	}
	t := target{ip: p.Destination, port: p.Port, end: x.dst}
	if r.backend != nil {
		t = target{ip: r.backend.IP, port: r.backend.Port, end: e.end(r.backend.IP, ""), service: p.Destination, servicePort: p.Port}
		if r.hairpinExempt && t.end.owned() == subject {
			return e.exceptIsolation(e.decide(flow.Egress, subject, p, t, r, x.src.onHost())), whyHairpin
		}
	}
	return e.decide(flow.Egress, subject, p, t, r, x.src.onHost()), ""
}

// ingress judges at the destination, as it sees the packet.
func (e *Evaluator) ingress(p *Packet, x *ends, r *reading) ([]Decision, string) {
	dst, port := x.dst, p.Port
	if r.backend != nil {
		dst, port = e.end(r.backend.IP, ""), r.backend.Port
	}
	subject := dst.pod
	if subject == nil {
		return unjudged, whyNoPod
	}
	src := x.src
	if r.source.IsValid() {
		src = e.end(r.source, "")
	}
	if why := exempt(p, x, r, dst.onHost()); why != "" {
		return allowed, why
	}
	if src.node != nil && src.node.Name != "" && src.node.Name == subject.Node {
		return allowed, whyOwnNode // case 24
	}
	t := target{ip: src.ip, port: port, end: src}
	decisions := e.decide(flow.Ingress, subject, p, t, r, dst.onHost())
	if r.hairpinExempt && r.backend != nil && src.owned() == subject {
		return e.exceptIsolation(decisions), whyHairpin
	}
	return decisions, ""
}

// exempt names what is allowed before any policy is asked.
func exempt(p *Packet, x *ends, r *reading, onHost bool) string {
	switch {
	case p.Protocol == flow.ICMPv6 && p.HasICMPType && p.ICMPType >= 133 && p.ICMPType <= 137:
		return whyNeighbour // case 35
	case p.Source == p.Destination:
		return whyOwn // case 21
	case onHost && !r.hostCovered:
		return whyHost // case 25
	}
	return ""
}

// exceptIsolation turns default denies into allows: the deny rules of a
// ClusterNetworkPolicy hold for a hairpin by its text (case 22).
func (e *Evaluator) exceptIsolation(in []Decision) []Decision {
	out := slices.Clone(in)
	for i, d := range out {
		if d.IsolatedBy != nil {
			out[i] = Decision{Verdict: flow.Allow}
		}
	}
	return out
}

// target is the peer of the subject.
type target struct {
	ip   netip.Addr
	port uint16 // of the destination, in either direction
	end  end
	// service and its port are what the source addressed; invalid if it is no service.
	service     netip.Addr
	servicePort uint16
}

// decide asks the tiers in order.
func (e *Evaluator) decide(d flow.Direction, subject *identity.Pod, p *Packet, t target, r *reading, onHost bool) []Decision {
	m := matcher{e: e, direction: d, subject: subject, protocol: p.Protocol, target: t, reading: r}
	if onHost { // case 25: ClusterNetworkPolicy excludes them by its text
		if below := m.network(); below != nil {
			return below
		}
		return allowed
	}
	var out []Decision
	for _, first := range m.ordered(Admin) {
		if first.Rule != nil && first.Rule.Action != Pass {
			out = append(out, decided(first))
			continue
		}
		if below := m.network(); below != nil {
			out = append(out, below...)
			continue
		}
		for _, last := range m.ordered(Baseline) {
			out = append(out, decided(last)) // nothing is below: Pass allows
		}
	}
	return out
}

func decided(d Decision) Decision {
	d.Verdict = flow.Allow
	if d.Rule != nil && d.Rule.Action == Deny {
		d.Verdict = flow.Deny
	}
	return d
}

// ordered finds the first rule of the tier that matches. Policies of equal
// priority may be asked in any order: if they lead to different actions there
// is more than one answer, one for each action (case 37). A decision without
// rule: none matches.
func (m *matcher) ordered(tier Tier) []Decision {
	policies := m.e.policies
	for i := 0; i < len(policies); {
		group := i
		var hits []Decision
		for ; i < len(policies) && policies[i].Tier == policies[group].Tier && policies[i].Priority == policies[group].Priority; i++ {
			if p := policies[i]; p.Tier == tier && m.e.view.Selects(&p.Subject, m.subject) {
				if rule := m.first(p); rule != nil {
					hits = append(hits, Decision{Policy: p, Rule: rule})
				}
			}
		}
		if len(hits) > 0 {
			return distinctActions(hits)
		}
	}
	return []Decision{{}}
}

func distinctActions(hits []Decision) []Decision {
	var out []Decision
	for _, h := range hits {
		if !slices.ContainsFunc(out, func(o Decision) bool { return o.Rule.Action == h.Rule.Action }) {
			out = append(out, h)
		}
	}
	return out
}

// network asks the NetworkPolicies. Nil: none isolates the subject there.
func (m *matcher) network() []Decision {
	var isolating []*Policy
	for _, p := range m.e.network[m.subject.Namespace] {
		if !p.Isolates(m.direction) || !m.e.view.Selects(&p.Subject, m.subject) {
			continue
		}
		isolating = append(isolating, p)
	}
	for _, p := range isolating {
		if rule := m.first(p); rule != nil {
			return []Decision{{Verdict: flow.Allow, Policy: p, Rule: rule}}
		}
	}
	switch {
	case len(isolating) == 0:
		return nil
	case m.reading.othersExempt && !m.protocol.HasPorts(): // case 36
		return allowed
	}
	return []Decision{{Verdict: flow.Deny, IsolatedBy: isolating}}
}
