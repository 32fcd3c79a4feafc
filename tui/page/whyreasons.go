// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strconv"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// nearly shows the rules that all but matched, and what would let it pass.
func (p *Why) nearly(add func(...string)) {
	th := p.env.Theme
	for i, m := range p.more.Misses {
		name := ""
		if i == 0 {
			add("")
			name = "NEARLY"
		}
		if i == 5 {
			break
		}
		add(p.field(name, part.Clean(m.Rule)))
		for _, l := range part.Wrap(part.Clean(m.Why), max(10, min(p.width-labelWidth-5, 100)), 3, th.Ellipsis) {
			add(p.field("", "   "+th.Warn.S(l)))
		}
	}
	if p.more.Fix == "" {
		return
	}
	add("", p.field("WOULD HELP", "in "+part.Clean(p.more.FixFor)+":"))
	for _, l := range part.CleanLines(p.more.Fix, 40) {
		add(p.field("", "   "+part.YAML(l, th)))
	}
}

// blame names who dropped it, down to the very rule or program.
func (p *Why) blame(add func(...string)) {
	e, th := &p.event, p.env.Theme
	if e.Culprit == "" && e.NftRule == nil && len(e.Programs) == 0 {
		return
	}
	add("")
	if e.Culprit != "" {
		p.wrapped(add, "CULPRIT", part.Clean(e.Culprit), th.Denied)
	}
	if e.NftRule != nil {
		for i, l := range nftRule(e.NftRule) {
			p.wrapped(add, map[bool]string{true: "NFT RULE"}[i == 0], l, th.Text)
		}
	}
	if len(e.Programs) > 0 {
		p.wrapped(add, "PROGRAMS", part.Clean(strings.Join(e.Programs, ", ")), th.Text)
	}
}

// side shows one of the two verdicts with what it rests on.
func (p *Why) side(add func(...string), name string, v flow.Verdict, rule *flow.Rule, isolating []flow.Rule) {
	th, e := p.env.Theme, &p.event
	w := th.One(v)
	s := w.Paint.S(w.String())
	switch {
	case rule != nil:
		s += "  by " + ruleName(*rule, e.Direction)
	case len(isolating) > 0:
		s += "  by the default deny of"
	case v == flow.Allow:
		s += "  no policy isolates it" + map[bool]string{true: " for " + e.Direction.String()}[e.Direction != 0]
	}
	add(p.field(name, s))
	for i, r := range isolating {
		if i == 20 {
			add(p.field("", "   and "+strconv.Itoa(len(isolating)-i)+" more"))
			break
		}
		add(p.field("", "   "+th.Bullet+" "+ruleName(r, e.Direction)))
	}
}

func (p *Why) sentences() []string {
	if p.drop != nil {
		s := part.Clean(p.drop.Sentence)
		if s == "" {
			s = "The kernel freed these packets for " + part.Clean(p.event.Reason) + "."
		}
		if p.drop.Benign {
			return []string{"Harmless, part of ordinary life: " + s}
		}
		return []string{s}
	}
	if p.event.Note != "" && p.row == nil {
		return []string{part.Clean(p.event.Note)}
	}
	if s := p.moment(); s != "" {
		return []string{s}
	}
	return story(&p.event, p.row)
}

// moment is the sentence of an event that isn't a connection's.
func (p *Why) moment() string {
	e := &p.event
	switch {
	case p.row != nil:
	case e.Type == flow.DNSEvent && e.Answer != nil && e.Answer.Unanswered:
		return "Asked for a name and got no answer within 5 seconds."
	case e.Type == flow.DNSEvent && e.Answer != nil:
		return "A DNS answer, as it was seen on the wire."
	case e.Type == flow.HopEvent && e.NftRule != nil:
		return "A netfilter rule that one of its packets met on its way."
	}
	return ""
}
