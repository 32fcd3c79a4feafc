// SPDX-License-Identifier: Apache-2.0

package store

import "github.com/ebpol/kubectl-ebpol/pkg/flow"

// plight is what of a connection decides whether it is trouble, and how
// much. Of rows and pairs a copy stands in the lists of all of them, because
// reading it from a hundred thousand of them, far apart in memory, takes ten
// times as long.
type plight struct {
	verdict, candidate flow.Verdict
	enforced, faults   bool
}

func (r *row) plight() plight {
	return plight{r.verdict, r.candidate, r.enforced, r.faults > 0}
}

// troubled: somebody should look at it.
func (t plight) troubled(hasCandidate bool) bool {
	return t.verdict == flow.Deny || t.verdict == flow.Contested || t.faults || t.enforced ||
		hasCandidate && t.candidate == flow.Deny
}

// changed: the candidate decides otherwise.
func (s *Store) changed(t plight) bool {
	return s.rules.hasCandidate && t.candidate != t.verdict && t.candidate != flow.NotJudged && t.verdict != flow.NotJudged
}

// wants says whether a query that asks for trouble, or for changes, lets it through.
func (s *Store) wants(q *Query, t plight) bool {
	return (!q.Trouble || t.troubled(s.rules.hasCandidate)) && (!q.Changed || s.changed(t))
}

// gravities is how many gravityOf knows.
const gravities = 7

// gravityOf orders verdicts by how much they ask to be looked at.
func (s *Store) gravityOf(t plight) int {
	switch {
	case t.enforced:
		return 6
	case t.verdict == flow.Deny:
		return 5
	case s.rules.hasCandidate && t.candidate == flow.Deny:
		return 4
	case t.verdict == flow.Contested:
		return 3
	case t.faults:
		return 2
	case t.verdict == flow.Allow:
		return 1
	}
	return 0
}
