// SPDX-License-Identifier: Apache-2.0

// Package store turns frames into named rows and events, within bounds, and
// answers queries with immutable snapshots for whoever draws or prints.
//
// One goroutine feeds it ([Store.Apply]); any number take snapshots. Counters
// are exact: they come from the kernel as totals. Rows, events and names are
// bounded by [Limits]; what is let go is counted in Snapshot.Health.
package store

import (
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// FlowRow is one connection as seen from one endpoint.
type FlowRow struct {
	ID    FlowID
	Event flow.Event // type "flow" or "close": the newest state, names joined as of the flow's first packet

	First, Last time.Time
	PacketsIn   uint64 // towards the subject; exact
	PacketsOut  uint64
	BytesIn     uint64
	BytesOut    uint64
	Rate        float64 // bytes per second over the last ticks
	Drops       uint64  // kernel drops seen of it, and ours
	Faults      uint64  // of these, all but what is part of ordinary life
	Leased      uint64  // of these, what leases of this session dropped
	Closed      bool
	Preexisting bool
	Backend     *flow.Peer // of a service: who really answers, once known
	TCPFlags    uint8      // union of the flags seen
	Altered     int        // how often the verdict changed
}

// FlowID names a row for as long as it is known.
type FlowID struct {
	Node string
	ID   uint64
}

// DropRow groups drops by reason, location and the two ends' workloads.
type DropRow struct {
	Event    flow.Event // type "drop": the newest sample
	Culprit  string     // in words: "network policy of this session", "netfilter", "no socket", "eBPF program on veth12", ...
	Sentence string     // why, for people; ends with what to do, if there is something
	Count    uint64     // packets, exact where the kernel could count them by this key
	Sampled  bool       // Count is at least, not exactly
	First    time.Time
	Last     time.Time
	Benign   bool // not a fault: part of ordinary life (a reset after close, ...)
}

// WorkloadRow sums up one group of subjects: a workload, a pod, a namespace, a node; or of flows: a port, an external name.
type WorkloadRow struct {
	Namespace string
	Name      string // "deploy/web", "pod/x", the namespace or the node
	Pods      int
	Nodes     []string
	Flows     int // open now
	BytesIn   uint64
	BytesOut  uint64
	Rate      float64 // bytes per second, both ways
	Allowed   uint64  // flows, since the session began
	WouldDeny uint64
	Denied    uint64
	Contested uint64
	Dropped   uint64   // packets, by anyone, benign ones left out
	Enforced  uint64   // packets, by our lease
	History   []uint64 // bytes a second, oldest first, one entry a tick, up to 120
	WouldDrop uint64   // flows allowed now that the candidate denies
}

// PolicyRow is a policy and its mode in this session.
type PolicyRow struct {
	Kind         flow.RuleKind
	Namespace    string
	Name         string
	Origin       string // "cluster", or the file
	Current      bool
	Candidate    bool
	Enforced     bool
	Selected     int // pods
	Hits         uint64
	RuleHits     map[RuleAt]uint64 // flows that the rule decided, by direction and index; index -1: the default deny
	WouldDeny    uint64
	YAML         string
	NotEvaluated string    // why, for kinds that aren't judged
	Changed      time.Time // when its present text came into effect; zero: not known
	Warnings     []string  // of the compiler
}

// The modes of a policy, as people read them.
const (
	ModeNotJudged = "not judged" // of a kind that isn't evaluated
	ModeEnforced  = "enforced"   // its denials are dropped, under a lease
	ModeCurrent   = "current"    // the cluster has it, and so has the candidate set
	ModeLeftOut   = "left out"   // the cluster has it, the candidate set doesn't
	ModeDryRun    = "dry-run"    // the candidate set has it; the cluster doesn't, or another text of it
	ModeOff       = "off"        // neither has it
)

// Mode is the policy's mode, one of the constants.
func (r *PolicyRow) Mode() string {
	switch {
	case r.NotEvaluated != "":
		return ModeNotJudged
	case r.Enforced:
		return ModeEnforced
	case r.Candidate && (!r.Current || r.Replaces()):
		return ModeDryRun
	case r.Current && (r.Candidate || r.Replaces()):
		return ModeCurrent
	case r.Current:
		return ModeLeftOut
	}
	return ModeOff
}

// Replaces says whether a file's text stands beside the cluster's, of the same
// name: in its place while that is tried.
func (r *PolicyRow) Replaces() bool { return r.Current && r.Origin != fromCluster }

// RuleAt names a rule within its policy.
type RuleAt struct {
	Direction flow.Direction
	Index     int
}

// NodeRow is the health of one node's probe.
type NodeRow struct {
	Node       string
	Phase      string // creating, starting, connecting, live, cut, gone, failed
	Message    string
	Error      string
	Kernel     string
	Hook       string // tcx or clsact
	Endpoints  int    // attached
	Failed     int    // endpoints that could not be attached
	Generation uint64
	Features   []Feature
	Loss       Loss
	RSS        uint64
	MapBytes   uint64
	CPU        float64 // share of one core that our programs took, 0..1, over the last ticks
	Conns      uint32
	RingFill   float64 // 0..1
	SentRate   float64 // bytes per second over the API server
	LeaseLeft  time.Duration
	Enforcing  bool
	Dropped    uint64   // packets, by our enforcement, since the probe's start; exact
	Others     []string // other programs seen on our hooks
	Programs   []ProgramCost
}

// Feature is something a node can or can't do, with the reason.
type Feature struct {
	Name    string
	Present bool
	Why     string
}

// Loss counts what did not reach the screen; totals.
type Loss struct {
	Ring, Thinned, Table, Resent uint64
	UntrackedPackets             uint64
	UntrackedBytes               uint64
}

// Any says whether any sample was lost.
func (l Loss) Any() bool { return l.Ring|l.Thinned|l.Table|l.Resent != 0 }

// Order names what rows are sorted by; ties are broken by a stable id.
type Order struct {
	By      string // a column's key, such as "rate", "name", "verdict"; unknown or empty: the page's own
	Reverse bool
}

// Query says what a snapshot shall hold. The zero value asks for everything,
// within Limit.
type Query struct {
	Flows, Drops, Workloads, Policies, Nodes, Timeline bool
	Header                                             bool // nothing but what is always there: Health
	Pairs                                              bool // flows summed up by who talks to whom; only if asked for
	Meets                                              bool // flows summed up by who meets whom, whatever the port; only if asked for

	Match    func(*flow.Event) bool // nil: all; compiled by ParseFilter
	Same     any                    // stands for Match: what it has said of an event it says again to queries of equal Same, so that it isn't asked; nil: nobody knows
	Labels   bool                   // Match looks at the labels of pods, which change while events don't
	Telling  bool                   // of the timeline only what isn't part of ordinary life
	Trouble  bool                   // only rows with a denial, a would-be denial, a contested verdict or a drop
	Changed  bool                   // only flows whose verdict the candidate changes
	GroupBy  string                 // workloads by: "workload" (default), "pod", "namespace", "node", "port", "external"
	Order    Order
	Unsorted bool // workloads may come in any order if all of them do
	Offset   int  // first row wanted
	Limit    int  // rows wanted; 0: 1000
	Benign   bool
	Selected *FlowID // also fetch this flow, wherever it stands
}

// Snapshot is an immutable answer. Slices are the asked-for window, sorted;
// totals count everything that matched.
type Snapshot struct {
	ID   uint64 // equal ids mean equal content for equal queries, Time apart: Store.Version
	Time time.Time

	Flows      []*FlowRow
	FlowTotal  int
	Pairs      []*PairRow
	PairTotal  int
	Meets      []MeetRow // in no order; of more than Limit those with trouble
	MeetNames  []string  // who they are, each once
	MeetTotal  int
	Drops      []*DropRow
	DropTotal  int
	Workloads  []*WorkloadRow
	Policies   []*PolicyRow
	Nodes      []*NodeRow
	Timeline   []Moment // sorted by time, the newest first; with Order.Reverse the oldest
	Selected   *FlowRow
	FlowEvents []flow.Event     // the selected flow's own history
	Isolation  []flow.Isolation // with Nodes: how long policies took to be enforced

	TimelineTotal int
	TimelineFrom  time.Time // of the oldest event that is kept, whether it matches or not

	Health Health
}

// Health is the header of every page.
type Health struct {
	NodesLive, NodesTotal int
	Loss                  Loss
	Gaps                  int
	LetGo                 uint64 // rows dropped to stay in bounds
	HasCandidate          bool
	Enforcing             bool
	LeaseLeft             time.Duration
	EnforceLeft           time.Duration // of --for
	Source                string        // "cluster context", "this machine", "recording FILE"
	Replay                bool
	Scope                 []string // namespaces seen, if not all
	NotEvaluated          int      // policies of kinds that aren't judged
	Notice                string   // the session's last word about itself, such as that policies can't be compiled; "": none
	Notices               int      // how many there were
	Requests              uint64   // sent to the API server so far
	Compared, Agreed      uint64   // verdicts of the kernels that were held against the reference evaluator; those that are what it says
}

// Limits bound memory. The zero value means the defaults in brackets.
type Limits struct {
	Flows  int // open and recently closed [100,000]
	Drops  int // groups [10,000]
	Events int // timeline [10,000]

	Subjects int // pods and addresses that are summed up one by one [20,000]
	Rules    int // rules of policy sets, as often as they are part of one [500,000]
}
