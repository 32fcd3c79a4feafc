// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// enforcedIn is how long a node takes until policies are enforced, for a
// column: half of the changes and 99 % of them; wrong if some never were.
func enforcedIn(list []flow.Isolation) (text string, wrong bool) {
	worst := slowest(list)
	if worst == nil {
		return "", false
	}
	if worst.Count == 0 {
		return "not so far", true
	}
	text = took(worst.P50Seconds) + " " + took(worst.P99Seconds)
	for _, l := range list {
		if l.Missed > 0 {
			return text + " !", true
		}
	}
	return text, false
}

// slowest is the measurement with the longest times; nil of none.
func slowest(list []flow.Isolation) *flow.Isolation {
	var out *flow.Isolation
	for i := range list {
		if out == nil || list[i].P99Seconds > out.P99Seconds {
			out = &list[i]
		}
	}
	return out
}

// compareIsolation puts the slowest first, and what wasn't measured last.
func compareIsolation(a, b []flow.Isolation) int {
	key := func(list []flow.Isolation) float64 {
		w := slowest(list)
		if w == nil {
			return -1
		}
		return w.P99Seconds
	}
	return cmp.Compare(key(b), key(a))
}

func took(seconds float64) string { return part.Took(time.Duration(seconds * float64(time.Second))) }

// isolationSentence says how long it took until policies were enforced.
func isolationSentence(l *flow.Isolation) string {
	after := "a policy's change"
	if l.After == "ready" {
		after = "a pod's becoming ready"
	}
	s := "After " + after + " "
	if l.Count > 0 {
		s += "policies were enforced within " + took(l.P50Seconds) + " in half of " + part.Of(uint64(max(0, l.Count)), "measured case") + ", within " + took(l.P99Seconds) + " in 99 %"
	}
	if l.Missed > 0 {
		if l.Count > 0 {
			s += "; "
		}
		s += "in " + part.Of(uint64(l.Missed), "case") + " they aren't enforced so far"
	}
	return s + "."
}

// verified says how the kernels' verdicts do against the reference evaluator;
// empty if none were compared.
func (e *Env) verified() string {
	h := &e.Health
	switch {
	case h.Compared == 0:
		return ""
	case h.Compared == 1 && h.Agreed == 1:
		return "Verified: one of the kernels' verdicts was compared with the reference evaluator, and agrees."
	case h.Agreed == h.Compared:
		return "Verified: all " + part.Count(h.Compared) + " of the kernels' verdicts that were compared with the reference evaluator agree."
	}
	return "Verified: " + part.Count(h.Compared-h.Agreed) + " of " + part.Count(h.Compared) + " of the kernels' verdicts that were compared with the reference evaluator differ: a bug of ours, please report it."
}
