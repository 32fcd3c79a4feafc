// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

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
	told    []*described // in order of key
	counter counter
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
	return &teller{kick: make(chan struct{}, 1), foreign: map[NotEvaluated]*wire.PolicyState{}}
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
	t.counter.follow(s.World)
	differs := slices.ContainsFunc(list, func(c choice) bool { return c.differs() })
	now := make([]*wire.PolicyState, 0, len(list)+len(s.NotEvaluated))
	told, old := make([]*described, 0, len(list)), t.told
	for i := range list {
		c := &list[i]
		for len(old) > 0 && compareKeys(old[0].key, c.key) < 0 {
			old = old[1:]
		}
		var d *described
		if len(old) > 0 && old[0].key == c.key {
			d = old[0]
		}
		p := c.candidate()
		warnings := said[p]
		var count uint32
		if d != nil && d.candidate() == p && t.counter.stays(p) {
			count = d.selected
		} else {
			count = t.counter.count(p)
		}
		if d == nil || d.choice != *c || d.selected != count || !slices.Equal(d.warnings, warnings) {
			d = &described{*c, count, warnings, describe(c, count)}
			for _, w := range warnings {
				d.message.Warnings = append(d.message.Warnings, wire.Clean(w, 1000))
			}
		}
		told = append(told, d)
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
	t.last, t.differs, t.told, t.foreign = now, differs, told, foreign
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
