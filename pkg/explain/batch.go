// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Engine is who answers.
type Engine string

// The engines.
const (
	Reference Engine = "reference" // the meaning in plain Go; slow
	Compiled  Engine = "compiled"  // the tables that the kernel has; contested verdicts get their readings from the reference
	Kernel    Engine = "kernel"    // the loaded BPF program; see [Batch.UseKernel]
	All       Engine = "all"       // all of them, compared
)

// Batch answers many questions about one world.
type Batch struct {
	engine    Engine
	reference *policy.Evaluator
	policies  []*policy.Policy
	view      *policy.View
	out       *compile.Output
	tables    map[string]*ruleset.Table
	ends      map[ruleset.SetID]*setText
	resolver  *Resolver
	blocks    bool   // some rule goes by addresses
	kernel    *asked // nil: there is none to ask
}

// NewBatch compiles the world, unless only the reference is asked. It fails if
// the policies of some pod don't fit the tables.
func NewBatch(w *identity.World, policies []*policy.Policy, engine Engine) (*Batch, error) {
	b := &Batch{engine: engine, policies: policies, reference: policy.NewEvaluator(w, policies), tables: map[string]*ruleset.Table{}, ends: map[ruleset.SetID]*setText{}}
	b.view = b.reference.View()
	b.resolver, b.blocks = NewResolver(b.view), hasBlocks(policies)
	switch engine {
	case Reference:
		return b, nil
	case Compiled, Kernel, All:
	default:
		return nil, fmt.Errorf("engine %q: use %s, %s, %s or %s", engine, Reference, Compiled, Kernel, All)
	}
	modes := make([]compile.PolicyMode, len(policies))
	for i, p := range policies {
		modes[i] = compile.PolicyMode{Policy: p, Current: true, Candidate: true}
	}
	out, err := compile.New().Compile(compile.Input{Generation: 1, World: w, Policies: modes})
	if err != nil {
		return nil, fmt.Errorf("the policies don't fit the tables: %w, or let --engine %s answer, which has no tables", err, Reference)
	}
	b.out = out
	return b, nil
}

// Answer is one line of output; see [Query].
type Answer struct {
	ID       json.RawMessage  `json:"id,omitempty"`
	Verdict  flow.Verdict     `json:"verdict,omitzero"`
	Ingress  *End             `json:"ingress,omitempty"`
	Egress   *End             `json:"egress,omitempty"`
	Readings []policy.Reading `json:"readings,omitempty"` // if contested: each open case that matters, with its answers
	Line     int              `json:"line,omitempty"`     // of the input, from 1, where a question that can't be answered has no id
	Error    string           `json:"error,omitempty"`    // the question can't be answered; nothing of the answer is set then
}

// End is the answer at one end of a packet.
type End struct {
	Verdict    flow.Verdict `json:"verdict"`
	Rule       *flow.Rule   `json:"rule,omitempty"`       // that decided
	IsolatedBy []flow.Rule  `json:"isolatedBy,omitempty"` // set if the verdict is the default deny
	Reason     string       `json:"reason,omitempty"`     // why no policy was asked
}

// Evaluate asks the engine about a packet.
func (b *Batch) Evaluate(p policy.Packet) (Answer, error) {
	if err := b.askKernel([]policy.Packet{p}); err != nil {
		return Answer{}, err
	}
	return b.evaluate(p)
}

// evaluate is Evaluate once the kernel has been asked.
func (b *Batch) evaluate(p policy.Packet) (Answer, error) {
	switch b.engine {
	case Reference:
		return b.byReference(b.reference.Evaluate(p)), nil
	case All:
		r := b.reference.Evaluate(p)
		return b.byReference(r), b.compare(p, r)
	case Kernel:
		if b.kernel == nil {
			return Answer{}, errors.New("no kernel can be asked here")
		}
	}
	if a, definite := b.byTables(p); definite {
		return a, nil
	}
	r := b.reference.Evaluate(p)
	if b.engine == Kernel { // it has said that the verdict is contested, or about one end only
		if err := b.compare(p, r); err != nil {
			return Answer{}, err
		}
	}
	return b.byReference(r), nil
}

func (b *Batch) byReference(r *policy.Result) Answer {
	return Answer{Verdict: r.Verdict, Readings: r.Readings, Ingress: endOf(&r.Ingress), Egress: endOf(&r.Egress)}
}

func endOf(e *policy.End) *End {
	out := &End{Verdict: e.Verdict, Reason: e.Why}
	if out.Verdict == flow.NotJudged {
		out.Verdict = flow.Allow
	}
	if e.Why != "" {
		return out
	}
	if d := e.Decision; d.Policy != nil {
		r := d.Policy.RuleRef(d.Rule.Index)
		out.Rule = &r
	} else {
		for _, p := range d.IsolatedBy {
			out.IsolatedBy = append(out.IsolatedBy, p.Ref())
		}
	}
	return out
}

