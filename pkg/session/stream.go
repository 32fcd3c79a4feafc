// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// maxFailures is how often in a row a probe may fail to apply the same rules
// before it is left with what it has until they change.
const maxFailures = 3

// read passes on what the probe says until the stream ends.
func (c *stream) read(quiet *time.Timer) error {
	for {
		quiet.Reset(silentFor)
		f, err := c.r.Read()
		if err != nil {
			return err
		}
		if !c.n.count(f) {
			continue // came before the cut already
		}
		f.Node = c.n.Node
		switch b := f.GetBody().(type) {
		case nil:
			continue
		case *wire.Frame_Bye:
			c.bye = wire.Clean(b.Bye.GetReason(), 500)
			continue
		case *wire.Frame_Applied:
			c.n.applied(b.Applied)
		case *wire.Frame_LeaseState:
			c.n.leaseIs(b.LeaseState)
		case *wire.Frame_Flows:
			c.n.l.flows.note(c.n.Node, b.Flows)
			if s := c.n.l.sampler; s != nil {
				s.take(c.n, b.Flows, time.Now())
			}
		case *wire.Frame_Drops:
			c.unseen.judge(c.n.rules(), b.Drops)
		case *wire.Frame_World, *wire.Frame_RuleNames, *wire.Frame_PolicyStates, *wire.Frame_ProbeState, *wire.Frame_Hello:
			continue // not for a probe to say, or not now
		}
		c.n.l.emit(f)
	}
}

// count notes a frame's number; false if it was received before.
func (n *node) count(f *wire.Frame) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g := f.GetGap(); g != nil {
		n.received = g.GetTo()
		return true
	}
	switch seq := f.GetSeq(); {
	case seq == 0:
		return true
	case seq <= n.received:
		return false
	default:
		n.received = seq
		return true
	}
}

func (n *node) applied(a *wire.Applied) {
	n.mu.Lock()
	defer n.l.stepped()
	defer n.mu.Unlock()
	defer n.signal()
	if n.inFlight == nil || a.GetGeneration() != n.inFlight.Generation {
		return
	}
	if a.GetError() != "" {
		n.base, n.inFlight = nil, nil
		n.failures++
		n.lastErr = a.GetError()
		return
	}
	n.base, n.inFlight = n.inFlight, nil
	n.done = max(n.done, n.base.Generation)
	n.failures = 0
	if n.refuses {
		n.refuses = false
		n.say(wire.Notice_INFO, "the probe takes the rules again: its verdicts are up to date")
	}
}

func (n *node) leaseIs(st *wire.LeaseState) {
	n.mu.Lock()
	n.lease = st
	n.leaseSeq++
	n.mu.Unlock()
	n.l.stepped()
}

// write sends what the probe shall know, a heartbeat each second, and the
// lease, until the stream is closed.
func (c *stream) write() error {
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		now := time.Now()
		if err := c.renew(now); err != nil {
			return err
		}
		f, err := c.next()
		if err != nil {
			return err
		}
		if f != nil {
			if err := c.send(f); err != nil {
				return err
			}
		}
		select {
		case <-c.closed:
			return nil
		case <-beat.C:
			if err := c.send(&wire.Frame{Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{}}}); err != nil {
				return err
			}
			continue
		default:
		}
		if f != nil {
			continue
		}
		select {
		case <-c.closed:
			return nil
		case <-c.n.wake:
		case <-beat.C:
			if err := c.send(&wire.Frame{Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{}}}); err != nil {
				return err
			}
		}
	}
}

func (c *stream) send(f *wire.Frame) error {
	if f.GetHeartbeat() == nil {
		c.seq++
		f.Seq = c.seq
	}
	c.n.mu.Lock()
	f.Ack = c.n.received
	c.n.mu.Unlock()
	f.TimeNs = time.Now().UnixNano()
	return c.w.Write(f)
}

// renew asks for the lease, or gives it back once.
func (c *stream) renew(now time.Time) error {
	d, total := c.n.l.leaseFor(c.n, now)
	if d == 0 {
		if c.leased.IsZero() || c.released {
			return nil
		}
		c.released = true
	} else {
		if now.Sub(c.leased) < heartbeatEvery*9/10 && !c.released {
			return nil
		}
		c.leased, c.released = now, false
	}
	return c.send(&wire.Frame{Body: &wire.Frame_Lease{Lease: &wire.Lease{DurationNs: d.Nanoseconds(), TotalNs: total.Nanoseconds()}}})
}

// next is the next frame that brings the probe towards what is wanted; nil if
// it is there.
func (c *stream) next() (*wire.Frame, error) {
	if len(c.parts) > 0 {
		f := c.parts[0]
		c.parts = c.parts[1:]
		return f, nil
	}
	if o, version := c.n.l.asked.get(); version != c.options {
		c.options = version
		return &wire.Frame{Body: &wire.Frame_Options{Options: o}}, nil
	}
	delta, err := c.n.nextDelta()
	if err != nil {
		return nil, err
	}
	if delta != nil {
		for _, p := range wire.DeltaParts(delta) {
			c.parts = append(c.parts, &wire.Frame{Body: &wire.Frame_Delta{Delta: p}})
		}
		return c.next()
	}
	// After the rules, so that the first packet of a pod is judged by them.
	c.n.mu.Lock()
	eps, version := c.n.endpoints, c.n.epVersion
	c.n.mu.Unlock()
	if version != c.eps {
		c.eps = version
		return &wire.Frame{Body: &wire.Frame_Endpoints{Endpoints: &wire.Endpoints{Endpoints: eps}}}, nil
	}
	return nil, nil
}

// say tells whoever reads the session something about the node.
func (n *node) say(level wire.Notice_Level, text string) {
	n.l.emit(&wire.Frame{Node: n.Node, Body: &wire.Frame_Notice{Notice: &wire.Notice{Level: level, Text: wire.Clean(text, 2000)}}})
}

// nextDelta starts the next step from what the probe holds to what it shall
// hold; nil if there is none, or one is on its way.
func (n *node) nextDelta() (*ruleset.Delta, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.target == nil || n.inFlight != nil || n.done >= n.targetName {
		return nil, nil
	}
	if n.failures >= maxFailures {
		n.failures = 0
		n.done, n.failed = n.targetName, n.targetName // until it changes
		if !n.refuses {                               // each generation fails until something changes: said once
			n.refuses = true
			n.say(wire.Notice_WARN, "the probe can't take the rules, so its verdicts are not up to date: "+n.lastErr)
		}
		return nil, nil
	}
	delta, err := ruleset.DiffPages(n.base, n.target)
	if err != nil { // a set that changed its meaning: whole, then
		if delta, err = ruleset.DiffPages(nil, n.target); err != nil {
			return nil, fmt.Errorf("rules of generation %d: %w", n.targetName, err)
		}
	}
	if n.base != nil && delta.Empty() {
		n.done = n.targetName
		n.l.stepped()
		return nil, nil
	}
	n.inFlight = n.target
	return delta, nil
}
