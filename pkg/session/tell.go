// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const (
	maxYAML  = 64 << 10 // bytes of one policy's text
	restMost = time.Second
)

// teller keeps the list of policies before whoever reads the session. It works
// beside the path from a change to the kernel, and rests after each list for
// ten times as long as that took: the list of a large cluster is long.
type teller struct {
	mu    sync.Mutex
	kick  chan struct{} // holds one token if there is something to tell
	list  []choice
	state State
	said  map[*policy.Policy][]string // by the compiler

	// of the goroutine that tells
	last    []*wire.PolicyState
	differs bool
	known   map[PolicyKey]*described
	foreign map[NotEvaluated]*wire.PolicyState
}

// described is a policy as it was told.
type described struct {
	choice
	selected uint32
	warnings []string
	message  *wire.PolicyState
}

func newTeller() *teller {
	return &teller{kick: make(chan struct{}, 1), known: map[PolicyKey]*described{}, foreign: map[NotEvaluated]*wire.PolicyState{}}
}

func (t *teller) set(list []choice, s State, said map[*policy.Policy][]string) {
	t.mu.Lock()
	t.list, t.state, t.said = list, s, said
	t.mu.Unlock()
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// run tells until stop is closed.
func (t *teller) run(stop <-chan struct{}, emit func(*wire.Frame)) {
	for {
		select {
		case <-stop:
			return
		case <-t.kick:
		}
		start := time.Now()
		t.mu.Lock()
		list, state, said := t.list, t.state, t.said
		t.mu.Unlock()
		for _, p := range t.tell(list, state, said) {
			emit(&wire.Frame{Body: &wire.Frame_PolicyStates{PolicyStates: p}})
		}
		select {
		case <-stop:
			return
		case <-time.After(min(10*time.Since(start), restMost)):
		}
	}
}

// tell describes all policies, in parts that fit into frames; none if that
// would be what was told last.
func (t *teller) tell(list []choice, s State, said map[*policy.Policy][]string) []*wire.PolicyStates {
	count := selected(list, s.World)
	differs := slices.ContainsFunc(list, func(c choice) bool { return c.differs() })
	now := make([]*wire.PolicyState, 0, len(list)+len(s.NotEvaluated))
	known := make(map[PolicyKey]*described, len(list))
	for i, c := range list {
		d := t.known[c.key]
		warnings := said[c.candidate()]
		if d == nil || d.choice != c || d.selected != count[i] || !slices.Equal(d.warnings, warnings) {
			d = &described{c, count[i], warnings, describe(&c, count[i])}
			for _, w := range warnings {
				d.message.Warnings = append(d.message.Warnings, wire.Clean(w, 1000))
			}
		}
		known[c.key] = d
		now = append(now, d.message)
	}
	foreign := make(map[NotEvaluated]*wire.PolicyState, len(s.NotEvaluated))
	for _, n := range s.NotEvaluated {
		m := t.foreign[n]
		if m == nil {
			m = &wire.PolicyState{
				Kind: wire.Clean(n.Kind, 200), Namespace: wire.Clean(n.Namespace, 200), Name: wire.Clean(n.Name, 300),
				Origin: "cluster", Current: true, NotEvaluated: wire.Clean(n.Why, 1000),
			}
		}
		foreign[n] = m
		now = append(now, m)
	}
	same := t.last != nil && differs == t.differs && slices.Equal(now, t.last)
	t.last, t.differs, t.known, t.foreign = now, differs, known, foreign
	if same {
		return nil
	}
	parts := []*wire.PolicyStates{{HasCandidate: differs}}
	size := 0
	for _, m := range now {
		n := proto.Size(m) + 4
		if size+n > wire.MaxFrame/2 {
			parts[len(parts)-1].More = true
			parts, size = append(parts, &wire.PolicyStates{HasCandidate: differs}), 0
		}
		size += n
		p := parts[len(parts)-1]
		p.Policies = append(p.Policies, m)
	}
	return parts
}

func describe(c *choice, selected uint32) *wire.PolicyState {
	p := c.candidate()
	origin := "cluster"
	if c.own != nil {
		origin = cmp.Or(p.Source.File, "candidate")
	}
	m := &wire.PolicyState{
		Kind: string(c.key.Kind), Namespace: c.key.Namespace, Name: c.key.Name, Origin: wire.Clean(origin, 1000),
		Current: c.cluster != nil, Candidate: c.mode != Off, Enforced: c.mode == Enforced,
		Selected: selected, Yaml: wire.Clean(p.Source.YAML, maxYAML),
	}
	if c.cluster != nil && !c.cluster.Source.Changed.IsZero() {
		m.ChangedNs = c.cluster.Source.Changed.UnixNano()
	}
	return m
}

// selected counts the pods that each policy is for.
func selected(list []choice, w *identity.World) []uint32 {
	view := policy.NewView(w)
	byNamespace := map[string][]*identity.Pod{}
	var all []*identity.Pod
	for _, p := range w.Pods {
		if !p.Done && !p.HostNetwork {
			byNamespace[p.Namespace] = append(byNamespace[p.Namespace], p)
			all = append(all, p)
		}
	}
	out := make([]uint32, len(list))
	for i := range list {
		p := list[i].candidate()
		pods := all
		if p.Kind == flow.NetworkPolicy {
			pods = byNamespace[p.Namespace]
		}
		for _, pod := range pods {
			if view.Selects(&p.Subject, pod) {
				out[i]++
			}
		}
	}
	return out
}
