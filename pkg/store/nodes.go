// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// nodeState is what is known of one node's probe.
type nodeState struct {
	row        NodeRow
	instance   string
	bootOffset int64
	helloAt    time.Time     // by the node's clock
	skew       time.Duration // of the node's clock against the plugin's
	endpoints  map[uint32]*wire.EndpointState
	told       Loss      // what the last loss event spoke of
	samples    uint64    // lost so far
	toldAt     time.Time // of the last loss event
	statsAt    time.Time
	sent       uint64
	leaseAt    time.Time
	totalLeft  time.Duration
	kernel     map[kernelKey]*kernelCount
	forgot     bool                  // some of kernel, that go on
	attachedAt map[uint32]time.Time  // endpoints, since when they are watched
	heard      time.Time             // when the last frame came
	lostAt     time.Time             // when samples were last lost, as far as it was told
	appliedAt  time.Time             // when its rules last changed
	runs       map[string]programRun // by program
	runsAt     time.Time
}

// notSkewed is how far apart the clocks of a node and of the plugin may seem
// without being so: a hello takes a moment on its way.
const notSkewed = time.Second

// A loss event each so often at most: losses come in floods.
const lossEvery = 5 * time.Second

func (a *applying) nodeState() *nodeState {
	n := a.s.nodes[a.node]
	if n == nil {
		n = &nodeState{
			row: NodeRow{Node: a.node}, endpoints: map[uint32]*wire.EndpointState{}, kernel: map[kernelKey]*kernelCount{},
			attachedAt: map[uint32]time.Time{}, heard: a.s.now,
		}
		a.s.nodes[a.node] = n
	}
	return n
}

func (a *applying) hello(m *wire.Hello) {
	if a.node == "" {
		return
	}
	n := a.nodeState()
	if n.instance != "" && m.GetInstance() != n.instance {
		// Another process: what its connections are called starts again.
		for _, r := range a.s.rows.on(a.node).all() {
			if !r.done {
				r.closeReason = "probe gone"
				a.close(r)
			}
			a.s.forget(r)
		}
		clear(n.endpoints)
		clear(n.attachedAt)
		clear(n.kernel)
		n.sent, n.statsAt = 0, time.Time{}
		n.row.Loss, n.told, n.samples = Loss{}, Loss{}, 0
		n.row.Dropped = 0
	}
	n.instance, n.helloAt = m.GetInstance(), a.at
	if m.GetBootOffsetNs() != 0 {
		n.bootOffset = m.GetBootOffsetNs()
	}
	n.row.Kernel = clean(m.GetKernel())
	n.row.Features = nil
	for _, f := range m.GetFeatures() {
		n.row.Features = append(n.row.Features, Feature{clean(f.GetName()), f.GetPresent(), clean(f.GetWhy())})
	}
}

// heartbeat takes over what was lost, and says whether that is new.
func (a *applying) heartbeat(m *wire.Heartbeat) bool {
	l := m.GetLoss()
	if a.node == "" || l == nil {
		return false
	}
	known := a.s.nodes[a.node] != nil
	n := a.nodeState()
	was := n.row.Loss
	n.row.Loss = Loss{l.GetRing(), l.GetThinned(), l.GetTable(), l.GetResent(), l.GetUntrackedPackets(), l.GetUntrackedBytes()}
	lost := n.row.Loss.samples() - n.told.samples()
	if n.row.Loss.samples() > n.samples {
		n.lostAt = a.s.now
	}
	n.samples = n.row.Loss.samples()
	if n.row.Loss.samples() <= n.told.samples() || a.at.Sub(n.toldAt) < lossEvery && !n.toldAt.IsZero() {
		return !known || n.row.Loss != was
	}
	a.emit(flow.Event{
		Type: flow.LossEvent, Time: a.at, Node: a.node, Lost: lost, Reason: n.row.Loss.since(n.told),
		Note: "samples were left out; counters are exact",
	}, FlowID{})
	n.told, n.toldAt = n.row.Loss, a.at
	return true
}

func (l Loss) samples() uint64 { return l.Ring + l.Thinned + l.Table + l.Resent }

// since names the causes that grew.
func (l Loss) since(old Loss) string {
	var parts []string
	for _, c := range []struct {
		name string
		grew bool
	}{
		{"ring buffer full", l.Ring > old.Ring},
		{"thinned to the stream's budget", l.Thinned > old.Thinned},
		{"connection table full", l.Table > old.Table},
		{"resend buffer overrun", l.Resent > old.Resent},
	} {
		if c.grew {
			parts = append(parts, c.name)
		}
	}
	return strings.Join(parts, ", ")
}

