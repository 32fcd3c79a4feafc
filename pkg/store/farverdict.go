// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

type policyState = *wire.PolicyState

// reference judges what no kernel program saw arrive, by the texts of the
// policies that the session told of. It is asked only about what was stopped.
type reference struct {
	world   *identity.World
	version uint64 // of rules.policies
	view    *policy.View
	judge   *policy.Evaluator
	parsed  map[string]*policy.Policy // by text
	partial map[string]bool           // namespaces with a policy whose present text isn't known; "": cluster-wide
	built   time.Time
}

// rest between two evaluators: a world that changes all the time must not make
// us build one for each packet.
const rest = time.Second

// farVerdict is what the cluster's policies say at the end that r's packets
// were for: allow if no pod is there, not judged if it isn't known.
func (s *Store) farVerdict(r *row) (flow.Verdict, []flow.Rule) {
	if r.direction == flow.Ingress {
		return flow.NotJudged, nil // it arrived; what the source's end says is that row's
	}
	if r.other() != nil && r.other().verdict != flow.NotJudged {
		return r.other().verdict, r.other().deniers()
	}
	if r.fault != nil && r.fault.verdict != flow.NotJudged {
		return r.fault.verdict, r.fault.deniedBy
	}
	ends := s.farEnds(r)
	if len(ends) == 0 {
		if r.viaService() && r.outcome == flow.Dropped {
			return flow.Allow, nil // nobody is behind the service: no policy of anybody's is asked
		}
		return flow.NotJudged, nil
	}
	verdict := flow.NotJudged
	var by []flow.Rule
	for i, e := range ends {
		v, rules := s.judgeFar(r, e)
		if i > 0 && v != verdict {
			return flow.NotJudged, nil // it depends on which one was picked
		}
		verdict, by = v, rules
	}
	return verdict, by
}

func (s *Store) judgeFar(r *row, to netip.AddrPort) (flow.Verdict, []flow.Rule) {
	pod := s.podAt(r, to.Addr())
	if pod == nil {
		if s.names.ledger.World() == nil || len(s.names.ledger.World().Scope) > 0 {
			return flow.NotJudged, nil
		}
		return flow.Allow, nil // no pod: nobody's ingress policies
	}
	e := s.reference.of(s)
	if e == nil || s.reference.partial[""] || s.reference.partial[pod.Namespace] || s.reference.world.Pods[pod.Key()] == nil {
		return flow.NotJudged, nil
	}
	end := e.Evaluate(policy.Packet{Protocol: r.protocol, Source: r.local.Addr(), Destination: to.Addr(), Port: to.Port()}).Ingress
	switch end.Verdict {
	case flow.NotJudged:
		return flow.Allow, nil // no policy covers it
	case flow.Deny:
		return end.Verdict, deniedBy(&end.Decision)
	}
	return end.Verdict, nil
}

// deniedBy names the rule that denied, or all policies that isolate.
func deniedBy(d *policy.Decision) []flow.Rule {
	policies := d.IsolatedBy
	if d.Policy != nil {
		policies = []*policy.Policy{d.Policy}
	}
	out := make([]flow.Rule, len(policies))
	for i, p := range policies {
		out[i] = flow.Rule{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}
	}
	return out
}

// of is an evaluator for what is known now; nil if there is nothing to judge by.
func (f *reference) of(s *Store) *policy.Evaluator {
	w := s.names.ledger.World()
	if w == nil || s.rules.version == 0 {
		return nil
	}
	if f.judge != nil && (f.world == w && f.version == s.rules.version || s.now.Sub(f.built) < rest) {
		return f.judge
	}
	if f.world != w || f.view == nil {
		f.view = policy.NewView(w)
	}
	f.world, f.version, f.built = w, s.rules.version, s.now
	f.partial = map[string]bool{}
	parsed := make(map[string]*policy.Policy, len(f.parsed))
	var list []*policy.Policy
	for _, m := range s.rules.policies {
		if !m.GetCurrent() || m.GetNotEvaluated() != "" {
			continue
		}
		p := f.parsed[m.GetYaml()]
		if p == nil && m.GetOrigin() == fromCluster {
			if o, err := policy.Parse([]byte(m.GetYaml()), ""); err == nil && len(o.Policies) == 1 {
				p = o.Policies[0]
			}
		}
		if p == nil || m.GetOrigin() != fromCluster {
			f.partial[m.GetNamespace()] = true // a candidate stands in its place
			continue
		}
		parsed[m.GetYaml()] = p
		list = append(list, p)
	}
	f.parsed = parsed
	f.judge = policy.NewEvaluatorOf(f.view, list)
	return f.judge
}
