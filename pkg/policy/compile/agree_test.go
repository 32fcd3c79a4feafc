// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// packetsPerWorld is how many cases one drawn cluster gives.
const packetsPerWorld = 20

// cases is how many packets to judge: 50,000, or what EBPOL_FUZZ_CASES says.
func cases(t *testing.T) int {
	if s := os.Getenv("EBPOL_FUZZ_CASES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("EBPOL_FUZZ_CASES: %v", err)
		}
		return n
	}
	if testing.Short() {
		return 4000
	}
	return 50000
}

// engines holds the reference for both sets of policies, and the tables of
// every node.
type engines struct {
	current, candidate *policy.Evaluator
	tables             map[string]*ruleset.Table
	out                *compile.Output
	candidates         []*policy.Policy
	enforced           map[*policy.Policy]bool
	allEnforced        bool
	tied               bool // ordered policies of equal priority
	coarse             bool // rules may share bits
}

func compiled(t *rapid.T, c *compile.Compiler, number uint64, g gen.Generation) *engines {
	view := policy.NewView(g.World)
	e := &engines{
		candidates: g.Policies(gen.Candidate),
		current:    policy.NewEvaluatorOf(view, g.Policies(gen.Current)),
		candidate:  policy.NewEvaluatorOf(view, g.Policies(gen.Candidate)),
		tables:     map[string]*ruleset.Table{}, enforced: map[*policy.Policy]bool{}, allEnforced: true,
	}
	for i, m := range g.Modes {
		for _, n := range g.Modes[:i] {
			e.tied = e.tied || m.Policy.Tier != policy.Network && m.Policy.Tier == n.Policy.Tier && m.Policy.Priority == n.Policy.Priority
		}
		e.enforced[m.Policy] = m.Enforced
		e.allEnforced = e.allEnforced && (m.Enforced || !m.Candidate)
	}
	out, err := c.Compile(compile.Input{Generation: number, World: g.World, Policies: g.Modes})
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	e.out = out
	for name := range g.World.Nodes {
		r := out.Node(name)
		if err := r.Validate(); err != nil {
			t.Fatalf("node %s: %v", name, err)
		}
		e.tables[name] = ruleset.NewTable(r)
	}
	return e
}

// agree judges a packet by both engines, at each end that has an endpoint.
func (e *engines) agree(t *rapid.T, p policy.Packet) {
	view := e.current.View()
	current, candidate := e.current.Evaluate(p), e.candidate.Evaluate(p)
	if pod := view.Pod(p.Source); pod != nil {
		q := ruleset.Packet{Direction: flow.Egress, Protocol: p.Protocol, Local: p.Source, Peer: p.Destination, Port: p.Port}
		e.compare(t, p, q, pod, &current.Egress, &candidate.Egress)
	}
	if pod := view.Pod(p.Destination); pod != nil {
		q := ruleset.Packet{Direction: flow.Ingress, Protocol: p.Protocol, Local: p.Destination, Peer: p.Source, Port: p.Port}
		e.compare(t, p, q, pod, &current.Ingress, &candidate.Ingress)
	}
}

func (e *engines) compare(t *rapid.T, p policy.Packet, q ruleset.Packet, pod *identity.Pod, current, candidate *policy.End) {
	got := e.tables[pod.Node].Judge(q)
	where := fmt.Sprintf("%s at %s of %+v", q.Direction, pod.Key(), p)
	for _, m := range []struct {
		name string
		got  ruleset.Judgement
		want *policy.End
	}{{"current", got.Current, current}, {"candidate", got.Candidate, candidate}} {
		want := m.want.Verdict
		if want == flow.NotJudged {
			want = flow.Allow
		}
		if m.got.Verdict != want {
			t.Fatalf("%s, %s set: compiled says %+v, the reference %s (%s, %+v, %+v)\nnames %+v", where, m.name, m.got, want, m.want.Why, m.want.Readings, m.want.Decision, e.out.Names(got.Set))
		}
		// Backends, and policies of equal priority, may agree for different
		// reasons: either may be named.
		if want != flow.Contested && m.want.Why == "" && !got.Service && !e.tied && !e.coarse {
			e.sameRule(t, where, got.Set, m.got, m.want)
		}
	}
	switch {
	case got.Drop && candidate.Decision.Verdict != flow.Deny:
		t.Fatalf("%s: dropped, but the candidate's verdict is %s %+v; compiled %+v\n%+v", where, candidate.Verdict, candidate.Readings, got, e.out.Names(got.Set))
	case candidate.Decision.Verdict == flow.Deny && e.allEnforced && !got.Drop:
		t.Fatalf("%s: everything is enforced and enforcement takes deny, but it isn't dropped", where)
	// One backend, or order of policies of equal priority, may be denied by an
	// enforced policy, another by one that isn't.
	case candidate.Verdict == flow.Deny && e.decidedByEnforced(candidate.Decision) && !got.Drop && !got.Service && !e.tiedAt(pod):
		t.Fatalf("%s: an enforced policy denies, but it isn't dropped", where)
	}
}

