// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// advise asks for marks and weights; it runs outside the screen's loop.
func advise(a Actions) map[PolicyID]Advice {
	w, ok := a.(Adviser)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return w.Advise(ctx)
}

// gravity orders severities, the gravest first.
func gravity(severity string) int {
	return slices.Index([]string{"error", "warning", "note"}, severity)
}

// marks sums a policy's findings up in one word; empty if there are none.
func (e *Env) marks(a *Advice, warnings int) style.Word {
	th := e.Theme
	count := [3]int{1: warnings}
	for _, f := range a.Findings {
		if g := gravity(f.Severity); g >= 0 {
			count[g]++
		}
	}
	say := func(symbol string, n int, one string, paint style.Paint) style.Word {
		s := strconv.Itoa(n) + " " + one
		if n > 1 {
			s += "s"
		}
		return style.Word{Symbol: symbol, Text: s, Paint: paint}
	}
	switch {
	case count[0] > 0:
		return say(th.No, count[0], "error", th.Bad)
	case count[1] > 0:
		return say("!", count[1], "warning", th.Warn)
	case count[2] > 0:
		return say(th.Bullet, count[2], "note", th.Dim)
	}
	return style.Word{}
}

// compareMarks puts the gravest first.
func compareMarks(a, b *Advice) int {
	worst := func(a *Advice) (int, int) {
		g := 3
		for _, f := range a.Findings {
			if n := gravity(f.Severity); n >= 0 {
				g = min(g, n)
			}
		}
		return g, -len(a.Findings)
	}
	ag, an := worst(a)
	bg, bn := worst(b)
	return cmp.Or(cmp.Compare(ag, bg), cmp.Compare(an, bn))
}

// weight writes a share of the limits with as many digits as matter.
func weight(a *Advice) string {
	switch {
	case a.Unknown != "":
		return "?"
	case a.Weight == 0:
		return "0"
	case a.Weight < 0.0001:
		return "<.0001"
	}
	return strconv.FormatFloat(a.Weight, 'g', 2, 64)
}

// sentence is a finding as a line for people.
func (f *Finding) sentence() string {
	s := part.Clean(f.Severity) + " " + part.Clean(f.ID)
	if f.Line > 0 {
		s += " (line " + strconv.Itoa(f.Line) + ")"
	}
	s += ": " + part.Clean(f.Reason)
	if f.Fix != "" {
		s = strings.TrimRight(s, ".") + ". Fix: " + part.Clean(f.Fix)
	}
	return s
}
