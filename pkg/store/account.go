// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"time"
)

// account is what one subject, usually a pod, sums up to. It outlives its
// rows, so that totals stay exact when rows are let go.
type account struct {
	// What every event of a connection reads and writes stands close together.
	into                         *account // what it was summed up in when it was let go; nil: it is kept
	bytesIn, bytesOut, tickBytes uint64
	enforced                     uint64
	last                         time.Time // when it last said something

	who  *who
	node string
	addr netip.Addr

	flows, wouldDrop                      int64 // open now
	allowed, wouldDeny, denied, contested int64 // flows since the session began, by their last verdict
	dropped                               uint64
	history                               []uint64
	quiet                                 int // ticks since the last byte
	rate                                  float64
	folds                                 bool // others are summed up in it
}

// accountOf finds or opens the account of a subject. One that has no name goes
// by its address.
func (s *Store) accountOf(w *who, ip netip.Addr, node string) *account {
	key := w.full // of a pod: namespace/name
	if w.pod == "" {
		key = ip.String()
	}
	p := s.pods[key]
	if p == nil {
		for len(s.pods) >= s.opt.Subjects {
			s.foldAccounts()
		}
		p = &account{who: w, node: node, addr: ip}
		s.pods[key] = p
	}
	p.who, p.last = w, s.now
	return p
}

// judged adds a flow's verdict to the sums, or takes it out again.
func (p *account) judged(r *row, by int64) {
	p.verdicts(r.verdict, r.candidate, by)
	if wouldDeny(r.verdict, r.candidate) && !r.done {
		p.wouldDrop += by
		r.wouldDrop = by > 0
	}
}

// tick closes n seconds; what was counted belongs to the last of them. It says
// whether the rate or the history is another one by that.
func (p *account) tick(n int) bool {
	if p.tickBytes == 0 && p.rate == 0 && p.history == nil {
		return false
	}
	for range min(n, historyTicks) - 1 {
		p.push(0)
	}
	p.push(p.tickBytes)
	p.tickBytes = 0
	return true
}

func (p *account) push(bytes uint64) {
	p.rate = (p.rate + float64(bytes)) / 2
	if p.rate < 1 {
		p.rate = 0
	}
	if bytes > 0 {
		p.quiet = 0
	} else if p.quiet++; p.quiet >= historyTicks {
		p.history = nil // thousands have been silent for long
	}
	if p.history == nil && bytes == 0 {
		return
	}
	// What was once handed out with a snapshot is never written again.
	if len(p.history) == cap(p.history) && len(p.history) >= historyTicks {
		p.history = append(make([]uint64, 0, historyTicks+historyTicks/2), p.past()...)
	}
	p.history = append(p.history, bytes)
}

// past is the history as far as it is shown.
func (p *account) past() []uint64 {
	return p.history[max(0, len(p.history)-historyTicks):]
}
