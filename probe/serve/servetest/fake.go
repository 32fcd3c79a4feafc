// SPDX-License-Identifier: Apache-2.0

// Package servetest has a probe without a kernel, for tests of whoever speaks
// to one.
package servetest

import (
	"errors"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// Fake is a [serve.Probe] that keeps its tables in Go. Its methods are safe
// for concurrent use.
type Fake struct {
	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at each change
	sink      serve.Sink
	endpoints []*wire.Endpoint
	rules     *ruleset.Ruleset
	deltas    int
	lease     time.Time
	open      map[uint64]*wire.Flow
	options   *wire.Options
	closed    int
	loss      wire.Loss

	// FailApply, if set, is the error of the next Apply.
	FailApply error
	refuse    error
}

var _ serve.Probe = (*Fake)(nil)

// New makes a probe that sees nothing until it is told to.
func New() *Fake {
	return &Fake{changed: make(chan struct{}), rules: &ruleset.Ruleset{}, open: map[uint64]*wire.Flow{}}
}

func (f *Fake) change() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Await returns when cond, called with the fake's lock held, is true.
func (f *Fake) Await(cond func() bool) {
	for {
		f.mu.Lock()
		ok, ch := cond(), f.changed
		f.mu.Unlock()
		if ok {
			return
		}
		<-ch
	}
}

// AwaitGeneration returns when the tables have reached a generation.
func (f *Fake) AwaitGeneration(g uint64) {
	f.Await(func() bool { return f.rules.Generation >= g })
}

// AwaitEndpoints returns when n endpoints are watched.
func (f *Fake) AwaitEndpoints(n int) {
	f.Await(func() bool { return len(f.endpoints) == n })
}

// See reports flows; open ones are remembered for Resend.
func (f *Fake) See(list ...*wire.Flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*wire.Flow, 0, len(list))
	for _, fl := range list {
		f.open[fl.GetId()] = copyOf(fl)
		if fl.GetKind() == wire.Flow_CLOSE {
			delete(f.open, fl.GetId())
		}
		out = append(out, copyOf(fl))
	}
	f.sink.Flows(out)
}

func copyOf(f *wire.Flow) *wire.Flow {
	return &wire.Flow{
		Id: f.Id, Kind: f.Kind, Endpoint: f.Endpoint, Direction: f.Direction, Protocol: f.Protocol, LocalIp: f.LocalIp, PeerIp: f.PeerIp,
		LocalPort: f.LocalPort, PeerPort: f.PeerPort, Set: f.Set, Verdict: f.Verdict, Bit: f.Bit, Candidate: f.Candidate, CandidateBit: f.CandidateBit,
		PacketsIn: f.PacketsIn, PacketsOut: f.PacketsOut, BytesIn: f.BytesIn, BytesOut: f.BytesOut,
	}
}

// Lost sets the totals that the kernel's side lost.
func (f *Fake) Lost(l *wire.Loss) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loss.Ring, f.loss.Table = l.GetRing(), l.GetTable()
}

// Sink is where this fake reports to.
func (f *Fake) Sink() serve.Sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sink
}

// Rules are the tables as they are now.
func (f *Fake) Rules() *ruleset.Ruleset {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules
}

// Deltas is how many were applied.
func (f *Fake) Deltas() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deltas
}

// Endpoints is the list of the last SetEndpoints.
func (f *Fake) Endpoints() []*wire.Endpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.endpoints
}

// Enforcing says whether the lease runs now.
func (f *Fake) Enforcing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.lease)
}

// Options is what was set last.
func (f *Fake) Options() *wire.Options {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.options
}

// OptionsLocked is Options for a condition of Await.
func (f *Fake) OptionsLocked() *wire.Options { return f.options }

// Closed says how often Close was called.
func (f *Fake) Closed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Facts implements [serve.Probe].
func (f *Fake) Facts() serve.Facts {
	return serve.Facts{Kernel: "6.18.0-fake", BootOffset: time.Second, Features: []*wire.Feature{{Name: "tcx", Present: true}}}
}

// Start implements [serve.Probe].
func (f *Fake) Start(sink serve.Sink) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sink != nil {
		return errors.New("started twice")
	}
	f.sink = sink
	f.change()
	return nil
}

// SetEndpoints implements [serve.Probe]; all of them are attached at once.
func (f *Fake) SetEndpoints(list []*wire.Endpoint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endpoints = list
	f.change()
	f.sink.EndpointStates(f.states())
	return nil
}

func (f *Fake) states() (out []*wire.EndpointState) {
	for _, e := range f.endpoints {
		out = append(out, &wire.EndpointState{Id: e.GetId(), Attached: true, Device: "eth0", Hook: "tcx"})
	}
	return out
}

// Refuse makes each Apply end in an error, until it is nil.
func (f *Fake) Refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = err
}

// Apply implements [serve.Probe].
func (f *Fake) Apply(d *ruleset.Delta) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.FailApply; err != nil {
		f.FailApply = nil
		return err
	}
	if f.refuse != nil {
		return f.refuse
	}
	next, err := f.rules.Apply(d)
	if err != nil {
		return err
	}
	f.rules = next
	f.deltas++
	f.change()
	return nil
}

// Generation implements [serve.Probe].
func (f *Fake) Generation() uint64 { return f.Rules().Generation }

// SetLease implements [serve.Probe].
func (f *Fake) SetLease(d time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lease = time.Time{}
	if d > 0 {
		f.lease = time.Now().Add(d)
	}
	f.change()
	return nil
}

// SetOptions implements [serve.Probe].
func (f *Fake) SetOptions(o *wire.Options) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.options = o
	f.change()
	return nil
}

// Resend implements [serve.Probe].
func (f *Fake) Resend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sink.EndpointStates(f.states())
	var list []*wire.Flow
	for _, fl := range f.open {
		c := copyOf(fl)
		c.Kind = wire.Flow_COUNTERS
		list = append(list, c)
	}
	f.sink.Flows(list)
}

// Loss implements [serve.Probe].
func (f *Fake) Loss() *wire.Loss {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &wire.Loss{Ring: f.loss.Ring, Table: f.loss.Table}
}

// Stats implements [serve.Probe].
func (f *Fake) Stats() *wire.Stats { return &wire.Stats{RssBytes: 1 << 20} }

// EnforcedPackets implements [serve.Probe].
func (f *Fake) EnforcedPackets() uint64 { return 0 }

// Close implements [serve.Probe].
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	f.change()
	return nil
}
