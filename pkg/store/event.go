// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// event is the row as one line of output.
func (s *Store) event(r *row, typ flow.EventType, at time.Time) flow.Event {
	var e flow.Event
	s.tell(r, &e, new(flow.Peer), new(flow.Peer), typ, at)
	return e
}

// tell writes that line into e, with src and dst as its ends.
func (s *Store) tell(r *row, e *flow.Event, src, dst *flow.Peer, typ flow.EventType, at time.Time) {
	s.fill(r, e, src, dst)
	e.Type, e.Time = typ, at
	if r.backend.IsValid() {
		e.Backend = r.backendWho.peer(r.backend)
	}
	if typ == flow.CloseEvent {
		e.Note = r.closeReason
	}
	switch {
	case typ == flow.OutcomeEvent:
		e.Note = r.note
	case typ != flow.FlowEvent:
	case r.guessed:
		e.Note = "found in mid-stream: who opened it is a guess, and it counts as denied only if it would be whoever did"
	case r.preex:
		e.Note = "open before the session began"
	case r.direction == flow.Ingress && r.peerWho.name != "" && r.peerWho.name == r.localWho.node:
		e.Note = "from the pod's own node, as kubelet's probes are: no policy can deny it"
	}
}

// fill writes what filters and sorts read of a row, without allocating.
func (s *Store) fill(r *row, e *flow.Event, src, dst *flow.Peer) {
	*e = flow.Event{
		Type: flow.FlowEvent, Time: r.first, Node: r.id.Node, Direction: r.direction, Subject: r.direction.Subject(), Protocol: r.protocol,
		Source: src, Destination: dst,
		Verdict: r.verdict, Enforced: r.enforced, OpenerUnknown: r.guessed, Rule: r.rule, IsolatedBy: r.isolatedBy,
		Packets: r.packetsIn + r.packetsOut, Bytes: r.bytesIn + r.bytesOut,
	}
	if r.done {
		e.Type = flow.CloseEvent
	}
	s.fillEnds(r, e)
	if s.rules.hasCandidate {
		e.CandidateRule, e.CandidateIsolatedBy = r.candidateRule, r.candidateIsolated
	}
	if r.verdict == flow.Contested {
		e.Reason = contestedCase(r)
	}
	r.say(e)
}

// fillEnds writes who they are, and what the candidate says.
func (s *Store) fillEnds(r *row, e *flow.Event) {
	local, peer := e.Source, e.Destination
	if r.direction == flow.Ingress {
		local, peer = peer, local
	}
	r.localWho.fill(local, r.local)
	r.peerWho.fill(peer, r.peer)
	if !r.protocol.HasPorts() {
		local.Port, peer.Port = 0, 0
	}
	if s.rules.hasCandidate {
		e.Candidate = r.candidate
		if r.candidate == flow.NotJudged && r.judged {
			e.Candidate = r.verdict
		}
	}
}

// contestedCase says in words on what the verdict turns.
func contestedCase(r *row) string {
	if r.service && !r.backend.IsValid() {
		if r.alt == flow.Deny && r.candidate == flow.Contested { // what is taken allows, of the cluster's policies and the candidate's
			return "depends on the backend that the service picks; enforcement lets it through here"
		}
		return "depends on the backend that the service picks"
	}
	switch r.alt {
	case flow.Allow:
		return "one reading of the specification denies, the other allows"
	case flow.Deny:
		return "one reading of the specification allows, the other denies"
	}
	return "the specification lets implementations differ"
}

// flowRow is the row as the screen gets it: a copy, never written again.
func (s *Store) flowRow(r *row) *FlowRow {
	f := new(shownRow)
	s.show(r, f)
	return &f.FlowRow
}

// flowRows are several of them, in one piece of memory.
func (s *Store) flowRows(list []*row) []*FlowRow {
	room := make([]shownRow, len(list))
	out := make([]*FlowRow, len(list))
	for i, r := range list {
		s.show(r, &room[i])
		out[i] = &room[i].FlowRow
	}
	return out
}

// shownRow is a FlowRow with the memory that its event points to.
type shownRow struct {
	FlowRow

	source, destination flow.Peer
}

func (s *Store) show(r *row, f *shownRow) {
	typ, at := flow.FlowEvent, r.first
	if r.done {
		typ, at = flow.CloseEvent, r.last.time()
	}
	s.tell(r, &f.Event, &f.source, &f.destination, typ, at)
	f.ID, f.First, f.Last = r.id, r.first, r.last.time()
	f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut = r.packetsIn, r.packetsOut, r.bytesIn, r.bytesOut
	f.Rate, f.Drops, f.Faults, f.Leased = s.rateOf(r), r.drops+r.enforcedPackets, r.faults+r.enforcedPackets, r.enforcedPackets
	f.Closed, f.Preexisting, f.TCPFlags, f.Altered = r.done, r.preex, r.flags, r.altered
	f.Backend = f.Event.Backend
}

// rateOf is 0 for a row that has been quiet for a while.
func (s *Store) rateOf(r *row) float64 {
	if r.done || s.now.Sub(r.updated.time()) > 3*tick {
		return 0
	}
	return r.rate
}
