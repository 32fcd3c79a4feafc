// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Cluster tells a Live session what there is: pkg/kube does, and the demo.
type Cluster interface {
	// Watch calls fn with what is known now, and again after each change,
	// until the context ends. It never calls fn twice at the same time; it
	// may leave out states in between. An error ends the session.
	Watch(ctx context.Context, fn func(State)) error
}

// State is the cluster at one moment. It must not be changed once handed on.
type State struct {
	World        *identity.World
	Policies     []*policy.Policy // that the cluster has, of the kinds that are evaluated
	NotEvaluated []NotEvaluated
	Problems     []string // policies of the cluster that could not be read, and why; each is told once
}

// NotEvaluated is a policy of a kind that isn't judged.
type NotEvaluated struct {
	Kind, Namespace, Name string
	Why                   string // one sentence
}

// Dialer connects to a node's probe.
type Dialer interface {
	// Dial returns a stream of frames. It is called again after the stream was
	// cut. An error that wraps [ErrGone] means that there is no use in
	// another try. The context ends when the stream has been closed, not
	// before: there is still a goodbye to say.
	Dial(ctx context.Context) (io.ReadWriteCloser, error)
}

// DialFunc is a Dialer.
type DialFunc func(ctx context.Context) (io.ReadWriteCloser, error)

// Dial implements [Dialer].
func (f DialFunc) Dial(ctx context.Context) (io.ReadWriteCloser, error) { return f(ctx) }

// ErrGone says that a probe won't come back.
var ErrGone = errors.New("the probe is gone")

// Probe is one node's probe.
type Probe struct {
	Node string
	Dialer
	// Prepare, if set, is called once before the first Dial: it makes the pod
	// and waits until it runs. report tells people how it goes; phases are
	// those of wire.ProbeState.
	Prepare func(ctx context.Context, report func(phase, message string)) error
	// Cleanup, if set, is called once by Close, whatever happened before, and
	// frees what Prepare made.
	Cleanup func(ctx context.Context) error
}

// Compiler turns policies into rulesets; pkg/policy/compile has the real one.
type Compiler interface {
	Compile(in Input) (Compiled, error)
}

// Input is all that an output depends on.
type Input struct {
	Generation uint64
	World      *identity.World
	Policies   []PolicyMode
	Endpoints  map[netip.Addr]ruleset.EndpointID // addresses that are judged
	Pods       *identity.PodDiff                 // that changed since the generation before
}

// PolicyMode is one version of a policy and the sets of policies it is in.
type PolicyMode = compile.PolicyMode

// Compiled is one generation.
type Compiled interface {
	// Node is the ruleset for a node, valid and in order. It is asked for before
	// the next generation is compiled.
	Node(name string) *ruleset.Pages
	// Names says what the bits of a set stand for; nil if there is no such set.
	Names(id ruleset.SetID) *wire.SetNames
}

// Config of a [Live]. Cluster and NewCompiler must be set.
type Config struct {
	Cluster Cluster
	// NewCompiler is called twice: for what is applied, and for what is only
	// imagined, so that a preview leaves no trace in the rules.
	NewCompiler func() Compiler
	Probes      []Probe

	Session  string // names everything that is created; empty: random
	Program  string // "kubectl-ebpol v0.1.0"
	ReadOnly bool   // enforcement is refused, by the probes too

	// Select says which pods to watch. Nil: every pod on the probes' nodes.
	Select func(*identity.Pod) bool
	// Candidates are the policies of the dry-run, read from files. One that
	// has the key of a cluster's policy stands in its place.
	Candidates []*policy.Policy
	// Modes differ from the default, which is DryRun: Off for a cluster's
	// policy takes it out of the candidate set, for a file's leaves the
	// cluster as it is.
	Modes map[PolicyKey]Mode
	// Unchosen is the mode of the cluster's policies that Modes doesn't name,
	// those that come later too. The zero value means DryRun; Enforced makes
	// the session the cluster's policy engine for as long as the lease runs.
	Unchosen Mode

	Options *wire.Options
	Lease   time.Duration // 0: DefaultLease; renewed each second
}

// DefaultLease is how long enforcement outlives the plugin.
const DefaultLease = 10 * time.Second

// KeyOf names a policy within a session.
func KeyOf(p *policy.Policy) PolicyKey {
	return PolicyKey{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}
}
