// SPDX-License-Identifier: Apache-2.0

package record

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Bounds of what is repeated at each key.
const (
	maxOpen  = 50_000 // connections
	maxSets  = 50_000
	flowsKey = 500 // in one frame
	setsKey  = 200
)

// known is what a reader must be told to understand what comes next.
type known struct {
	world    wire.WorldDecoder
	any      bool // a world came
	ids      map[*identity.Pod]ruleset.EndpointID
	sets     map[uint32]*wire.SetNames
	policies []*wire.Frame
	partial  bool // the list of policies has more parts to come
	hellos   map[string]*wire.Frame
	phases   map[string]*wire.Frame
	states   map[string]map[uint32]*wire.EndpointState
	open     map[flowAt]*wire.Flow
}

type flowAt struct {
	node string
	id   uint64
}

func newKnown() *known {
	return &known{
		ids: map[*identity.Pod]ruleset.EndpointID{}, sets: map[uint32]*wire.SetNames{}, hellos: map[string]*wire.Frame{},
		phases: map[string]*wire.Frame{}, states: map[string]map[uint32]*wire.EndpointState{}, open: map[flowAt]*wire.Flow{},
	}
}

// note learns from a frame. It keeps parts of it, unchanged.
func (k *known) note(f *wire.Frame) {
	node := f.GetNode()
	switch b := f.GetBody().(type) {
	case *wire.Frame_World:
		k.any = true
		k.world.Apply(b.World)
		for _, p := range b.World.GetPods() {
			if ep := ruleset.EndpointID(p.GetEndpoint()); ep != 0 {
				k.ids[k.world.Pod(ep)] = ep
			}
		}
	case *wire.Frame_RuleNames:
		for _, s := range b.RuleNames.GetSets() {
			if len(k.sets) < maxSets {
				k.sets[s.GetSet()] = s
			}
		}
	case *wire.Frame_PolicyStates:
		if !k.partial {
			k.policies = nil
		}
		k.policies = append(k.policies, f)
		k.partial = b.PolicyStates.GetMore()
	case *wire.Frame_Hello:
		if old := k.hellos[node]; old != nil && old.GetHello().GetInstance() != b.Hello.GetInstance() {
			maps.DeleteFunc(k.open, func(at flowAt, _ *wire.Flow) bool { return at.node == node })
		}
		k.hellos[node] = f
	case *wire.Frame_ProbeState:
		k.phases[node] = f
	case *wire.Frame_EndpointStates:
		if k.states[node] == nil {
			k.states[node] = map[uint32]*wire.EndpointState{}
		}
		for _, s := range b.EndpointStates.GetStates() {
			k.states[node][s.GetId()] = s
		}
	case *wire.Frame_Flows:
		for _, fl := range b.Flows.GetFlows() {
			k.flow(flowAt{node, fl.GetId()}, fl)
		}
	}
}

func (k *known) flow(at flowAt, fl *wire.Flow) {
	old := k.open[at]
	switch {
	case fl.GetKind() == wire.Flow_CLOSE:
		delete(k.open, at)
		return
	case old == nil && (fl.GetEndpoint() == 0 || len(k.open) >= maxOpen):
		return
	}
	if old == nil || fl.GetEndpoint() != 0 {
		k.open[at] = proto.CloneOf(fl)
		k.open[at].Kind = wire.Flow_COUNTERS
		return
	}
	// By far the most are totals of a known connection: no copy is made of them.
	old.Set, old.Verdict, old.Bit, old.Alt = fl.Set, fl.Verdict, fl.Bit, fl.Alt
	old.Candidate, old.CandidateBit, old.Enforced, old.EnforcedPackets = fl.Candidate, fl.CandidateBit, fl.Enforced, fl.EnforcedPackets
	old.PacketsIn, old.PacketsOut, old.BytesIn, old.BytesOut = fl.PacketsIn, fl.PacketsOut, fl.BytesIn, fl.BytesOut
	old.FirstNs, old.LastNs, old.TcpFlags, old.Service = fl.FirstNs, fl.LastNs, fl.TcpFlags, fl.Service
	old.BackendIp, old.BackendPort = fl.BackendIp, fl.BackendPort
	old.Preexisting, old.OpenerUnknown = fl.Preexisting, fl.OpenerUnknown
	// What was observed is sent when it changes, and left out otherwise.
	keep(&old.TcpFlagsIn, fl.TcpFlagsIn)
	keep(&old.TcpFlagsOut, fl.TcpFlagsOut)
	keep(&old.AnswerNs, fl.AnswerNs)
	keep(&old.FirstByteNs, fl.FirstByteNs)
	keep(&old.Retransmits, fl.Retransmits)
	keep(&old.IcmpError, fl.IcmpError)
	keep(&old.Owner, fl.Owner)
	keep(&old.Request, fl.Request)
}

// keep takes over what was sent.
func keep[T comparable](old *T, now T) {
	var none T
	if now != none {
		*old = now
	}
}

// tell writes all of it.
func (k *known) tell(put func(*wire.Frame)) {
	if k.any {
		w := k.world.World()
		ids := make(map[*identity.Pod]ruleset.EndpointID, len(w.Pods))
		for _, p := range w.Pods {
			if ep, ok := k.ids[p]; ok {
				ids[p] = ep
			}
		}
		k.ids = ids // forgets pods that are gone
		var enc wire.WorldEncoder
		for _, m := range enc.Next(w, func(p *identity.Pod) ruleset.EndpointID { return ids[p] }) {
			put(&wire.Frame{Body: &wire.Frame_World{World: m}})
		}
	}
	for _, list := range chunks(k.sets, setsKey) {
		put(&wire.Frame{Body: &wire.Frame_RuleNames{RuleNames: &wire.RuleNames{Sets: list}}})
	}
	for _, group := range []map[string]*wire.Frame{k.hellos, k.phases} {
		for _, node := range slices.Sorted(maps.Keys(group)) {
			put(group[node])
		}
	}
	if !k.partial {
		for _, f := range k.policies {
			put(f)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(k.states)) {
		for _, list := range chunks(k.states[node], flowsKey) {
			put(&wire.Frame{Node: node, Body: &wire.Frame_EndpointStates{EndpointStates: &wire.EndpointStates{States: list}}})
		}
	}
	byNode := map[string]map[uint64]*wire.Flow{}
	for at, f := range k.open {
		if byNode[at.node] == nil {
			byNode[at.node] = map[uint64]*wire.Flow{}
		}
		byNode[at.node][at.id] = f
	}
	for _, node := range slices.Sorted(maps.Keys(byNode)) {
		for _, list := range chunks(byNode[node], flowsKey) {
			put(&wire.Frame{Node: node, Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}}})
		}
	}
}

// chunks are m's values in order of key, n at a time.
func chunks[K interface{ ~uint32 | ~uint64 }, V any](m map[K]V, n int) [][]V {
	out := make([]V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[key])
	}
	return slices.Collect(slices.Chunk(out, n))
}