// tiedAt says whether candidate policies of equal priority are for the pod.
func (e *engines) tiedAt(pod *identity.Pod) bool {
	type place struct {
		tier     policy.Tier
		priority int
	}
	seen := map[place]bool{}
	for _, p := range e.candidates {
		at := place{p.Tier, p.Priority}
		if p.Tier == policy.Network || !e.current.View().Selects(&p.Subject, pod) {
			continue
		}
		if seen[at] {
			return true
		}
		seen[at] = true
	}
	return false
}

func (e *engines) decidedByEnforced(d policy.Decision) bool {
	if d.Policy != nil {
		return e.enforced[d.Policy]
	}
	for _, p := range d.IsolatedBy {
		if e.enforced[p] {
			return true
		}
	}
	return false
}

// sameRule checks that both name the same rule, or the same isolating policies.
func (e *engines) sameRule(t *rapid.T, where string, set ruleset.SetID, got ruleset.Judgement, want *policy.End) {
	name := "none"
	if got.Bit >= 0 {
		name = e.out.Names(set).Bits[got.Bit].Rule.String()
	}
	wanted := "none"
	switch d := want.Decision; {
	case d.Policy != nil:
		wanted = d.Policy.RuleRef(d.Rule.Index).String()
	case len(d.IsolatedBy) > 0:
		wanted = d.IsolatedBy[0].Ref().String()
	}
	if name != wanted {
		t.Fatalf("%s: compiled names %q, the reference %q", where, name, wanted)
	}
}

// The compiled tables say what the reference says, of every packet.
func TestAgreement(t *testing.T) { check(t, cases(t)/packetsPerWorld, agreement) }

// Likewise for who sees some namespaces only.
func TestAgreementWithFewRights(t *testing.T) {
	check(t, cases(t)/packetsPerWorld/5, agreementWithFewRights)
}

// Likewise where rules are more than bits: what decided is told more coarsely,
// the verdict is the same.
func TestAgreementWithFewBits(t *testing.T) {
	check(t, cases(t)/packetsPerWorld/4, agreementWithFewBits)
}

// FuzzAgreement is the same, led by coverage, for as long as asked.
func FuzzAgreement(f *testing.F) { f.Fuzz(rapid.MakeFuzz(agreement)) }

func agreement(t *rapid.T) {
	agreeIn(t, gen.Draw(t))
}

func agreementWithFewBits(t *rapid.T) {
	g := gen.Draw(t)
	e := compiled(t, compile.NewNarrow(rapid.IntRange(1, 12).Draw(t, "bits")), 1, g)
	e.coarse = true
	agreeWith(t, e, g)
}

func agreementWithFewRights(t *rapid.T) { agreeIn(t, gen.Narrow(t, gen.Draw(t))) }

func agreeIn(t *rapid.T, g gen.Generation) { agreeWith(t, compiled(t, compile.New(), 1, g), g) }

func agreeWith(t *rapid.T, e *engines, g gen.Generation) {
	for range packetsPerWorld {
		e.agree(t, gen.Packet(t, g.World))
	}
}

// check runs the property on so many drawn worlds, whatever -rapid.checks says.
func check(t *testing.T, worlds int, f func(*rapid.T)) {
	t.Helper()
	const each = 100 // rapid's default
	for i := 0; i < worlds && !t.Failed(); i += each {
		rapid.Check(t, f)
	}
}
