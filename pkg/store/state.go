// SPDX-License-Identifier: Apache-2.0

package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Options say how large a store may grow and what its header says. The zero
// value is ready.
type Options struct {
	Limits
	Source string // "cluster CONTEXT", "this machine", "recording FILE"
	Replay bool
	// Requests says how many requests the session has sent to the API server; nil: it has none.
	Requests func() uint64
	// Verified says how many of the kernels' verdicts were compared with the
	// reference evaluator, and how many of these agree; nil: none are.
	Verified func() (agreed, compared uint64)
	// Quiet has Apply return nothing: nobody prints. A screen takes snapshots,
	// and at 10,000 events a second making a list of them for nobody is a third
	// of all the memory that the store asks for.
	Quiet bool
}

const (
	defaultFlows  = 100_000
	defaultDrops  = 10_000
	defaultEvents = 10_000

	defaultSubjects = 20_000
	defaultRules    = 500_000
	historyTicks    = 120
	tick            = time.Second
)

// Store is the state of one session; see the package comment.
type Store struct {
	opt Options

	known atomic.Pointer[identity.World] // readable while the store is locked, as filters do

	mu      sync.RWMutex
	version version
	now     time.Time // the newest frame's; a recording has its own time

	names  names
	rules  rules
	rows   rows
	open   queue // rows in the order in which they came
	closed queue // rows in the order in which they closed
	drops  dropTable
	sums   sums
	pods   map[string]*account // what each subject sums up to, by namespace/pod
	nodes  map[string]*nodeState
	events timeline
	gaps   int

	notice  string // the session's last word about itself
	notices int
	letGo   uint64

	joins     joins
	dns       dnsNames
	early     []early // answers before their connection's news
	strikes   strikes // drops before that
	reference reference
	isolation isolation
	waiting   []*row       // not settled: looked at again as time goes by
	spare     []*row       // memory of the last waiting
	found     []*row       // memory of the last look-up
	gone      []*row       // let go while somebody was looking
	looking   atomic.Int32 // snapshots under way: rows that they have seen stay what they are
	touched   uint64
	lookedAt  time.Time
	// arrived numbers rows.
	arrived uint64
	ticked  time.Time
	viewing sync.Mutex // held by the one snapshot that may use rows.view
}

// New returns an empty store.
func New(opt Options) *Store {
	if opt.Flows <= 0 {
		opt.Flows = defaultFlows
	}
	if opt.Drops <= 0 {
		opt.Drops = defaultDrops
	}
	if opt.Events <= 0 {
		opt.Events = defaultEvents
	}
	if opt.Subjects <= 0 {
		opt.Subjects = defaultSubjects
	}
	if opt.Rules <= 0 {
		opt.Rules = defaultRules
	}
	s := &Store{
		opt: opt, pods: map[string]*account{}, nodes: map[string]*nodeState{}, strikes: strikes{},
		open:   queue{still: func(r *row) bool { return r.inOpen }},
		closed: queue{still: func(r *row) bool { return r.inClosed }},
	}
	s.rows.init()
	s.names.init()
	s.rules.init()
	s.drops.init()
	s.joins.init()
	s.isolation.init()
	s.sums.init()
	s.events.limit, s.rules.limit = opt.Events, opt.Rules
	return s
}

// Apply takes the next frame and returns what happened in it, named, for
// whoever prints. Frames of unknown bodies change nothing. Only one goroutine
// may call it.
func (s *Store) Apply(f *wire.Frame) []flow.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &applying{s: s, node: f.GetNode(), at: time.Unix(0, f.GetTimeNs()).UTC()}
	if f.GetTimeNs() == 0 {
		a.at = s.now
	}
	if a.at.After(s.now) {
		s.now = a.at
	}
	if n := s.nodes[a.node]; n != nil {
		n.heard = s.now
	}
	news, came := true, s.events.came
	switch b := f.GetBody().(type) {
	case *wire.Frame_Hello:
		a.hello(b.Hello)
	case *wire.Frame_Heartbeat:
		news = a.heartbeat(b.Heartbeat)
	case *wire.Frame_EndpointStates:
		a.endpointStates(b.EndpointStates)
	case *wire.Frame_Flows:
		a.flows(b.Flows.GetFlows())
	case *wire.Frame_Answers:
		a.answers(b.Answers)
	case *wire.Frame_Drops:
		a.dropped(b.Drops)
	case *wire.Frame_Hops:
		a.hops(b.Hops)
	case *wire.Frame_Applied:
		a.applied(b.Applied)
	case *wire.Frame_Stats:
		a.stats(b.Stats)
		news = false
		s.version.costs++
	case *wire.Frame_Notice:
		a.notice(b.Notice)
	case *wire.Frame_Gap:
		a.gap(b.Gap)
	case *wire.Frame_LeaseState:
		a.lease(b.LeaseState)
	case *wire.Frame_World:
		was := s.names.ledger.World()
		a.world(b.World)
		a.podsChanged(was, b.World)
	case *wire.Frame_RuleNames:
		s.rules.add(b.RuleNames)
	case *wire.Frame_PolicyStates:
		var was map[policyKey]policyStands
		if !b.PolicyStates.GetMore() {
			was = s.rules.modes()
		}
		s.rules.states(b.PolicyStates, a.at)
		a.policiesChanged(was)
	case *wire.Frame_ProbeState:
		a.probeState(b.ProbeState)
	default:
		return nil
	}
	s.advance()
	looked := a.lookAgain()
	s.sums.findNewest()
	s.review()
	if news || looked || s.events.came != came {
		s.version.any++ // that a hundred nodes are still there is no reason to draw
	}
	return a.out
}

// applying is one frame on its way in.
type applying struct {
	s    *Store
	node string
	at   time.Time // the frame's
	out  []flow.Event
}

// emit hands an event to the printer and to the timeline.
func (a *applying) emit(e flow.Event, id FlowID) {
	a.print(&e)
	a.s.events.add(&e, id)
}

// emitRow hands an event of a row to both. Most of a busy session's are
// ordinary, and nobody prints them: it is written where the timeline keeps it.
func (a *applying) emitRow(r *row, typ flow.EventType, at time.Time) {
	s := a.s
	if !s.opt.Quiet {
		a.emit(s.event(r, typ, at), r.id)
		return
	}
	e := s.events.room(r.id)
	s.tell(r, &e.event, &e.source, &e.dest, typ, at)
	s.events.wrote(e)
}

// print hands an event to the printer alone.
func (a *applying) print(e *flow.Event) {
	if !a.s.opt.Quiet {
		a.out = append(a.out, *e)
	}
}

// World is what is known of the cluster; nil before the first World frame.
func (s *Store) World() *identity.World { return s.known.Load() }
