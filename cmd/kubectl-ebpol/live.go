// SPDX-License-Identifier: Apache-2.0

package main

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

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebpol/kubectl-ebpol/pkg/deploy"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/version"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// probeImage is set by the release build to the image of that release, pinned
// by digest.
var probeImage = ""

// manyNodes is how many probes are opened without a question.
const manyNodes = 20

// liveFlags are those of every command that opens probes.
type liveFlags struct {
	output    string
	page      string
	record    string
	image     string
	namespace string
	readOnly  bool
	noDrops   bool
	noBlame   bool
	noOwners  bool
	noNames   bool
	yes       bool
	powerful  bool
	secrets   []string
	limit     time.Duration
}

func (f *liveFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.output, "output", "o", "", "lines instead of the screen: wide or json")
	f.addPage(cmd)
	fs.StringVar(&f.record, "record", "", "also write the session to this file, for replay")
	fs.StringVar(&f.image, "probe-image", probeImage, "image of the probe")
	fs.StringVar(&f.namespace, "probe-namespace", deploy.DefaultNamespace, "namespace that the probe's pods run in")
	fs.StringSliceVar(&f.secrets, "probe-pull-secret", nil, "secret in the probe's namespace to pull its image with")
	fs.BoolVar(&f.powerful, "probe-privileged", false, "run the probe privileged instead of with six capabilities, where a cluster insists")
	fs.BoolVar(&f.readOnly, "read-only", false, "make enforcement impossible in this session")
	fs.BoolVar(&f.noDrops, "no-drops", false, "don't trace the kernel's drops")
	fs.BoolVar(&f.noOwners, "no-owners", false, "don't look which process opened or accepted a connection")
	fs.BoolVar(&f.noNames, "no-names", false, "read nothing of any payload: no DNS answers, TLS server names, HTTP or gRPC requests")
	fs.BoolVar(&f.noBlame, "no-blame", false, "don't trace which netfilter rule dropped a packet: no table of ours on the nodes")
	fs.BoolVarP(&f.yes, "yes", "y", false, "don't ask")
}

func (f *liveFlags) addPage(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.page, "page", "", "page to begin with; without a screen, print it instead of events: top, flows, changes, connections, drops, policies, policy, nodes, timeline, matrix or why")
}

// wanted says what a live session is about.
type wanted struct {
	target     kube.Target
	candidates []*policy.Policy
	modes      map[session.PolicyKey]session.Mode
	unchosen   session.Mode // of the cluster's policies that modes doesn't name; zero: dry-run
	everywhere bool         // a probe on each node from the start, also where no pod is yet
	// pods, if set, replaces the target's choice.
	pods func(w *kube.Watcher) (func(*identity.Pod) bool, error)
}

// liveSession is a session on a cluster with all that it stands on.
type liveSession struct {
	*session.Live
	client   *kube.Client
	watcher  *kube.Watcher
	deployer *deploy.Deployer
	cancel   context.CancelFunc
	wait     sync.WaitGroup

	mu      sync.Mutex
	reports map[string]func(phase, message string)
}

// watchCluster connects and lists what there is.
func (g *globals) watchCluster(ctx context.Context) (*kube.Client, *kube.Watcher, error) {
	config, err := g.config.ToRESTConfig()
	if err != nil {
		return nil, nil, err
	}
	client, err := kube.Connect(config)
	if err != nil {
		return nil, nil, err
	}
	namespace, _, err := g.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, nil, err
	}
	watcher, err := kube.Watch(ctx, client, kube.Options{Namespace: namespace})
	return client, watcher, err
}

