// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"maps"
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// Judge asks the reference evaluator about flows of a log, each in the world
// of its time.
type Judge struct {
	views []*policy.View
	past  map[*Seen]int // which view; absent: the first, which is the present
}

// Judge prepares to ask about all that the log has seen.
func (l *Log) Judge() *Judge {
	base := l.world
	if base == nil {
		base = &identity.World{}
	}
	j := &Judge{views: []*policy.View{policy.NewView(base)}, past: map[*Seen]int{}}
	var overlays []map[netip.Addr]*identity.Pod
	placed := map[*Seen]int{}
	for _, s := range l.Seen() {
		gone := j.gone(l, s)
		if len(gone) == 0 {
			continue
		}
		at := -1
		for i, o := range overlays {
			if fits(o, gone) {
				at = i
				break
			}
		}
		if at < 0 {
			overlays = append(overlays, map[netip.Addr]*identity.Pod{})
			at = len(overlays) - 1
		}
		maps.Copy(overlays[at], gone)
		placed[s] = at
	}
	for _, o := range overlays {
		j.views = append(j.views, policy.NewView(overlay(base, o)))
	}
	for s, at := range placed {
		j.past[s] = at + 1
	}
	return j
}

// gone are the pods of a flow that no longer have the addresses of then.
func (j *Judge) gone(l *Log, s *Seen) map[netip.Addr]*identity.Pod {
	var out map[netip.Addr]*identity.Pod
	ends := []*flow.Peer{&s.Source, &s.Destination}
	if s.Backend != nil {
		ends = append(ends, s.Backend)
	}
	for _, e := range ends {
		if e.Pod == "" {
			continue
		}
		k := e.Namespace + "/" + e.Pod
		if now := j.views[0].Pod(e.IP); now != nil && now.Key() == k {
			continue
		}
		if p := l.pods[k]; p != nil && p.HostNetwork {
			continue
		}
		if out == nil {
			out = map[netip.Addr]*identity.Pod{}
		}
		out[e.IP] = l.then(e)
	}
	return out
}

// then is the pod as it was when it had the address.
func (l *Log) then(e *flow.Peer) *identity.Pod {
	p := identity.Pod{Namespace: e.Namespace, Name: e.Pod, Workload: e.Workload, Node: e.Node}
	if known := l.pods[p.Key()]; known != nil {
		p = *known
	}
	p.Done, p.IPs = false, []netip.Addr{e.IP}
	return &p
}

func fits(have, want map[netip.Addr]*identity.Pod) bool {
	for ip, p := range want {
		if h := have[ip]; h != nil && h.Key() != p.Key() {
			return false
		}
	}
	return true
}

// overlay is the world with pods that are gone, and without those that have
// their addresses now.
func overlay(w *identity.World, gone map[netip.Addr]*identity.Pod) *identity.World {
	out := *w
	out.Pods = make(map[string]*identity.Pod, len(w.Pods)+len(gone))
	for k, p := range w.Pods {
		taken := false
		for _, ip := range p.IPs {
			taken = taken || gone[ip] != nil && !p.HostNetwork
		}
		if !taken {
			out.Pods[k] = p
		}
	}
	for ip, p := range gone {
		if have := out.Pods[p.Key()]; have != nil && !have.Done {
			both := *have // two families: two addresses of one pod
			both.IPs = append([]netip.Addr{ip}, have.IPs...)
			p = &both
		}
		out.Pods[p.Key()] = p
	}
	return &out
}

// Set is a set of policies that a judge asks.
type Set struct {
	j          *Judge
	policies   []*policy.Policy
	evaluators []*policy.Evaluator
}

// With prepares to ask a set of policies.
func (j *Judge) With(policies []*policy.Policy) *Set {
	return &Set{j: j, policies: policies, evaluators: make([]*policy.Evaluator, len(j.views))}
}

// Ask says what the policies say at the subject of a flow. Where a service's
// backend is known the backend is asked about, since it is what was reached.
func (s *Set) Ask(f *Seen) policy.End {
	p := policy.Packet{Protocol: f.Protocol, Source: f.Source.IP, Destination: f.Destination.IP, Port: f.Destination.Port}
	if f.Backend != nil && f.Direction == flow.Egress {
		p.Destination, p.Port = f.Backend.IP, f.Backend.Port
	}
	return s.AskPacket(f, p)
}

// AskPacket is Ask for another packet of the same pods.
func (s *Set) AskPacket(f *Seen, p policy.Packet) policy.End {
	r := s.evaluator(f).Evaluate(p)
	end := r.Ingress
	if f.Direction == flow.Egress {
		end = r.Egress
	}
	if end.Verdict == flow.NotJudged {
		end.Verdict = flow.Allow
	}
	return end
}

func (s *Set) evaluator(f *Seen) *policy.Evaluator {
	at := s.j.past[f]
	if s.evaluators[at] == nil {
		s.evaluators[at] = policy.NewEvaluatorOf(s.j.views[at], s.policies)
	}
	return s.evaluators[at]
}

// View is who is who at the time of a flow.
func (j *Judge) View(f *Seen) *policy.View { return j.views[j.past[f]] }

// Now is who is who at the end.
func (j *Judge) Now() *policy.View { return j.views[0] }

// Apply writes what the policies say into a flow: as its candidate's verdict.
func (s *Set) Apply(f *Seen) {
	end := s.Ask(f)
	f.Candidate, f.CandidateRule, f.CandidateIsolatedBy = end.Verdict, nil, nil
	if end.Decision.Policy != nil && end.Decision.Rule != nil {
		r := end.Decision.Policy.RuleRef(end.Decision.Rule.Index)
		f.CandidateRule = &r
	}
	for _, p := range end.Decision.IsolatedBy {
		f.CandidateIsolatedBy = append(f.CandidateIsolatedBy, p.Ref())
	}
}

// Whole is what the policies say about a packet at both of its ends.
func (s *Set) Whole(f *Seen, p policy.Packet) flow.Verdict {
	return s.evaluator(f).Evaluate(p).Verdict
}
