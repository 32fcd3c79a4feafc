// SPDX-License-Identifier: Apache-2.0

package page

import (
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

type pair struct{ from, to string }

// meeting sums up the flows of a pair.
type meeting struct {
	allowed, would, denied, contested, opened, other int
	ports                                            []string
}

func (m *meeting) add(e *flow.Event, n int) {
	switch {
	case e.Enforced:
		m.denied += n
	case e.Verdict == flow.Deny && e.Candidate == flow.Allow:
		m.opened += n
	case e.Verdict == flow.Deny:
		m.denied += n
	case e.Verdict == flow.Allow && e.Candidate == flow.Deny:
		m.would += n
	case e.Verdict == flow.Contested || e.Candidate == flow.Contested:
		m.contested += n
	case e.Verdict == flow.Allow:
		m.allowed += n
	default:
		m.other += n
	}
	if s := port(e); len(m.ports) < 8 && !slices.Contains(m.ports, s) {
		m.ports = append(m.ports, s)
	}
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
