// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// redundant finds rules without which nothing would be judged differently.
func (l *linter) redundant(p *policy.Policy) {
	directions(p, func(d flow.Direction, _ string) {
		rules := p.Rules(d)
		for i := range rules {
			if rules[i].Closed {
				continue
			}
			if p.Tier == policy.Network {
				l.allowedAnyway(p, d, &rules[i])
			} else {
				l.shadowed(p, d, &rules[i])
			}
		}
	})
}

// shadowed: in a policy with order, an earlier rule that matches as much.
func (l *linter) shadowed(p *policy.Policy, d flow.Direction, r *policy.Rule) {
	rules := p.Rules(d)
	for j := range rules {
		if &rules[j] == r {
			return
		}
		if !rules[j].Covers(r) {
			continue
		}
		reason := fmt.Sprintf("rule %d (%s) comes first and matches all that this rule matches: this %s never happens", rules[j].Index, rules[j].Action, r.Action)
		l.report("shadowed-rule", p, ruleField(d, r.Index), reason, "put the narrower rule first, or leave it out")
		return
	}
}

// allowedAnyway: among NetworkPolicies, any rule for at least the same pods
// that allows as much. Of two equal rules the later is reported.
func (l *linter) allowedAnyway(p *policy.Policy, d flow.Direction, r *policy.Rule) {
	if !r.AnyPeer && len(r.Peers) == 0 {
		return
	}
	after := false // whether other comes after p in the order of evaluation
	for _, other := range l.network[p.Namespace] {
		if other == p {
			after = true
		}
		if !other.Subject.Pods.Covers(p.Subject.Pods) {
			continue
		}
		rules := other.Rules(d)
		for j := range rules {
			o := &rules[j]
			if o == r || o.Closed || !o.Covers(r) {
				continue
			}
			later := after && (other != p || o.Index > r.Index)
			equal := r.Covers(o) && p.Subject.Pods.Covers(other.Subject.Pods)
			if later && equal {
				continue
			}
			where := fmt.Sprint(o.Index)
			if other != p {
				where = fmt.Sprintf("%d of %s", o.Index, other.Key())
			}
			l.report("redundant-rule", p, ruleField(d, r.Index), fmt.Sprintf("%s rule %s allows all that this rule allows", d, where), "leave this rule out, or narrow the other")
			return
		}
	}
}
