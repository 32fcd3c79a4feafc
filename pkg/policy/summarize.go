// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// outcome is what one combination of answers leads to.
type outcome struct {
	egress, ingress Decision
	whyOut, whyIn   string
}

// of is what an outcome says, as a whole or for one end.
type of func(outcome) flow.Verdict

func bothEnds(o outcome) flow.Verdict {
	if o.egress.allows() && o.ingress.allows() {
		return flow.Allow
	}
	return flow.Deny
}

func atSource(o outcome) flow.Verdict { return o.egress.verdict() }

func atDestination(o outcome) flow.Verdict { return o.ingress.verdict() }

func (d Decision) verdict() flow.Verdict {
	if d.allows() {
		return flow.Allow
	}
	return flow.Deny
}

// answers holds the outcomes of every combination of answers to the questions
// that matter for a packet. Combination 0 answers each question with its first
// answer; the first question counts fastest.
type answers struct {
	questions    []question
	combinations [][]outcome // more than one outcome: policies of equal priority disagree
}

// each fills in the outcomes.
func (a *answers) each(f func(*reading) []outcome) {
	picks := make([]int, len(a.questions))
	for {
		var r reading
		for i, q := range a.questions {
			q.answers[picks[i]].apply(&r)
		}
		a.combinations = append(a.combinations, f(&r))
		i := 0
		for ; i < len(picks); i++ {
			picks[i]++
			if picks[i] < len(a.questions[i].answers) {
				break
			}
			picks[i] = 0
		}
		if i == len(picks) {
			return
		}
	}
}

// summarize compares the outcomes of all readings: where they differ the
// verdict is contested.
func (a *answers) summarize(x *ends) *Result {
	r := &Result{Verdict: a.common(bothEnds), Readings: a.readings(bothEnds)}
	r.Enforced = bothEnds(a.taken(bothEnds))
	out := a.taken(atSource)
	r.Egress = End{Direction: flow.Egress, Verdict: a.common(atSource), Why: out.whyOut, Subject: x.src.pod, Decision: out.egress, Readings: a.readings(atSource)}
	in := a.taken(atDestination)
	r.Ingress = End{Direction: flow.Ingress, Verdict: a.common(atDestination), Why: in.whyIn, Subject: x.dst.pod, Decision: in.ingress, Readings: a.readings(atDestination)}
	for _, e := range []*End{&r.Egress, &r.Ingress} {
		if e.Verdict == flow.Allow && e.Decision.Verdict == flow.NotJudged {
			e.Verdict = flow.NotJudged
		}
	}
	return r
}

// taken is the outcome that enforcement takes at one end: of those that give
// settled questions their first answer, one that allows both ends if there is
// one, else one that allows this end, else the first.
func (a *answers) taken(end of) outcome {
	for _, f := range []of{bothEnds, end} {
		for i, c := range a.combinations {
			if !a.enforceable(i) {
				continue
			}
			for _, o := range c {
				if f(o) == flow.Allow {
					return o
				}
			}
		}
	}
	return a.combinations[0][0]
}

// enforceable says whether the combination answers each settled question with
// its first answer.
func (a *answers) enforceable(combination int) bool {
	for _, q := range a.questions {
		if q.settled && combination%len(q.answers) != 0 {
			return false
		}
		combination /= len(q.answers)
	}
	return true
}

func common(outcomes []outcome, f of) flow.Verdict {
	v := f(outcomes[0])
	for _, o := range outcomes[1:] {
		if f(o) != v {
			return flow.Contested
		}
	}
	return v
}

func (a *answers) common(f of) flow.Verdict {
	v := common(a.combinations[0], f)
	for _, c := range a.combinations[1:] {
		if common(c, f) != v {
			return flow.Contested
		}
	}
	return v
}

// readings lists the answers to every question that the verdict turns on: two
// combinations that differ in that answer alone have different verdicts.
// Nothing if all outcomes agree.
func (a *answers) readings(f of) []Reading {
	if a.common(f) != flow.Contested {
		return nil
	}
	var list []Reading
	stride := 1
	for _, q := range a.questions {
		verdicts := a.turnsOn(stride, len(q.answers), f)
		stride *= len(q.answers)
		var seen []flow.Verdict
		for i, v := range verdicts {
			// Of a hundred backends, one of each verdict says enough.
			if !slices.Contains(seen, v) {
				list = append(list, Reading{Case: q.id, Text: q.answers[i].text, Verdict: v})
			}
			seen = append(seen, v)
		}
	}
	return append(list, a.priorities(f)...)
}

// turnsOn finds answers to all other questions under which the answers to one
// question lead to different verdicts, and gives the verdict of each answer
// there. Nil: there are none. Combinations that differ in that question alone
// are stride apart.
func (a *answers) turnsOn(stride, answers int, f of) []flow.Verdict {
	for base := range a.combinations {
		if base/stride%answers != 0 {
			continue
		}
		verdicts := make([]flow.Verdict, answers)
		differ := false
		for i := range verdicts {
			verdicts[i] = common(a.combinations[base+i*stride], f)
			differ = differ || verdicts[i] != verdicts[0]
		}
		if differ {
			return verdicts
		}
	}
	return nil
}

// priorities lists policies of equal priority that lead to different verdicts.
func (a *answers) priorities(f of) []Reading {
	for _, c := range a.combinations {
		for _, o := range c[1:] {
			if f(o) != f(c[0]) {
				return []Reading{
					{CasePriority, "of policies with equal priority, " + first(c[0], o), f(c[0])},
					{CasePriority, "of policies with equal priority, " + first(o, c[0]), f(o)},
				}
			}
		}
	}
	return nil
}

// first says which policy goes first in a, unlike in b.
func first(a, b outcome) string {
	d := a.egress
	if a.egress.Rule == b.egress.Rule && (a.egress.IsolatedBy == nil) == (b.egress.IsolatedBy == nil) {
		d = a.ingress
	}
	if d.Policy != nil && d.Policy.Tier != Network {
		return d.Policy.RuleRef(d.Rule.Index).String() + " goes first"
	}
	return "one that passes goes first"
}
