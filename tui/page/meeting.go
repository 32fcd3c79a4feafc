// SPDX-License-Identifier: Apache-2.0

package page

import (
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

type pair struct{ from, to string }

// meeting sums up the flows of a pair.
type meeting struct {
	allowed, would, denied, contested, opened, other int
	ports                                            []store.Port
}

func (m *meeting) add(r *store.MeetRow) {
	n := r.Flows
	switch {
	case r.Enforced:
		m.denied += n
	case r.Verdict == flow.Deny && r.Candidate == flow.Allow:
		m.opened += n
	case r.Verdict == flow.Deny:
		m.denied += n
	case r.Verdict == flow.Allow && r.Candidate == flow.Deny:
		m.would += n
	case r.Verdict == flow.Contested || r.Candidate == flow.Contested:
		m.contested += n
	case r.Verdict == flow.Allow:
		m.allowed += n
	default:
		m.other += n
	}
	if m.ports == nil {
		m.ports = r.Ports // most pairs meet in one way
		return
	}
	m.ports = slices.Concat(m.ports, r.Ports)
}

// portList names some of the ports, the lowest first.
func (m *meeting) portList() string {
	list := slices.Clone(m.ports)
	slices.SortFunc(list, store.ComparePorts)
	list = slices.Compact(list)
	words := make([]string, 0, 8)
	for _, p := range list[:min(len(list), cap(words))] {
		words = append(words, portWord(p.Protocol, p.Port))
	}
	return strings.Join(words, " ")
}

// gravity orders pairs by how much they ask to be looked at.
func (m *meeting) gravity() int {
	switch {
	case m.denied+m.opened > 0:
		return 3
	case m.would > 0:
		return 2
	case m.contested > 0:
		return 1
	}
	return 0
}

// word is the worst that happens between the two.
func (m *meeting) word(th *style.Theme) style.Word {
	switch {
	case m.denied+m.opened > 0:
		return th.One(flow.Deny)
	case m.would > 0:
		return th.Of(flow.Allow, flow.Deny, false)
	case m.contested > 0:
		return th.One(flow.Contested)
	case m.allowed > 0:
		return th.One(flow.Allow)
	}
	return th.One(flow.NotJudged)
}
