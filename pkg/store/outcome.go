// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// leaseDrop is the reason of what our own enforcement drops.
const leaseDrop = "EBPOL_LEASE"

// The flags of TCP that outcomes turn on.
const (
	tcpFin = 0x01
	tcpSyn = 0x02
	tcpRst = 0x04
	tcpAck = 0x10
)

const (
	// patience is how long a packet may take to the other end, and an answer back.
	patience = time.Second
	// missing is after how long one that hasn't come is taken for lost: an
	// engine that judges in user space may hold it for long on a busy node.
	missing = 3 * time.Second
	// waiting is how long a row is looked at again without news of its own.
	maxWaiting = 12 * time.Second
	// maxOutcomes are told of one connection: one that goes back and forth is
	// not worth more.
	maxOutcomes = 8
)

// finding is an outcome with what it rests on.
type finding struct {
	outcome flow.Outcome
	because string
	culprit string
}

// age is how long ago the store heard of the row.
func (s *Store) age(r *row) time.Duration { return s.now.Sub(r.arrived.time()) }

// outcome says what became of a row's connection, as far as it can be known now.
func (s *Store) outcome(r *row) finding {
	there, out := r.opened()
	back, in := r.replied()
	if r.enforced && r.enforcedPackets > 0 {
		return finding{flow.Dropped, leaseDrop, Cause{Enforced: true}.Explain().Culprit}
	}
	if r.preex || r.guessed {
		return s.midStream(r, there, back)
	}
	if back == 0 {
		return s.unanswered(r, there)
	}
	if r.protocol != flow.TCP || out|in == 0 {
		return finding{outcome: flow.Answered}
	}
	switch {
	case in&tcpRst != 0 && in&tcpSyn == 0:
		return s.refused(r)
	case in&tcpSyn == 0:
		return finding{outcome: flow.Answered} // its beginning wasn't seen
	case (out|in)&tcpRst != 0 && out&in&tcpFin == 0:
		end := "the source"
		if in&tcpRst != 0 {
			end = "the destination"
		}
		return finding{outcome: flow.Reset, because: "reset by " + end}
	case out&tcpAck != 0:
		return finding{outcome: flow.Answered}
	case s.age(r) >= patience:
		return finding{outcome: flow.HalfOpen, because: "the handshake was not completed"}
	}
	return finding{}
}

// midStream is what can be said of a connection that was open before.
func (s *Store) midStream(r *row, there, back uint64) finding {
	switch {
	case r.protocol == flow.TCP && (r.flagsIn|r.flagsOut)&tcpRst != 0 && r.flagsIn&r.flagsOut&tcpFin == 0:
		return finding{outcome: flow.Reset}
	case there > 0 && back > 0:
		return finding{outcome: flow.Answered}
	}
	return finding{}
}

// refused: a reset answered the first packet. Whoever sent it.
func (s *Store) refused(r *row) finding {
	if r.fault != nil && !r.fault.answer && !r.fault.delivered {
		return finding{flow.Rejected, "a reset came back for a packet that was dropped: " + r.fault.reason, r.fault.culprit}
	}
	if r.direction == flow.Ingress || r.other() != nil || !s.farWatched(r) {
		return finding{outcome: flow.Refused, because: "nobody listens: reset"}
	}
	if s.age(r) < patience || !s.farSpoke(r) {
		return finding{}
	}
	return finding{outcome: flow.Rejected, because: "a reset came back, and the packet never came to " + s.farName(r) + ": something on the way answered"}
}

// unanswered: nothing came back, so far.
func (s *Store) unanswered(r *row, there uint64) finding {
	delivered := r.direction == flow.Ingress || r.other() != nil
	if r.icmp != nil && !r.icmp.tooBig() {
		if r.icmp.noPort() && (r.fault == nil || !r.fault.inside) && (delivered || r.icmp.from == r.peer.Addr() && !s.farWatched(r)) {
			return finding{outcome: flow.Refused, because: r.icmp.words()}
		}
		f := finding{outcome: flow.Rejected, because: r.icmp.words()}
		if r.fault != nil {
			f.culprit = r.fault.culprit
		}
		return f
	}
	if f := r.fault; f != nil {
		if f.delivered && f.reason == "NO_SOCKET" {
			return finding{flow.Refused, "nobody listens", ""}
		}
		if !delivered || f.delivered || f.inside {
			return finding{flow.Dropped, f.reason, f.culprit}
		}
	}
	if r.icmp != nil {
		return finding{outcome: flow.Rejected, because: r.icmp.words()}
	}
	old := s.age(r) >= patience
	switch {
	case !old:
		return finding{}
	case r.direction == flow.Ingress:
		return finding{outcome: flow.Unanswered}
	case r.other() != nil:
		if back, _ := r.other().replied(); back == 0 {
			return finding{outcome: flow.Unanswered}
		}
		f := finding{outcome: flow.Unanswered, because: "the far pod answered, and the answer never came back"}
		if r.protocol == flow.TCP {
			f.outcome = flow.HalfOpen
		}
		if r.fault != nil && r.fault.answer {
			f.culprit = r.fault.culprit
		}
		return f
	case s.age(r) >= missing && s.farWatched(r) && s.farSpoke(r) && !s.masked(r):
		return finding{outcome: flow.NotArrived, because: "left " + nameOf(r.localWho, r.local.Addr().String) + " and never came to " + s.farName(r)}
	case r.protocol == flow.TCP && (r.retransmits > 0 || there > 1):
		return finding{outcome: flow.Retransmitting}
	}
	return finding{}
}

