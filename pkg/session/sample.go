// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Bounds of what is verified.
const (
	verifyMost   = 50              // connections a second
	verifyQueue  = 128             // that wait; more are left out
	quietFor     = 5 * time.Second // rules must have been in effect so long: whatever they replaced has been told by then
	maxDisagreed = 20              // disagreements that are written down
)

// sampler holds verdicts of the kernels against the reference evaluator, a few
// connections a second, beside the path that they take to the screen. A
// verdict is compared only if it is sure by which rules it was reached: those
// that have been in effect at the node for a while, with nothing newer known.
type sampler struct {
	in      chan sampled
	warn    func(text string)
	agreed  atomic.Uint64
	checked atomic.Uint64

	mu      sync.Mutex
	now     *basis               // the newest generation; nil: none yet
	nodes   map[string]inEffect  // since when each has its rules
	second  int64                // that budget is of
	budget  int                  // left in it
	told    map[disagreeing]bool // of the goroutine that compares
	program string
}

// basis is all that a generation's verdicts follow from.
type basis struct {
	generation uint64
	state      State
	list       []choice

	once               sync.Once
	current, candidate *policy.Evaluator
}

// inEffect is a generation that a node has.
type inEffect struct {
	generation uint64
	instance   string
	since      time.Time
}

// sampled is a verdict to compare.
type sampled struct {
	node      string
	basis     *basis
	rules     *ruleset.Pages
	packet    ruleset.Packet
	flow      *wire.Flow
	tuple     flow.Tuple
	direction flow.Direction
}

// disagreeing names what decided on both sides; each pair is told once.
type disagreeing struct{ kernel, reference string }

func newSampler(program string, warn func(string)) *sampler {
	return &sampler{in: make(chan sampled, verifyQueue), warn: warn, nodes: map[string]inEffect{}, told: map[disagreeing]bool{}, program: program}
}

// set notes a new generation, before any node hears of it.
func (s *sampler) set(generation uint64, state State, list []choice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = &basis{generation: generation, state: state, list: list}
}

// take picks connections of what a node's probe told. It never waits.
func (s *sampler) take(n *node, m *wire.Flows, now time.Time) {
	n.mu.Lock()
	at := inEffect{generation: n.done, instance: n.instance}
	rules, settled := n.base, n.inFlight == nil && n.done >= n.targetName && n.failures == 0 && n.failed != n.targetName
	n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.nodes[n.Node]; last.generation != at.generation || last.instance != at.instance || !settled {
		at.since = now
		s.nodes[n.Node] = at
		return
	} else if now.Sub(last.since) < quietFor || rules == nil || s.now == nil || s.now.generation != at.generation {
		return
	}
	for _, f := range m.GetFlows() {
		if !verifiable(f) || !s.spend(now) {
			continue
		}
		tuple, direction, ok := f.Tuple()
		if !ok {
			continue
		}
		select { // a copy, as others go on to change the message
		case s.in <- sampled{n.Node, s.now, rules, packetOf(tuple, direction), proto.CloneOf(f), tuple, direction}:
		default:
			return
		}
	}
}

// verifiable says whether the first packet of a connection has just been
// judged, and as what it is.
func verifiable(f *wire.Flow) bool {
	return f.GetKind() == wire.Flow_NEW && f.GetVerdict() != 0 && !f.GetPreexisting() && !f.GetOpenerUnknown() && f.GetSet() != 0
}

// spend says whether another one is within this second's budget.
func (s *sampler) spend(now time.Time) bool {
	if sec := now.Unix(); sec != s.second {
		s.second, s.budget = sec, verifyMost
	}
	if s.budget == 0 {
		return false
	}
	s.budget--
	return true
}

// run compares until stop is closed.
func (s *sampler) run(stop <-chan struct{}) {
	tables := map[string]*cachedTable{}
	for {
		select {
		case <-stop:
			return
		case one := <-s.in:
			s.verify(&one, tables)
		}
	}
}

// cachedTable is a node's rules, ready to be asked.
type cachedTable struct {
	rules *ruleset.Pages
	table *ruleset.Table
}