// byTables asks the compiled tables. Not definite: the verdict is contested,
// or depends on more than a table knows (the backend of a service, which pod
// on the host network is meant); the reference knows the readings.
func (b *Batch) byTables(p policy.Packet) (a Answer, definite bool) {
	if b.blocks && b.noIP(p) {
		return a, false
	}
	if p.SourcePod != "" || p.DestinationPod != "" || b.isService(p) {
		return a, false
	}
	egress, sure := b.end(flow.Egress, p)
	if !sure {
		return a, false
	}
	ingress, sure := b.end(flow.Ingress, p)
	if !sure {
		return a, false
	}
	a = Answer{Verdict: flow.Allow, Egress: egress, Ingress: ingress}
	if egress.Verdict == flow.Deny || ingress.Verdict == flow.Deny {
		a.Verdict = flow.Deny
	}
	return a, true
}

// noIP says whether an end is a pod that has no IP yet: tables know no more than
// addresses.
func (b *Batch) noIP(p policy.Packet) bool {
	src, dst := b.view.Pod(p.Source), b.view.Pod(p.Destination)
	return src != nil && src.NoIP || dst != nil && dst.NoIP
}

func hasBlocks(policies []*policy.Policy) bool {
	return slices.ContainsFunc(policies, func(p *policy.Policy) bool {
		return slices.ContainsFunc(slices.Concat(p.Ingress, p.Egress), func(r policy.Rule) bool {
			return slices.ContainsFunc(r.Peers, func(p policy.Peer) bool { return p.Kind == policy.CIDRPeer })
		})
	})
}

func (b *Batch) isService(p policy.Packet) bool {
	node := ""
	if pod := b.view.Pod(p.Source); pod != nil {
		node = pod.Node
	}
	_, _, ok := b.view.Service(policy.ServiceAddress{IP: p.Destination, Protocol: p.Protocol, Port: p.Port}, node)
	return ok
}

var (
	noPod   = &End{Verdict: flow.Allow, Reason: "no pod of this cluster"}
	ownAddr = &End{Verdict: flow.Allow, Reason: "a pod always reaches its own address"}
	ownNode = &End{Verdict: flow.Allow, Reason: "a node always reaches its own pods"}
)

func (b *Batch) end(d flow.Direction, p policy.Packet) (*End, bool) {
	q := question{"", ruleset.Packet{Direction: d, Protocol: p.Protocol, Local: p.Source, Peer: p.Destination, Port: p.Port}}
	if d == flow.Ingress {
		q.Local, q.Peer = p.Destination, p.Source
	}
	pod := b.view.Pod(q.Local)
	if pod == nil {
		return noPod, true
	}
	q.node = pod.Node
	j, ok := b.result(b.tableEngine(), q)
	if !ok || j.Current.Verdict == flow.Contested {
		return nil, false
	}
	if j.Current.Verdict == flow.Allow {
		if q.Local == q.Peer {
			return ownAddr, true
		}
		if d == flow.Ingress {
			if n := b.view.Node(q.Peer); n != nil && n.Name == pod.Node {
				return ownNode, true
			}
		}
	}
	return b.text(j.Set).of(j.Current), true
}

// tableEngine is who answers from tables: those in Go, or the kernel's.
func (b *Batch) tableEngine() Engine {
	if b.engine == Kernel {
		return Kernel
	}
	return Compiled
}

func (b *Batch) table(node string) *ruleset.Table {
	t := b.tables[node]
	if t == nil {
		t = ruleset.NewTable(b.out.Node(node))
		b.tables[node] = t
	}
	return t
}

// setText holds the ends that a set can lead to, made once.
type setText struct {
	byBit      []*End // allow or deny by the bit's rule; shifted by one: 0 is no bit
	isolatedBy []flow.Rule
}

func (b *Batch) text(id ruleset.SetID) *setText {
	t := b.ends[id]
	if t != nil {
		return t
	}
	names := b.out.Names(id)
	t = &setText{byBit: make([]*End, len(names.Bits)+1)}
	for bit := names.IsolateStart; bit < names.BaselineStart; bit++ {
		t.isolatedBy = append(t.isolatedBy, names.Bits[bit].Rule)
	}
	for bit, n := range names.Bits {
		end := &End{Rule: &n.Rule}
		if bit >= names.IsolateStart && bit < names.BaselineStart {
			end = &End{IsolatedBy: t.isolatedBy}
		}
		t.byBit[bit+1] = end
	}
	t.byBit[0] = &End{}
	b.ends[id] = t
	return t
}

func (t *setText) of(j ruleset.Judgement) *End {
	end := *t.byBit[j.Bit+1]
	end.Verdict = j.Verdict
	return &end
}
