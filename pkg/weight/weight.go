// SPDX-License-Identifier: Apache-2.0

package weight

import (
	"cmp"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Estimate is what one policy weighs.
type Estimate struct {
	Kind    flow.RuleKind `json:"kind"`
	Policy  string        `json:"policy"` // namespace/name, or name
	Profile Profile       `json:"profile"`
	Weight  float64       `json:"weight"` // 1 is all that a cluster holds
	// Covers are the profiles of the limits that cover its rules.
	Covers []Cover `json:"covers,omitempty"`
	// Unknown counts rules that no profile of the limits can cover: the weight
	// leaves them out.
	Unknown int    `json:"unknown,omitempty"`
	Why     string `json:"why,omitempty"` // if it weighs nothing

	namespace string
}

// Cover is one rule, or one half of it, covered by copies of a profile.
type Cover struct {
	Profile Profile `json:"profile"`
	Copies  int     `json:"copies"`
	Weight  float64 `json:"weight"`
}

// Of weighs one policy.
func (w *Weigher) Of(p *policy.Policy) Estimate {
	local := w.localPods(p)
	shapes := w.shapes(p, local)
	out := Estimate{Kind: p.Kind, Policy: p.Key(), Profile: profileOf(local, shapes), namespace: p.Namespace}
	switch {
	case local == 0:
		out.Why = "selects no pod"
		return out
	case len(p.Ingress)+len(p.Egress) == 0:
		out.Why = "denies only"
		return out
	case len(shapes) == 0:
		out.Why = "its rules match no peer"
		return out
	}
	for _, s := range shapes {
		covers := w.cover(s)
		if covers == nil {
			out.Unknown++
		}
		for _, c := range covers {
			out.Weight += c.Weight
			out.Covers = append(out.Covers, c)
		}
	}
	return out
}

// cover finds the lightest way to cover a rule: by one profile, or, if it has
// peers of both kinds, by one for each kind. Nil: there is none.
func (w *Weigher) cover(s ruleShape) []Cover {
	best := w.lightest(s)
	if s.CIDRs == 0 || s.allPeers == 0 {
		return best
	}
	blocks, selectors := s, s
	blocks.PodSelectors, blocks.allPeers, selectors.CIDRs = 0, 0, 0
	a, b := w.lightest(blocks), w.lightest(selectors)
	if a != nil && b != nil && (best == nil || a[0].Weight+b[0].Weight < best[0].Weight) {
		return []Cover{a[0], b[0]}
	}
	return best
}

func (w *Weigher) lightest(s ruleShape) []Cover {
	var best []Cover
	for _, l := range w.limits {
		n, ok := copies(s, &l)
		if !ok {
			continue
		}
		c := Cover{l.Profile, n, float64(n) / float64(l.Policies)}
		if best == nil || c.Weight < best[0].Weight {
			best = []Cover{c}
		}
	}
	return best
}

// copies is how many policies of the limit's profile do at least the work of
// the rule. Not ok: no number of them does. A profile with ports says nothing
// of rules without, and the other way round.
func copies(s ruleShape, l *Limit) (int, bool) {
	hasPorts := s.SinglePorts+s.PortRanges > 0
	if hasPorts != (l.SinglePorts+l.PortRanges > 0) {
		return 0, false
	}
	pods, ok1 := times(s.LocalPods, l.LocalPods)
	single, ok2 := times(s.SinglePorts, l.SinglePorts)
	ranges, ok3 := times(s.PortRanges, l.PortRanges)
	blocks, ok4 := times(s.CIDRs, l.CIDRs)
	selectors, peers, ok5, ok6 := 0, 0, true, true
	if s.allPeers > 0 {
		selectors, ok5 = times(s.PodSelectors, l.PodSelectors)
		peers, ok6 = times(s.allPeers, l.PeerNamespaces*l.PeerPods)
	}
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6) {
		return 0, false
	}
	return pods * max(single, ranges, 1) * max(selectors*peers, blocks, 1), true
}

// times is how often have must be taken to reach want.
func times(want, have int) (int, bool) {
	switch {
	case want == 0:
		return 0, true
	case have == 0:
		return 0, false
	}
	return (want + have - 1) / have, true
}

// Sum is what policies weigh together.
type Sum struct {
	Policies   []Estimate     `json:"policies"`   // heaviest first
	Namespaces []NamespaceSum `json:"namespaces"` // heaviest first
	Weight     float64        `json:"weight"`
	Unknown    int            `json:"unknown,omitempty"` // rules that no limit covers
}

// NamespaceSum is what the policies of a namespace weigh; empty name: those of
// the whole cluster.
type NamespaceSum struct {
	Namespace string  `json:"namespace"`
	Policies  int     `json:"policies"`
	Weight    float64 `json:"weight"`
}

// Sum weighs all.
func (w *Weigher) Sum(policies []*policy.Policy) Sum {
	var out Sum
	spaces := map[string]*NamespaceSum{}
	for _, p := range policies {
		e := w.Of(p)
		out.Policies = append(out.Policies, e)
		out.Weight += e.Weight
		out.Unknown += e.Unknown
		ns := spaces[e.namespace]
		if ns == nil {
			ns = &NamespaceSum{Namespace: e.namespace}
			spaces[e.namespace] = ns
		}
		ns.Policies++
		ns.Weight += e.Weight
	}
	for _, ns := range spaces {
		out.Namespaces = append(out.Namespaces, *ns)
	}
	slices.SortFunc(out.Policies, func(a, b Estimate) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Policy, b.Policy))
	})
	slices.SortFunc(out.Namespaces, func(a, b NamespaceSum) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Namespace, b.Namespace))
	})
	return out
}