// farEnds are the addresses that r's packets may arrive at.
func (s *Store) farEnds(r *row) []netip.AddrPort {
	switch {
	case r.backend.IsValid():
		return []netip.AddrPort{r.backend}
	case r.viaService():
		return s.backends(r)
	}
	return []netip.AddrPort{r.peer}
}

func (s *Store) podAt(r *row, ip netip.Addr) *identity.Pod {
	return s.names.ledger.Who(ip, r.since).Pod
}

// farWatched says whether every pod that r's packets may go to has been
// watched since before they left.
func (s *Store) farWatched(r *row) bool {
	ends := s.farEnds(r)
	for _, e := range ends {
		p := s.podAt(r, e.Addr())
		if p == nil || p.HostNetwork {
			return false
		}
		n := s.nodes[p.Node]
		id := uint32(s.names.decoder.Endpoint(p.Key()))
		if n == nil || n.row.Phase != "" && n.row.Phase != "live" || id == 0 {
			return false
		}
		at, ok := n.attachedAt[id]
		if !ok || at.After(r.arrived.time()) {
			return false
		}
	}
	return len(ends) > 0
}

// farSpoke says whether the nodes of the far ends have been heard of since, so
// that what arrived there would be known, and have lost nothing.
func (s *Store) farSpoke(r *row) bool {
	for _, e := range s.farEnds(r) {
		p := s.podAt(r, e.Addr())
		if p == nil {
			return false
		}
		n := s.nodes[p.Node]
		if n == nil || n.heard.Sub(r.arrived.time()) < patience || !n.lostAt.Before(r.arrived.time().Add(-patience)) {
			return false
		}
	}
	return true
}

// masked says whether the packets may have come with the address of r's node
// instead of its own, as a CNI may do.
func (s *Store) masked(r *row) bool {
	for _, e := range s.farEnds(r) {
		p := s.podAt(r, e.Addr())
		if p == nil || p.Node == r.id.Node && !r.viaService() {
			continue // nobody translates between pods of one node
		}
		if at, ok := s.joins.masked[maskedKey{r.id.Node, e}]; ok && at.After(r.arrived.time().Add(-patience)) {
			return true
		}
	}
	return false
}

func (s *Store) farName(r *row) string {
	if r.backend.IsValid() {
		return nameOf(r.backendWho, r.backend.Addr().String)
	}
	if r.viaService() {
		return "a backend of " + nameOf(r.peerWho, r.peer.Addr().String)
	}
	return nameOf(r.peerWho, r.peer.Addr().String)
}

// settle looks at a row and its other end again, and tells what is new.
func (a *applying) settle(r *row) {
	a.settleOne(r)
	if r.other() != nil {
		a.settleOne(r.other())
	}
}

// settleOne is settle without the other end. It says whether anything is new.
func (a *applying) settleOne(r *row) (news bool) {
	s := a.s
	f := s.outcome(r)
	if f.outcome == "" {
		f = finding{r.outcome, r.because, r.culprit} // what is known stays
	}
	was, wasAgreed, wasFor, wasBy, wasNote := r.outcome, r.agreement, r.because, r.culprit, r.note
	r.outcome, r.because, r.culprit = f.outcome, f.because, f.culprit
	settled := s.agree(r)
	if r.outcome != was || r.agreement != wasAgreed || r.because != wasFor || r.culprit != wasBy {
		s.rows.reworded(r)
		news = true
	}
	news = news || r.note != wasNote
	if !settled && !r.waits && s.age(r) < maxWaiting {
		r.waits = true
		s.waiting = append(s.waiting, r)
	}
	if r.outcome == "" || r.outcome == was && r.agreement == wasAgreed || r.told >= maxOutcomes {
		return news
	}
	if r.outcome == was && r.outcome == flow.Answered && r.agreement == flow.Agrees {
		return news // what was said says it already
	}
	r.told++
	if (&flow.Event{Type: flow.OutcomeEvent, Observed: r.outcome, Agreement: r.agreement}).Ordinary() {
		// The row says it; the timeline has room for what matters.
		if !s.opt.Quiet {
			e := s.event(r, flow.OutcomeEvent, a.at)
			a.print(&e)
		}
		return news
	}
	a.emitRow(r, flow.OutcomeEvent, a.at)
	return news
}

// lookAgain settles what only time can: no answer is an answer. It says whether
// anything is new by that.
func (a *applying) lookAgain() (news bool) {
	s := a.s
	if s.now.Sub(s.lookedAt) < patience/4 {
		return false
	}
	s.lookedAt = s.now
	a.giveUpEarly()
	s.strikes.forget(s.now)
	list := s.waiting
	s.waiting = s.spare[:0]
	for _, r := range list {
		r.waits = false
		if r.slot != noSlot && s.rows.get(r.id) == r {
			news = a.settleOne(r) || news
		}
	}
	clear(list)
	s.spare = list
	return news
}
