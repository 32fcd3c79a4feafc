// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"maps"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// A burst of changes is compiled once: after no more came for settle, but not
// later than patience after the first. A toggle doesn't wait, nor does a change
// that comes alone: the first one for as long as patience.
const (
	settle   = 15 * time.Millisecond
	patience = 100 * time.Millisecond
)

// maxWarned bounds what is remembered of what was said.
const maxWarned = 1000

// watch follows the cluster.
func (l *Live) watch() {
	err := l.cfg.Cluster.Watch(l.ctx, func(s State) {
		l.mu.Lock()
		l.state, l.have = s, true
		l.mu.Unlock()
		l.changed()
	})
	if err != nil && l.ctx.Err() == nil {
		l.mu.Lock()
		l.err = fmt.Errorf("watch the cluster: %w", err)
		l.mu.Unlock()
		l.cancel()
	}
}

func (l *Live) changed() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// follow compiles after changes of the cluster.
func (l *Live) follow() {
	var last time.Time
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.kick:
		}
		late := time.After(patience)
		alone := time.Since(last) >= patience
	burst:
		for !alone {
			select {
			case <-l.ctx.Done():
				return
			case <-l.kick:
			case <-late:
				break burst
			case <-time.After(settle):
				break burst
			}
		}
		l.calm()
		last = time.Now()
		_, _ = l.compile() // has been told
	}
}

// calm waits a moment for nodes that are still being brought to the generation
// before. A compiler keeps the sets of one generation alive in the next, so that
// whoever still points at them is judged rightly meanwhile; a node that skips
// one would not have that. Whoever is slow or stuck doesn't hold up the others.
func (l *Live) calm() {
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	_ = l.await(ctx, func(n *node) (bool, error) { return n.inFlight == nil && n.done >= n.targetName, nil })
}

// compile makes a generation of what is known now and hands it to the nodes.
// It returns its number, 0 if the cluster isn't known yet.
func (l *Live) compile() (uint64, error) {
	l.compiling.Lock()
	defer l.compiling.Unlock()
	l.mu.Lock()
	if !l.have {
		l.mu.Unlock()
		return 0, nil
	}
	state, nodes := l.state, maps.Clone(l.nodes)
	list := l.joined.choices(state.Policies, l.candidates, l.modes, l.cfg.Unchosen)
	l.mu.Unlock()

	l.generation++
	pods := identity.DiffPods(l.pods, state.World.Pods)
	l.pods = state.World.Pods
	assigned, numbered := l.eps.assign(pods, state.World, nodes, l.cfg.Select)
	l.current = *assigned
	for _, m := range l.encoder.NextBy(numbered, state.World, l.current.id) {
		l.emit(&wire.Frame{Body: &wire.Frame_World{World: m}})
	}
	out, err := l.compiler.Compile(l.input(list, state, pods))
	if err != nil {
		err = fmt.Errorf("compile the policies: %w", err)
		if l.stuck != err.Error() { // each change of the cluster comes by here
			l.stuck = err.Error()
			l.warn(l.stuck + "; until that fits, the rules from before stay, for all pods on all nodes, and pods that start are not watched")
		}
		for name, n := range nodes {
			n.only(l.current.byNode[name])
		}
		return 0, err
	}
	if l.stuck != "" {
		l.stuck = ""
		l.warn("the policies fit again: all nodes follow the cluster")
	}
	if l.sampler != nil {
		l.sampler.set(l.generation, state, list)
	}
	for name, n := range nodes {
		r := out.Node(name)
		l.name(name, r, out)
		n.want(l.current.byNode[name], r)
	}
	l.teller.set(list, state, l.coarse(out))
	for _, p := range state.Problems {
		if !l.warned[p] && len(l.warned) < maxWarned {
			l.warned[p] = true
			l.warn(p)
		}
	}
	return l.generation, nil
}

func (l *Live) input(list []choice, state State, pods *identity.PodDiff) Input {
	in := Input{Generation: l.generation, World: state.World, Pods: pods, Endpoints: l.current.judged, Policies: make([]PolicyMode, 0, len(list)+len(list)/8)}
	for i := range list {
		in.Policies = list[i].versions(in.Policies)
	}
	return in
}

// name tells what the bits of new sets mean, before any probe knows them.
func (l *Live) name(node string, r *ruleset.Pages, out Compiled) {
	before := l.namedAt[node]
	l.namedAt[node] = r.Sets
	var list []*wire.SetNames
	size := 0
	flush := func() {
		if len(list) > 0 {
			l.emit(&wire.Frame{Body: &wire.Frame_RuleNames{RuleNames: &wire.RuleNames{Sets: list}}})
			list, size = nil, 0
		}
	}
	for set := range r.Sets.Fresh(before, ruleset.CompareSets) {
		id := set.ID
		if l.named[id] {
			continue
		}
		names := out.Names(id)
		if names == nil {
			continue
		}
		l.named[id] = true
		n := proto.Size(names) + 4
		if size+n > wire.MaxFrame/2 {
			flush()
		}
		list, size = append(list, names), size+n
	}
	flush()
}
