// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// What rules did to the connections that are open is told a moment after the
// rules are answered for, and in changes that come one after the other a fifth
// of the time is spent with it at most: the next rules come first.
const (
	afterAnswer   = 2 * time.Millisecond
	restAfterScan = 4
)

// work is the probe's clock: it looks for pods, reads counters, notices what
// has gone.
func (p *Probe) work() {
	p.mu.Lock()
	tick := time.NewTicker(p.tick)
	p.mu.Unlock()
	defer tick.Stop()
	links := watchLinks(p.stop)
	search := time.NewTimer(time.Hour)
	defer search.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	due.Stop()
	var rested time.Time // when the next scan may begin that isn't a tick's
	for {
		p.mu.Lock()
		next := p.nextSearch()
		p.mu.Unlock()
		search.Reset(next)
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.checkGone()
			p.mu.Unlock()
			p.scan(false)
			p.drops.tell(p.sink, false)
			p.blame.look()
			p.meter.take()
		case <-p.seen:
			due.Reset(max(afterAnswer, time.Until(rested)))
		case <-due.C:
			start := time.Now()
			p.scan(false)
			rested = time.Now().Add(restAfterScan * time.Since(start))
		case <-search.C:
			p.mu.Lock()
			p.search()
			p.mu.Unlock()
		case <-links:
			p.mu.Lock()
			p.hurry()
			p.mu.Unlock()
		case <-p.wake:
			p.mu.Lock()
			tick.Reset(p.tick)
			p.mu.Unlock()
		}
	}
}

// scan tells the sink what moved.
func (p *Probe) scan(all bool) {
	p.scanning.Lock()
	defer p.scanning.Unlock()
	var flows []*wire.Flow
	err := p.kernel.Scan(all, func(r *kernel.Record) {
		if f := p.flow(r); !p.only.keeps(f) {
			flows = append(flows, f)
			p.drops.suspect(f)
		}
		if len(flows) >= 512 {
			p.sink.Flows(flows)
			flows = nil
		}
	})
	if len(flows) > 0 {
		p.sink.Flows(flows)
	}
	if err != nil {
		p.sink.Notice(wire.Notice_WARN, err.Error())
	}
	if c, err := p.kernel.Counts(); err == nil && c.EnforcedPackets != 0 {
		p.sink.Drops(nil, []*wire.DropCount{{ReasonName: leaseReason, Packets: c.EnforcedPackets, Enforced: true}})
	}
}
