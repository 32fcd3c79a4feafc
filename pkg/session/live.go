// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Live is a session with probes: it compiles what the cluster has and what the
// user is thinking of, keeps every probe at that, and merges what they see.
type Live struct {
	cfg     Config
	ctx     context.Context
	cancel  context.CancelFunc
	funnel  *funnel
	teller  *teller
	flows   tracker
	sampler *sampler // nil: what the compiler makes has no other meaning to be compared with

	// compiling is held while a generation is made and handed out, so that
	// generations reach the nodes in order.
	compiling  sync.Mutex
	compiler   Compiler
	dreamer    Compiler // of what is only imagined
	generation uint64
	pods       map[string]*identity.Pod // of the last generation
	eps        endpoints
	encoder    wire.WorldEncoder
	named      map[ruleset.SetID]bool
	namedAt    map[string]ruleset.List[ruleset.Set] // by node: of these all sets were looked at
	warned     map[string]bool                      // problems of the cluster's policies
	stuck      string                               // why the newest policies don't compile; empty: they do
	current    assigned

	mu         sync.Mutex
	nodes      map[string]*node
	state      State
	have       bool // a state
	candidates []*policy.Policy
	modes      map[PolicyKey]Mode
	joined     joined
	until      time.Time // of enforcement; zero: none
	enforceAt  uint64    // generation that a probe must have reached before its lease is renewed
	forced     bool
	err        error
	closing    bool

	kick      chan struct{} // holds one token if the cluster changed
	steps     sync.Mutex
	step      chan struct{} // closed and replaced when a node got on
	wg        sync.WaitGroup
	abandon   chan struct{} // closed when nobody reads the frames any more
	finish    sync.Once
	finished  chan struct{} // everything ended, frames are closed
	stop      chan struct{} // no frame comes any more
	nodesLeft int
	asked     asked // of the probes
}

var _ Controller = (*Live)(nil)

// NewLive starts a session. It ends with the context, with Close, or when no
// probe is left; in each case enforcement is released first. Close must be
// called to clean up, also after the context has ended.
func NewLive(ctx context.Context, cfg Config) (*Live, error) {
	if cfg.Cluster == nil || cfg.NewCompiler == nil {
		return nil, errors.New("a live session needs a cluster and a compiler")
	}
	if cfg.Session == "" {
		cfg.Session = strings.ToLower(rand.Text()[:10]) // stands in names of Kubernetes objects
	}
	if cfg.Lease <= 0 {
		cfg.Lease = DefaultLease
	}
	if cfg.Unchosen == Off {
		cfg.Unchosen = DryRun
	}
	if cfg.Options == nil {
		cfg.Options = &wire.Options{Drops: true}
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &Live{
		cfg: cfg, ctx: ctx, cancel: cancel, funnel: newFunnel(), teller: newTeller(), named: map[ruleset.SetID]bool{}, namedAt: map[string]ruleset.List[ruleset.Set]{}, warned: map[string]bool{},
		nodes: map[string]*node{}, candidates: cfg.Candidates, modes: maps.Clone(cfg.Modes),
		kick: make(chan struct{}, 1), step: make(chan struct{}), abandon: make(chan struct{}),
		finished: make(chan struct{}), stop: make(chan struct{}),
	}
	l.asked.init(cfg.Options)
	l.compiler, l.dreamer = cfg.NewCompiler(), cfg.NewCompiler()
	if _, ok := l.compiler.(policyCompiler); ok {
		l.sampler = newSampler(cfg.Program, l.warn)
		l.wg.Go(func() { l.sampler.run(ctx.Done()) })
	}
	if l.modes == nil {
		l.modes = map[PolicyKey]Mode{}
	}
	for _, p := range cfg.Probes {
		if err := l.Add(p); err != nil {
			cancel()
			return nil, err
		}
	}
	l.wg.Go(l.watch)
	l.wg.Go(l.follow)
	l.wg.Go(func() { l.teller.run(ctx.Done(), l.emit) })
	go func() {
		<-ctx.Done()
		l.wg.Wait()
		close(l.stop)
	}()
	go func() {
		l.funnel.run(l.stop, l.abandon)
		close(l.finished)
	}()
	return l, nil
}

// Add starts another node's probe.
func (l *Live) Add(p Probe) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Node == "" || p.Dialer == nil {
		return errors.New("a probe needs a node and a dialer")
	}
	if _, there := l.nodes[p.Node]; there {
		return fmt.Errorf("node %q has a probe already", p.Node)
	}
	if l.closing || l.ctx.Err() != nil {
		return errors.New("the session is over")
	}
	n := newNode(l, p)
	l.nodes[p.Node] = n
	l.nodesLeft++
	l.wg.Go(func() {
		if err := n.run(l.ctx); err != nil {
			l.lose(err)
		}
	})
	l.changed()
	return nil
}

// lose notes that a probe is gone for good. Without any the session ends.
func (l *Live) lose(err error) {
	l.mu.Lock()
	l.nodesLeft--
	last := l.nodesLeft == 0
	if last && l.err == nil {
		l.err = fmt.Errorf("no probe is left: %w", err)
	}
	l.mu.Unlock()
	if last {
		l.cancel()
	}
}

// emit passes a frame on to whoever reads the session.
func (l *Live) emit(f *wire.Frame) {
	if f.TimeNs == 0 {
		f.TimeNs = time.Now().UnixNano()
	}
	l.funnel.put(f)
}

func (l *Live) warn(text string) {
	l.emit(&wire.Frame{Body: &wire.Frame_Notice{Notice: &wire.Notice{Level: wire.Notice_WARN, Text: wire.Clean(text, 2000)}}})
}

// stepped wakes whoever waits for nodes to get on.
func (l *Live) stepped() {
	l.steps.Lock()
	defer l.steps.Unlock()
	close(l.step)
	l.step = make(chan struct{})
}

// await returns when ok is true of every node that is live, at once if none
// is, or with ok's first error.
func (l *Live) await(ctx context.Context, ok func(*node) (bool, error)) error {
	for {
		l.steps.Lock()
		step := l.step
		l.steps.Unlock()
		all := true
		l.mu.Lock()
		nodes := slices.Collect(maps.Values(l.nodes))
		l.mu.Unlock()
		for _, n := range nodes {
			n.mu.Lock()
			fine, err := true, error(nil)
			if n.live {
				fine, err = ok(n)
			}
			n.mu.Unlock()
			if err != nil {
				return fmt.Errorf("node %q: %w", n.Node, err)
			}
			all = all && fine
		}
		if all {
			return nil
		}
		select {
		case <-step:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ctx.Done():
			return errors.New("the session is over")
		}
	}
}

// Session is its name, which stands in everything that it creates.
func (l *Live) Session() string { return l.cfg.Session }

// Frames implements [Source].
func (l *Live) Frames() <-chan *wire.Frame { return l.funnel.out }

// Err implements [Source].
func (l *Live) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close implements [Source]. It releases enforcement, says goodbye to every
// probe, and cleans up after each.
func (l *Live) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closing = true
	nodes := slices.Collect(maps.Values(l.nodes))
	l.mu.Unlock()
	l.cancel()
	l.finish.Do(func() { close(l.abandon) })
	var late error
	for _, ended := range []<-chan struct{}{l.stop, l.finished} {
		select {
		case <-ended:
		case <-ctx.Done():
			late = fmt.Errorf("end the session: %w", ctx.Err())
		}
	}
	errs := make([]error, len(nodes)+1)
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = n.cleanup(ctx) })
	}
	wg.Wait()
	errs[len(nodes)] = late
	return errors.Join(errs...)
}