func (a *applying) endpointStates(m *wire.EndpointStates) {
	n := a.nodeState()
	for _, e := range m.GetStates() {
		if !e.GetAttached() && e.GetError() == "" {
			delete(n.endpoints, e.GetId())
			delete(n.attachedAt, e.GetId())
			continue
		}
		n.endpoints[e.GetId()] = e
		if _, known := n.attachedAt[e.GetId()]; !e.GetAttached() {
			delete(n.attachedAt, e.GetId())
		} else if !known {
			n.attachedAt[e.GetId()] = a.s.now
		}
	}
	n.row.Endpoints, n.row.Failed = 0, 0
	others := map[string]bool{}
	for _, e := range n.endpoints {
		if !e.GetAttached() {
			n.row.Failed++
			continue
		}
		n.row.Endpoints++
		n.row.Hook = clean(e.GetHook())
		for _, o := range e.GetOthers() {
			others[clean(o)] = true
		}
	}
	n.row.Others = slices.Sorted(maps.Keys(others))
}

func (a *applying) applied(m *wire.Applied) {
	n := a.nodeState()
	if m.GetError() != "" {
		n.row.Error = fmt.Sprintf("policies of generation %d were not taken: %s", m.GetGeneration(), clean(m.GetError()))
		return
	}
	if n.row.Generation != m.GetGeneration() {
		n.appliedAt = a.s.now
	}
	n.row.Generation = m.GetGeneration()
}

func (a *applying) stats(m *wire.Stats) {
	n := a.nodeState()
	n.row.RSS, n.row.MapBytes, n.row.Conns = m.GetRssBytes(), m.GetMapBytes(), m.GetConnections()
	n.row.RingFill = float64(m.GetRingFillPermille()) / 1000
	if dt := a.at.Sub(n.statsAt); !n.statsAt.IsZero() && dt > 0 && m.GetSentBytes() >= n.sent {
		n.row.SentRate = float64(m.GetSentBytes()-n.sent) / dt.Seconds()
	}
	n.statsAt, n.sent = a.at, m.GetSentBytes()
	n.programs(m.GetPrograms(), a.at)
}

func (a *applying) notice(m *wire.Notice) {
	if a.node == "" {
		a.s.notice, a.s.notices = clean(m.GetText()), a.s.notices+1
		return
	}
	a.nodeState().row.Message = clean(m.GetText())
}

func (a *applying) gap(m *wire.Gap) {
	a.s.gaps++
	if a.node != "" {
		a.nodeState().lostAt = a.s.now
	}
	var lost uint64
	if m.GetTo() >= m.GetFrom() && m.GetFrom() > 0 {
		lost = m.GetTo() - m.GetFrom() + 1
	}
	note := "the stream was cut; counters are exact again"
	if d := time.Duration(m.GetCutNs()); d > 0 {
		note = fmt.Sprintf("the stream was cut for %s; counters are exact again", d.Round(time.Millisecond))
	}
	a.emit(flow.Event{Type: flow.GapEvent, Time: a.at, Node: a.node, Lost: lost, Reason: clean(m.GetReason()), Note: note}, FlowID{})
}

func (a *applying) lease(m *wire.LeaseState) {
	n := a.nodeState()
	if n.row.Enforcing != m.GetActive() {
		a.leaseChanged(m)
	}
	n.row.Enforcing = m.GetActive()
	n.row.Dropped = max(n.row.Dropped, m.GetDroppedPackets())
	n.row.LeaseLeft, n.totalLeft, n.leaseAt = 0, 0, a.at
	if m.GetActive() {
		n.row.LeaseLeft, n.totalLeft = time.Duration(m.GetLeftNs()), time.Duration(m.GetTotalLeftNs())
	}
	if m.GetRefused() != "" {
		n.row.Message = clean(m.GetRefused())
	}
}

func (a *applying) probeState(m *wire.ProbeState) {
	if a.node == "" {
		return
	}
	n := a.nodeState()
	// The plugin says "live" as soon as it has read the probe's hello.
	if m.GetPhase() == "live" && !n.helloAt.IsZero() {
		n.skew = n.helloAt.Sub(a.at)
		if n.skew.Abs() < notSkewed {
			n.skew = 0
		}
	}
	n.row.Phase, n.row.Message, n.row.Error = clean(m.GetPhase()), clean(m.GetMessage()), clean(m.GetError())
}

// left is what remains of a time that was d when it was told.
func (s *Store) left(d time.Duration, told time.Time) time.Duration {
	return max(0, d-s.now.Sub(told))
}

// clean bounds a text from outside and takes control characters out of it.
func clean(s string) string {
	s = wire.Clean(s, 512)
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
