// SPDX-License-Identifier: Apache-2.0

// Package serve speaks the wire for a probe: it takes one plugin's connection
// at a time, hands what the plugin asks for to the [Probe], and sends what the
// probe sees, numbered and within a budget.
//
// # Guarantees
//
// Nothing that was numbered is lost or sent twice as long as the resend buffer
// holds it: a plugin that comes back says what it has, and gets the rest. When
// the buffer was too small it gets a Gap and the whole state again.
//
// Counters are exact whatever the budget: they are totals, so under pressure
// they travel less often, and the newest replaces the one that waits. Only
// samples are left out, and counted. A connection that was never named because
// its first sample was left out is added to Loss.untracked when it ends.
//
// The probe outlives a cut stream by Options.Linger and no longer. Enforcement
// outlives the plugin's last word by its lease and no longer; that is up to
// the kernel, and works even if this process is stopped.
package serve

import (
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// Probe is the kernel's side. Its methods are called from one goroutine at a
// time, except SetLease, Loss and Stats, which may be called at any time.
type Probe interface {
	// Facts doesn't change while the probe lives.
	Facts() Facts
	// Start begins to report to the sink. It is called once, before anything
	// else but Facts.
	Start(sink Sink) error
	// SetEndpoints says which pods to watch: the whole list each time. How it
	// went for each, now and later, is told to the sink.
	SetEndpoints(list []*wire.Endpoint) error
	// Apply brings the tables to the delta's generation. A delta that doesn't
	// start at the generation that the probe holds, or at 0, is an error.
	Apply(d *ruleset.Delta) error
	// Generation of the tables; 0: none.
	Generation() uint64
	// SetLease enforces until d from now, by the kernel's own clock; 0 stops.
	SetLease(d time.Duration) error
	SetOptions(o *wire.Options) error
	// Resend tells the sink all that is known once more: the state of every
	// endpoint, every open connection, and the drop counts.
	Resend()
	// Loss and Stats are totals since the start; Loss.thinned, resent are not the probe's.
	Loss() *wire.Loss
	Stats() *wire.Stats
	// EnforcedPackets is how many packets the lease dropped so far.
	EnforcedPackets() uint64
	// Close frees everything in the kernel. Nothing is told to the sink after it.
	Close() error
}

// Facts are what the node can do.
type Facts struct {
	Kernel     string        // uname -r
	BootOffset time.Duration // add to a boottime stamp to get Unix time
	Features   []*wire.Feature
}

// Sink takes what a probe sees. Its methods don't block and may be called from
// any goroutine; they keep what they are given.
type Sink interface {
	// Flows takes samples and counters. Every Flow has its tuple (endpoint set)
	// and its totals and verdicts as of now: the sink leaves out what the
	// plugin already knows.
	Flows(list []*wire.Flow)
	// Drops takes samples, and exact totals of those counts that changed.
	Drops(samples []*wire.Drop, counts []*wire.DropCount)
	EndpointStates(list []*wire.EndpointState)
	Notice(level wire.Notice_Level, text string)
}
