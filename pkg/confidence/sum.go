// SPDX-License-Identifier: Apache-2.0

package confidence

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// Input is what a report is made of.
type Input struct {
	Log      *traffic.Log
	Coverage *traffic.Coverage
	Policies []*policy.Policy // that the dry-run adds or changes
	Without  []*policy.Policy // that it leaves out
	Source   string
	Time     time.Time // the newest moment that is known of

	Warnings     []string
	NotEvaluated []string
}

const listed = 100 // pods that are named in a report

// Sum makes the report.
func Sum(in Input) *Report {
	c := in.Coverage
	r := &Report{
		Type: "summary", Time: in.Time.UTC(), Source: in.Source, Began: c.Began.UTC(), Seconds: c.Window().Seconds(), Nodes: len(c.Nodes), NodesDown: c.Down,
		Changes: []Change{}, Policies: []Policy{}, NoJobs: c.NoJobs, Missed: c.Missed(), Warnings: in.Warnings, NotEvaluated: in.NotEvaluated,
	}
	seen := in.Log.Seen()
	active := map[string]bool{}
	for _, s := range seen {
		if s.Verdict != flow.NotJudged && !s.Dropped {
			r.Flows += s.Flows
		}
		if p := s.Subject(); p.Pod != "" && !s.Dropped {
			active[p.Namespace+"/"+p.Pod] = true
		}
		if !s.WouldChange() {
			continue
		}
		switch {
		case s.Candidate == flow.Deny:
			r.WouldDeny += s.Flows
			r.Cut += s.Live
		case s.Candidate == flow.Allow:
			r.WouldAllow += s.Flows
		default:
			r.Disputed += s.Flows
		}
	}
	r.Pods = len(active)
	r.changes(seen)
	view := policy.NewView(worldOf(in.Log))
	r.policies(&in, view, seen)
	r.pods(&in, view, active)
	r.jobs(&in)
	return r
}

func worldOf(l *traffic.Log) *identity.World {
	if w := l.World(); w != nil {
		return w
	}
	return &identity.World{}
}

// changes groups flows that change by who, whom, where and why.
func (r *Report) changes(seen []*traffic.Seen) {
	type group struct {
		direction          flow.Direction
		protocol           flow.Protocol
		source, to         string
		port               uint16
		verdict, candidate flow.Verdict
		was, is            string
	}
	found := map[group]*Change{}
	for _, s := range seen {
		if !s.WouldChange() {
			continue
		}
		g := group{s.Direction, s.Protocol, s.Source.Label(), s.Destination.Label(), s.Destination.Port, s.Verdict, s.Candidate, why(s.Rule, s.IsolatedBy), why(s.CandidateRule, s.CandidateIsolatedBy)}
		c := found[g]
		if c == nil {
			c = &Change{
				seen: s, Direction: s.Direction.String(), Protocol: s.Protocol.String(), Source: g.source, Destination: g.to, Port: g.port,
				Verdict: s.Verdict.String(), Candidate: s.Candidate.String(),
				Rule: s.Rule, IsolatedBy: s.IsolatedBy, CandidateRule: s.CandidateRule, CandidateIsolatedBy: s.CandidateIsolatedBy,
				First: s.First.UTC(), Last: s.Last.UTC(),
			}
			found[g] = c
		}
		c.Flows += s.Flows
		c.Open += s.Live
		if s.First.Before(c.First) {
			c.First = s.First.UTC()
		}
		if s.Last.After(c.Last) {
			c.Last = s.Last.UTC()
		}
	}
	for _, c := range found {
		r.Changes = append(r.Changes, *c)
	}
	slices.SortFunc(r.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Candidate, b.Candidate),
			cmp.Compare(why(a.CandidateRule, a.CandidateIsolatedBy), why(b.CandidateRule, b.CandidateIsolatedBy)), cmp.Compare(why(a.Rule, a.IsolatedBy), why(b.Rule, b.IsolatedBy)))
	})
}

func why(rule *flow.Rule, isolatedBy []flow.Rule) string {
	out := ""
	if rule != nil {
		out = string(rule.Kind) + " " + rule.String()
	}
	for i := range isolatedBy {
		out += " " + isolatedBy[i].String()
	}
	return out
}