func (s *sampler) verify(one *sampled, tables map[string]*cachedTable) {
	t := tables[one.node]
	if t == nil || t.rules != one.rules {
		t = &cachedTable{one.rules, ruleset.NewTable(one.rules.Ruleset())}
		tables[one.node] = t
	}
	table := t.table.Judge(one.packet)
	if uint32(table.Set) != one.flow.GetSet() {
		return // judged by rules that this endpoint has no more
	}
	current, candidate := one.basis.ask(one)
	s.checked.Add(1)
	if current.agrees(one.flow.GetVerdict()) && candidate.agrees(one.flow.GetCandidate()) {
		s.agreed.Add(1)
		return
	}
	if s.stale(one) {
		s.checked.Add(^uint64(0))
		return
	}
	s.disagree(one, table, current, candidate)
}

// stale says whether something newer has become known since the verdict was
// picked: a change that was on its way may be why it differs.
func (s *sampler) stale(one *sampled) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now != one.basis
}

// said is the reference's answer at the flow's end.
type said struct {
	*policy.End
	result *policy.Result
}

func (x said) verdict() flow.Verdict {
	if x.Verdict == flow.NotJudged {
		return flow.Allow
	}
	return x.Verdict
}

func (x said) agrees(kernel uint32) bool { return wire.Verdict(kernel) == x.verdict() }

// ask evaluates the packet for both sets of policies.
func (b *basis) ask(one *sampled) (current, candidate said) {
	b.once.Do(func() {
		view := policy.NewView(b.state.World)
		var in, out []*policy.Policy
		for _, m := range b.versions() {
			if m.Current {
				in = append(in, m.Policy)
			}
			if m.Candidate {
				out = append(out, m.Policy)
			}
		}
		b.current, b.candidate = policy.NewEvaluatorOf(view, in), policy.NewEvaluatorOf(view, out)
	})
	p := policy.Packet{Protocol: one.tuple.Protocol, Source: one.tuple.Source.Addr(), Destination: one.tuple.Destination.Addr(), Port: one.packet.Port}
	pick := func(r *policy.Result) said {
		if one.direction == flow.Egress {
			return said{&r.Egress, r}
		}
		return said{&r.Ingress, r}
	}
	return pick(b.current.Evaluate(p)), pick(b.candidate.Evaluate(p))
}

func (b *basis) versions() []PolicyMode {
	var out []PolicyMode
	for i := range b.list {
		out = b.list[i].versions(out)
	}
	return out
}

// disagree tells a disagreement, once for each pair of what decided.
func (s *sampler) disagree(one *sampled, table ruleset.Result, current, candidate said) {
	pair := disagreeing{
		fmt.Sprintf("%d %d %d %d %d", one.flow.GetSet(), one.flow.GetVerdict(), one.flow.GetBit(), one.flow.GetCandidate(), one.flow.GetCandidateBit()),
		current.decided() + " " + candidate.decided(),
	}
	if s.told[pair] || len(s.told) >= maxDisagreed {
		return
	}
	s.told[pair] = true
	what := fmt.Sprintf("%s of %s on node %s: the kernel says %s, and %s in the dry-run; the reference %s, and %s",
		one.direction, one.tuple, one.node, wire.Verdict(one.flow.GetVerdict()), wire.Verdict(one.flow.GetCandidate()), current.verdict(), candidate.verdict())
	where, err := s.write(one, table, current, candidate, what)
	if err != nil {
		where = "a report could not be written: " + err.Error()
	} else {
		where = "please report it with " + where
	}
	s.warn("a bug of ours: two engines disagree about a verdict; " + what + "; " + where)
}

// decided names the rule that decided, or the policies that isolate.
func (x said) decided() string {
	switch d := x.Decision; {
	case d.Policy != nil:
		return d.Policy.RuleRef(d.Rule.Index).String()
	case len(d.IsolatedBy) > 0:
		return "isolated by " + d.IsolatedBy[0].Key()
	}
	return x.Why
}

// Verified says how many of the verdicts that were compared with the reference
// evaluator agree with it.
func (l *Live) Verified() (agreed, compared uint64) {
	if l.sampler == nil {
		return 0, 0
	}
	return l.sampler.agreed.Load(), l.sampler.checked.Load()
}
