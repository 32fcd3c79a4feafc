// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// tupleKey finds a row by addresses. Plain bytes are hashed and compared in one
// go, which a netip.AddrPort isn't.
type tupleKey struct {
	local, peer         [16]byte
	localPort, peerPort uint16
	protocol            flow.Protocol
}

func keyBetween(p flow.Protocol, local, peer netip.AddrPort) tupleKey {
	return tupleKey{local.Addr().As16(), peer.Addr().As16(), local.Port(), peer.Port(), p}
}

func (r *row) key() tupleKey { return keyBetween(r.protocol, r.local, r.peer) }

// flows takes what a node tells of its connections. All rows are looked up
// and touched before the first is changed: of a hundred thousand hardly one is
// in the processor's cache, and so it fetches several at a time instead of
// waiting for each.
func (a *applying) flows(list []*wire.Flow) {
	s := a.s
	mine := s.rows.on(a.node)
	found := s.found[:0]
	for _, m := range list {
		found = append(found, mine.get(m.GetId()))
	}
	for _, r := range found {
		if r != nil {
			s.touched += r.id.ID + r.bytesIn + r.sum.in + uint64(r.flagsIn)
		}
	}
	for _, r := range found {
		if r != nil && r.sum.pair != nil {
			s.touched += r.sum.pair.Bytes + uint64(r.sum.pair.Open) + r.account.bytesIn //nolint:gosec // nobody reads it
		}
	}
	for i, m := range list {
		r := found[i]
		if r == nil || r.slot == noSlot || r.id.ID != m.GetId() { // it came with this frame, or went
			r = s.rows.get(FlowID{a.node, m.GetId()})
		}
		a.flow(r, m)
	}
	clear(found)
	s.found = found
}

// flow takes what a message says of a row; nil: it is a new one's.
func (a *applying) flow(r *row, m *wire.Flow) {
	s := a.s
	id := FlowID{a.node, m.GetId()}
	isNew := r == nil
	was := r.state()
	if isNew {
		if r = a.newRow(id, m); r == nil {
			return // let go, or never told of: its totals are in the loss counters
		}
	}
	r.account = r.account.kept()
	a.count(r, m)
	a.observe(r, m)
	altered := a.judge(r, m)
	if !isNew && altered {
		r.altered++
	}
	moved := len(m.GetBackendIp()) > 0 && a.backend(r, m)
	switch {
	case isNew:
		a.emitRow(r, flow.FlowEvent, r.first)
		a.placeEarly(r)
		a.recall(r)
	case m.GetKind() == wire.Flow_VERDICT && altered:
		a.emitRow(r, flow.VerdictEvent, a.at)
	}
	ends := m.GetKind() == wire.Flow_CLOSE && !r.done
	if altered || moved || isNew && r.backend.IsValid() || r.state() != was || ends {
		a.settle(r)
	}
	if ends {
		r.closeReason = clean(m.GetCloseReason())
		a.close(r)
	}
	s.sum(r)
	s.recounted(r)
}

// backend takes over who answers for a service, and says whether that is new.
func (a *applying) backend(r *row, m *wire.Flow) bool {
	ip, ok := wire.Addr(m.GetBackendIp())
	if !ok || m.GetBackendPort() > 0xffff {
		return false
	}
	at := netip.AddrPortFrom(ip, uint16(m.GetBackendPort()))
	moved := at != r.backend
	r.backend, r.backendWho = at, a.s.names.of(ip, r.since)
	a.s.sums.answers(r)
	if moved {
		a.s.rows.reworded(r)
	}
	return moved
}

func (a *applying) newRow(id FlowID, m *wire.Flow) *row {
	s := a.s
	t, d, ok := m.Tuple()
	if !ok {
		return nil
	}
	local, peer := t.Source, t.Destination
	if d == flow.Ingress {
		local, peer = peer, local
	}
	s.makeRoom()
	r := s.rows.fresh()
	*r = row{
		id: id, direction: d, protocol: t.Protocol, local: local, peer: peer,
		first: a.when(m.GetFirstNs()), updated: stampOf(a.at),
		service: m.GetService(), guessed: m.GetOpenerUnknown(), preex: m.GetPreexisting(),
		observed: observed{waits: r.waits},
	}
	r.since = a.here(r.first)
	r.localWho = s.names.endpoint(m.GetEndpoint(), local.Addr(), r.since)
	r.peerWho = s.names.of(peer.Addr(), r.since)
	s.nameByAnswer(r)
	r.account = s.accountOf(r.localWho, local.Addr(), a.node)
	s.arrived++
	r.seq, r.inOpen = s.arrived, true
	s.rows.put(r)
	s.open.add(r)
	r.account.flows++
	r.arrived = stampOf(s.now)
	s.join(r)
	s.names.remember(r, s.now)
	return r
}

// when turns a stamp of the node's boot clock into a time; the frame's own if
// the node has not said how.
func (a *applying) when(boottime int64) time.Time {
	n := a.s.nodes[a.node]
	if boottime == 0 || n == nil || n.bootOffset == 0 {
		return a.at
	}
	return time.Unix(0, boottime+n.bootOffset).UTC()
}

// here turns a time of the node's clock into one of the plugin's, by which the
// ledger was written.
func (a *applying) here(at time.Time) time.Time {
	if n := a.s.nodes[a.node]; n != nil {
		return at.Add(-n.skew)
	}
	return at
}