// policies counts what each policy and each of its rules decided.
func (r *Report) policies(in *Input, view *policy.View, seen []*traffic.Seen) {
	for removed, list := range [][]*policy.Policy{in.Policies, in.Without} {
		for _, p := range list {
			out := Policy{Kind: string(p.Kind), Namespace: p.Namespace, Name: p.Name, Removed: removed == 1}
			for _, pod := range view.World.Pods {
				if !pod.Done && !pod.HostNetwork && view.Selects(&p.Subject, pod) {
					out.Pods++
				}
			}
			for _, d := range []flow.Direction{flow.Ingress, flow.Egress} {
				for i := range p.Rules(d) {
					rule := &p.Rules(d)[i]
					out.Rules = append(out.Rules, Rule{Direction: d.String(), Index: rule.Index, Line: rule.Line})
				}
			}
			for _, s := range seen {
				out.count(s, removed == 1)
			}
			r.Policies = append(r.Policies, out)
		}
	}
}

func (p *Policy) count(s *traffic.Seen, removed bool) {
	rule, isolatedBy := s.CandidateRule, s.CandidateIsolatedBy
	if removed {
		rule, isolatedBy = s.Rule, s.IsolatedBy
	}
	is := func(r *flow.Rule) bool {
		return string(r.Kind) == p.Kind && r.Namespace == p.Namespace && r.Name == p.Name
	}
	hit := rule != nil && is(rule)
	if hit && rule.Index != nil {
		for i := range p.Rules {
			if p.Rules[i].Direction == s.Direction.String() && p.Rules[i].Index == *rule.Index {
				p.Rules[i].Hits += uint64(s.Flows) //nolint:gosec // a count
			}
		}
	}
	for i := range isolatedBy {
		hit = hit || is(&isolatedBy[i])
	}
	if !hit {
		return
	}
	p.Hits += uint64(s.Flows) //nolint:gosec // a count
	if !removed && s.WouldChange() && s.Candidate == flow.Deny {
		p.WouldDeny += uint64(s.Flows) //nolint:gosec // a count
	}
}

// pods says which of those that the policies are for were not seen.
func (r *Report) pods(in *Input, view *policy.View, active map[string]bool) {
	all, still := map[string]int{}, map[string]int{}
	selected := view.World.SelectPods(func(pod *identity.Pod) bool {
		return !pod.Done && !pod.HostNetwork && slices.ContainsFunc(slices.Concat(in.Policies, in.Without), func(p *policy.Policy) bool { return view.Selects(&p.Subject, pod) })
	})
	r.Selected = len(selected)
	r.Unwatched, _ = in.Coverage.Unwatched(selected)
	r.Unwatched = r.Unwatched[:min(len(r.Unwatched), listed)]
	for _, key := range in.Coverage.Watched {
		if !active[key] && len(r.Quiet) < listed {
			r.Quiet = append(r.Quiet, key)
		}
	}
	for _, p := range selected {
		w := p.Namespace + "/" + p.Workload
		all[w]++
		if !active[p.Key()] {
			still[w]++
		}
	}
	for _, w := range slices.Sorted(maps.Keys(still)) {
		r.Replicas = append(r.Replicas, fmt.Sprintf("%d of %d pods of %s", still[w], all[w], w))
	}
}

// jobs are the CronJobs of namespaces that the policies speak about, which
// did not run: as subjects or as peers they may be cut.
func (r *Report) jobs(in *Input) {
	about := map[string]bool{}
	everywhere := false
	for _, p := range slices.Concat(in.Policies, in.Without) {
		about[p.Namespace] = true
		everywhere = everywhere || p.Namespace == ""
	}
	for _, j := range in.Log.Idle(in.Coverage.CronJobs) {
		if !j.Suspended && (everywhere || about[j.Namespace]) {
			r.CronJobs = append(r.CronJobs, j)
		}
	}
	slices.SortFunc(r.CronJobs, func(a, b traffic.CronJob) int { return strings.Compare(a.Key(), b.Key()) })
}