// openLive makes sure that the session can work, then starts it on the nodes
// that it needs now. Nodes that it needs later follow by themselves.
func (g *globals) openLive(ctx context.Context, f *liveFlags, want wanted) (*liveSession, error) {
	if err := checkPage(f.page); err != nil {
		return nil, err
	}
	if f.record != "" {
		if err := record.Check(f.record); err != nil {
			return nil, err
		}
	}
	if f.image == "" {
		return nil, errors.New("this build has no probe image of its own: give one that your nodes can pull with --probe-image")
	}
	if f.limit < 0 {
		return nil, errNegative
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &liveSession{cancel: cancel, reports: map[string]func(string, string){}}
	opened := false
	defer func() {
		if !opened {
			s.end()
		}
	}()
	var err error
	if s.client, s.watcher, err = g.watchCluster(ctx); err != nil {
		return nil, err
	}
	match := want.target.Match(s.watcher)
	if want.pods != nil {
		if match, err = want.pods(s.watcher); err != nil {
			return nil, err
		}
	} else if err := want.target.Check(s.watcher); err != nil {
		return nil, err
	} else if note := want.target.Unjudged(s.watcher); note != "" {
		fmt.Fprintf(g.ErrOut, "note: %s\n", note)
	}
	if scope := s.watcher.State().World.Scope; len(scope) > 0 {
		fmt.Fprintf(g.ErrOut, "note: %s\n", scopeNote(scope))
	}
	for _, problem := range s.watcher.State().Problems {
		fmt.Fprintf(g.ErrOut, "warning: %s\n", oneLine(errors.New(problem)))
	}
	nodes := nodesOf(s.watcher.State().World, match)
	if want.everywhere {
		nodes = slices.Sorted(maps.Keys(s.watcher.State().World.Nodes))
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%s: none of the pods runs on a node yet; see kubectl get pods -o wide", &want.target)
	}
	if err := g.askForMany(len(nodes), f.yes); err != nil {
		return nil, err
	}
	name := strings.ToLower(rand.Text()[:10])
	s.deployer, err = deploy.New(s.client.Typed, s.client.Config, deploy.Options{
		Namespace: f.namespace, Image: f.image, Session: name, Progress: s.report,
		PullSecrets: f.secrets, Privileged: f.powerful, Deadline: deadline(f.limit),
	})
	if err != nil {
		return nil, err
	}
	if err := s.deployer.Preflight(ctx, nodes[0]); err != nil {
		return nil, err
	}
	probes := make([]session.Probe, len(nodes))
	for i, n := range nodes {
		probes[i] = s.probe(n)
	}
	s.Live, err = session.NewLive(ctx, session.Config{
		Cluster: s.watcher, NewCompiler: newCompiler, Probes: probes, Session: name, Program: "kubectl-ebpol " + version.String(),
		ReadOnly: f.readOnly, Select: match, Candidates: want.candidates, Modes: want.modes, Unchosen: want.unchosen,
		Options: &wire.Options{
			Drops: !f.noDrops, Blame: !f.noDrops && !f.noBlame, Owners: !f.noOwners, Names: !f.noNames,
		},
	})
	if err != nil {
		return nil, err
	}
	s.wait.Go(func() { s.follow(ctx, g, match, nodes) })
	opened = true
	return s, nil
}

// deadline is when the cluster ends the pods whatever happens: some time after
// the session means to.
func deadline(limit time.Duration) time.Duration {
	return max(deploy.DefaultDeadline, limit+10*time.Minute)
}

// askForMany asks before a session spreads over a large cluster.
func (g *globals) askForMany(nodes int, yes bool) error {
	if nodes <= manyNodes || yes {
		return nil
	}
	return g.confirm(fmt.Sprintf("this puts a probe on each of %d nodes", nodes), "yes")
}

// nodesOf are the nodes that the pods run on, sorted.
func nodesOf(w *identity.World, match func(*identity.Pod) bool) []string {
	found := map[string]bool{}
	for _, p := range w.Pods {
		if p.Node != "" && !p.Done && match(p) {
			found[p.Node] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// probe is the probe of one node, for the session.
func (s *liveSession) probe(node string) session.Probe {
	var pod *deploy.Probe
	gone := func(err error) error {
		if errors.Is(err, deploy.ErrGone) {
			return goneError{err}
		}
		return err
	}
	return session.Probe{
		Node: node,
		Prepare: func(ctx context.Context, report func(phase, message string)) error {
			s.mu.Lock()
			s.reports[node] = report
			s.mu.Unlock()
			var err error
			pod, err = s.deployer.Open(ctx, node)
			return gone(err)
		},
		Dialer: session.DialFunc(func(ctx context.Context) (stream, error) {
			rw, err := pod.Dial(ctx)
			return rw, gone(err)
		}),
	}
}

// goneError is the deployer's word for a probe that won't come back, in the
// session's terms.
type goneError struct{ error }

func (e goneError) Unwrap() error        { return e.error }
func (e goneError) Is(target error) bool { return target == session.ErrGone }

// report passes on how it goes with a node's pod.
func (s *liveSession) report(p deploy.Progress) {
	s.mu.Lock()
	report := s.reports[p.Node]
	s.mu.Unlock()
	if report != nil {
		report(string(p.Phase), p.Message)
	}
}

// follow opens probes on nodes that the pods come to later, up to the number
// that needs no question.
func (s *liveSession) follow(ctx context.Context, g *globals, match func(*identity.Pod) bool, open []string) {
	known := map[string]bool{}
	for _, n := range open {
		known[n] = true
	}
	for {
		changed := s.watcher.Changed()
		for _, n := range nodesOf(s.watcher.State().World, match) {
			if known[n] {
				continue
			}
			known[n] = true
			if len(known) > max(manyNodes, len(open)) {
				fmt.Fprintf(g.ErrOut, "warning: pods came to node %s, which is left out: more than %d nodes\n", n, manyNodes)
				continue
			}
			if err := s.Add(s.probe(n)); err != nil {
				return // the session is over
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Close implements [session.Source]: the pods go, whatever else fails.
func (s *liveSession) Close(ctx context.Context) error {
	err := s.Live.Close(ctx)
	err = errors.Join(err, s.deployer.Close(ctx))
	s.end()
	return err
}

func (s *liveSession) end() {
	s.cancel()
	s.wait.Wait()
	if s.watcher != nil {
		s.watcher.Close()
	}
}

// where reads -n, -A, -l and --node into a target of all pods there.
type where struct {
	all      bool
	selector string
	node     string
}

func (w *where) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&w.all, "all-namespaces", "A", false, "the pods of all namespaces")
	cmd.Flags().StringVarP(&w.selector, "selector", "l", "", "label selector of the pods")
	cmd.Flags().StringVar(&w.node, "node", "", "pods on this node only")
}

func (w *where) target(g *globals) (kube.Target, error) {
	t := kube.Target{Node: w.node}
	if w.selector != "" {
		sel, err := labels.Parse(w.selector)
		if err != nil {
			return t, fmt.Errorf("label selector %q: %w", w.selector, err)
		}
		t.Selector = sel
	}
	if !w.all {
		ns, _, err := g.config.ToRawKubeConfigLoader().Namespace()
		if err != nil {
			return t, err
		}
		t.Namespace = ns
	}
	return t, nil
}
