// SPDX-License-Identifier: Apache-2.0

package style

import "github.com/ebpol/kubectl-ebpol/pkg/flow"

// Word is a verdict as people read it: symbol, word and paint.
type Word struct {
	Symbol string
	Text   string
	Paint  Paint
}

func (w Word) String() string { return w.Symbol + " " + w.Text }

// Of says what a flow's two verdicts come to, in one of four words:
// allowed, would deny, denied, contested; or "not judged".
func (t *Theme) Of(current, candidate flow.Verdict, enforced bool) Word {
	switch {
	case enforced:
		return Word{t.No, "denied", t.Denied}
	case current == flow.Allow && candidate == flow.Deny:
		return Word{t.Would, "would deny", t.WouldDeny}
	case current == flow.Deny && candidate == flow.Allow:
		return Word{t.No, "denied" + " " + t.Right + t.Yes, t.Denied}
	case current == flow.Allow && candidate == flow.Contested:
		return Word{t.Unsure, "contested", t.Contested}
	}
	return t.One(current)
}

// One is the word of one verdict alone.
func (t *Theme) One(v flow.Verdict) Word {
	switch v {
	case flow.Allow:
		return Word{t.Yes, "allowed", t.Allowed}
	case flow.Deny:
		return Word{t.No, "denied", t.Denied}
	case flow.Contested:
		return Word{t.Unsure, "contested", t.Contested}
	}
	return Word{t.None, "not judged", t.NotJudged}
}