// count takes over totals. They only grow; a smaller one is a repeat.
func (a *applying) count(r *row, m *wire.Flow) {
	s := a.s
	bytes := grow(&r.bytesIn, m.GetBytesIn(), &r.account.bytesIn) + grow(&r.bytesOut, m.GetBytesOut(), &r.account.bytesOut)
	var packets uint64
	grow(&r.packetsIn, m.GetPacketsIn(), &packets)
	grow(&r.packetsOut, m.GetPacketsOut(), &packets)
	grow(&r.enforcedPackets, m.GetEnforcedPackets(), &r.account.enforced)
	r.flags |= uint8(m.GetTcpFlags()) //nolint:gosec // eight flags
	if m.GetLastNs() != 0 || r.last == 0 || packets > 0 {
		r.last = stampOf(a.when(m.GetLastNs()))
	}
	if bytes == 0 {
		return
	}
	r.account.tickBytes += s.lately(r, bytes)
	r.account.last = s.now
	if dt := a.at.Sub(r.updated.time()); dt > 0 {
		now := float64(bytes) / max(dt, 100*time.Millisecond).Seconds()
		if dt > 3*tick {
			now = float64(bytes) / tick.Seconds() // it was idle; this came within the last tick
		}
		r.rate = (r.rate + now) / 2
	}
	r.updated = stampOf(a.at)
}

// lately is how much of a row's news belongs to the second that runs. All that
// a connection did before it was first told of, as at the beginning of a
// recording, would be a rate that never was.
func (s *Store) lately(r *row, bytes uint64) uint64 {
	if r.sum.pair != nil {
		return bytes
	}
	age := s.now.Sub(r.first)
	if age <= tick {
		return bytes
	}
	return uint64(float64(bytes) * float64(tick) / float64(age))
}

func grow(have *uint64, got uint64, sum *uint64) uint64 {
	if got <= *have {
		return 0
	}
	d := got - *have
	*have = got
	*sum += d
	return d
}

// judge takes over verdicts and says whether they changed.
func (a *applying) judge(r *row, m *wire.Flow) bool {
	if m.GetKind() == wire.Flow_COUNTERS && m.GetVerdict() == 0 && m.GetEndpoint() == 0 {
		return false
	}
	v, c := wire.Verdict(m.GetVerdict()), wire.Verdict(m.GetCandidate())
	if m.GetKind() == wire.Flow_CLOSE && v == flow.NotJudged {
		return false // a close may leave out what was said before
	}
	if m.GetKind() == wire.Flow_NEW && r.judged && (m.GetPacketsIn() < r.packetsIn || m.GetPacketsOut() < r.packetsOut || m.GetEnforcedPackets() < r.enforcedPackets) {
		return false // totals were quicker than the news of the first packet, and know more
	}
	rules := &a.s.rules
	same := r.judged && r.verdict == v && r.candidate == c && r.enforced == m.GetEnforced() &&
		r.set == m.GetSet() && r.bit == m.GetBit() && r.candidateBit == m.GetCandidateBit()
	if same {
		return false
	}
	a.s.rows.reworded(r)
	first := !r.judged
	altered := first || r.verdict != v || r.candidate != c || r.enforced != m.GetEnforced()
	if !first {
		r.account.judged(r, -1)
	}
	r.judged, r.verdict, r.candidate, r.enforced = true, v, c, m.GetEnforced()
	r.alt = wire.Verdict(m.GetAlt())
	r.set, r.bit, r.candidateBit = m.GetSet(), m.GetBit(), m.GetCandidateBit()
	r.rule, r.isolatedBy = rules.decided(r.set, r.bit, false)
	r.candidateRule, r.candidateIsolated = rules.decided(r.set, r.candidateBit, true)
	r.account.judged(r, +1)
	if altered {
		rules.hit(r.direction, r.rule, r.isolatedBy)
		if rules.hasCandidate && r.candidateBit != r.bit {
			rules.hit(r.direction, r.candidateRule, r.candidateIsolated)
		}
		if wouldDeny(v, c) {
			rules.wouldDeny(r.candidateRule, r.candidateIsolated)
		}
	}
	return altered
}

// wouldDeny: the candidate set denies what the current one doesn't.
func wouldDeny(v, candidate flow.Verdict) bool {
	return candidate == flow.Deny && v != flow.Deny && v != flow.NotJudged
}

func (a *applying) close(r *row) {
	s := a.s
	a.emitRow(r, flow.CloseEvent, r.last.time())
	s.retire(r)
}

// retire moves a row from the open ones to the closed ones.
func (s *Store) retire(r *row) {
	if r.done {
		return
	}
	r.done = true
	s.rows.reworded(r)
	r.closed = stampOf(s.now)
	r.account = r.account.kept()
	r.account.flows--
	if r.wouldDrop {
		r.wouldDrop = false
		r.account.wouldDrop--
	}
	r.inOpen, r.inClosed = false, true
	s.closed.add(r)
	s.sum(r)
}

// makeRoom lets the row go that matters least: the one that closed first, or
// if none has closed the one that came first.
func (s *Store) makeRoom() {
	for s.rows.n >= s.opt.Flows {
		r := s.closed.pop()
		if r == nil {
			if r = s.open.pop(); r == nil {
				return
			}
			r.account.kept().flows--
			s.letGo++
		}
		s.forget(r)
	}
}

// forget lets a row go. Its memory is used again, unless somebody who looks at
// many rows, and breathes in between, may have it in hand.
func (s *Store) forget(r *row) {
	r.inOpen, r.inClosed = false, false
	s.rows.drop(r)
	s.unjoin(r)
	s.leave(r)
	s.gone = append(s.gone, r)
	if s.looking.Load() > 0 {
		return
	}
	for _, r := range s.gone {
		s.rows.reuse(r)
	}
	clear(s.gone)
	s.gone = s.gone[:0]
}
