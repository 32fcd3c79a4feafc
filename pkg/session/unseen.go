// SPDX-License-Identifier: Apache-2.0

package session

import (
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// unseen judges what was dropped on its way to a node's pods: a network plugin
// that enforces policies drops before our programs can see it, and without
// this a dry-run that loosens a policy would find nothing to loosen.
type unseen struct {
	rules *ruleset.Pages // that table was made of
	table *ruleset.Table
}

const (
	tcpSyn = 0x02
	tcpAck = 0x10
)

// judge fills in the verdicts of a node's drops by the rules in effect there.
// It belongs to the goroutine that reads the node's stream.
func (u *unseen) judge(rules *ruleset.Pages, m *wire.Drops) {
	for _, d := range m.GetDrops() {
		d.Verdict, d.Candidate, d.Set, d.Bit, d.CandidateBit = 0, 0, 0, 0, 0
		t, ok := d.Tuple()
		if !ok || rules == nil || d.GetEnforced() || !opens(t.Protocol, d.GetTcpFlags()) {
			continue
		}
		u.use(rules)
		if rules.Endpoints.Get(ruleset.Endpoint{IP: t.Destination.Addr()}, ruleset.CompareEndpoints) == nil {
			continue
		}
		r := u.table.Judge(packetOf(t, flow.Ingress))
		d.Set = uint32(r.Set)
		d.Verdict, d.Bit = uint32(r.Current.Verdict), uint32(r.Current.Bit+1)                //nolint:gosec // -1 and up
		d.Candidate, d.CandidateBit = uint32(r.Candidate.Verdict), uint32(r.Candidate.Bit+1) //nolint:gosec // -1 and up
	}
}

func (u *unseen) use(rules *ruleset.Pages) {
	if u.rules != rules {
		u.rules, u.table = rules, rules.Table()
	}
}

// opens is whether a packet would have opened a connection, as far as it shows.
// Others than TCP's may be answers: whoever knows the connection knows better.
func opens(p flow.Protocol, tcpFlags uint32) bool {
	return p != flow.TCP || tcpFlags&(tcpSyn|tcpAck) == tcpSyn
}
