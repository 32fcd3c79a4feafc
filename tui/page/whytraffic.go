// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// asked says who opened or accepted it, for what, and how long that took.
func (p *Why) asked(add func(...string)) {
	e := &p.event
	took := timings(e)
	if e.Owner == nil && e.Request == nil && e.Answer == nil && took == "" {
		return
	}
	add("")
	if e.Owner != nil {
		subject, _ := judged(e)
		p.wrapped(add, "PROCESS", owner(e.Owner)+", at "+peerName(subject), p.env.Theme.Text)
	}
	if e.Request != nil {
		p.wrapped(add, "REQUEST", request(e.Request), p.env.Theme.Text)
	}
	if e.Answer != nil {
		p.wrapped(add, "DNS", answer(e.Answer), p.env.Theme.Text)
	}
	if took != "" {
		add(p.field("TIMINGS", took))
	}
}

// fate is what became of it, and whether the policies said so.
func (p *Why) fate(add func(...string)) {
	e := &p.event
	if s := outcome(e); s != "" && e.Type != flow.DropEvent {
		p.wrapped(add, "OBSERVED", s, p.env.Theme.Text)
	}
	if e.Agreement != "" {
		w := p.env.agreement(e.Agreement)
		add(p.field("AGREEMENT", w.Paint.S(w.Symbol+" "+part.Clean(string(e.Agreement)))))
	}
	if e.Verdict == flow.Deny {
		for i := range p.isolation {
			p.wrapped(add, map[bool]string{true: "ISOLATION"}[i == 0], "Here: "+isolationSentence(&p.isolation[i]), p.env.Theme.Dim)
		}
	}
	if v := p.env.verified(); v != "" && p.row != nil {
		p.wrapped(add, "VERIFIED", strings.TrimPrefix(v, "Verified: "), p.env.Theme.Dim)
	}
}

func (p *Why) traffic(add func(...string)) {
	th, r := p.env.Theme, p.row
	if p.drop != nil {
		n := packets(p.drop.Count)
		if p.drop.Sampled {
			n = "at least " + n
		}
		add(p.field("DROPPED", n), p.field("SEEN", p.span(p.drop.First, p.drop.Last)))
		return
	}
	if r == nil {
		if e := &p.event; e.Packets > 0 {
			add(p.field("TRAFFIC", packets(e.Packets)+", "+part.Size(e.Bytes)))
		}
		add(p.field("AT", clock(p.event.Time)))
		return
	}
	flowing := part.Rate(r.Rate)
	if r.Closed {
		flowing = "closed"
	}
	add(p.field("TRAFFIC", "in "+packets(r.PacketsIn)+", "+part.Size(r.BytesIn)+"  "+th.Dot+"  out "+packets(r.PacketsOut)+", "+part.Size(r.BytesOut)+"  "+th.Dot+"  "+flowing))
	seen := p.span(r.First, r.Last)
	if r.Preexisting {
		seen += ", open before this session began"
	}
	add(p.field("SEEN", seen))
	if r.Faults > 0 {
		s := packets(r.Faults)
		if r.Leased > 0 {
			s += ", " + part.Count(r.Leased) + " by this session's lease"
		}
		add(p.field("DROPS", th.Denied.S(s)))
	}
	if note := part.Clean(p.event.Note); note != "" && r.Closed {
		add(p.field("ENDED", note))
	} else if note != "" && (!r.Preexisting || p.event.OpenerUnknown) {
		add(p.field("NOTE", note))
	}
	if r.Drops > r.Faults {
		add(p.field("", th.Dim.S(part.Count(r.Drops-r.Faults)+" more dropped harmlessly: ordinary life")))
	}
	if flags := tcpFlags(r.TCPFlags); flags != "" && p.event.Protocol == flow.TCP {
		add(p.field("TCP", flags))
	}
}

func packets(n uint64) string { return part.Of(n, "packet") }

func (p *Why) span(first, last time.Time) string {
	s := clock(first) + " UTC"
	if clock(first) != clock(last) {
		s = clock(first) + " to " + clock(last) + " UTC"
	}
	return s + " (" + p.env.age(last) + " ago)"
}

// where shows the kernel's side of a drop.
func (p *Why) where(add func(...string)) {
	e := &p.event
	if e.Type != flow.DropEvent {
		return
	}
	if e.Reason != "" {
		add(p.field("REASON", part.Clean(e.Reason)))
	}
	if e.Device != "" {
		add(p.field("DEVICE", part.Clean(e.Device)))
	}
	if e.Node != "" {
		add(p.field("NODE", part.Clean(e.Node)))
	}
	if e.Location != "" {
		add(p.field("WHERE", part.Clean(e.Location)))
	}
	for i, s := range e.Stack {
		if i == 16 {
			break
		}
		add(p.field("", p.env.Theme.Dim.S(part.Clean(s))))
	}
}

// past is the flow's own history, the newest first.
func (p *Why) past(add func(...string)) {
	if len(p.history) == 0 {
		return
	}
	th := p.env.Theme
	add("", " "+th.Head.S("HISTORY"))
	for i := len(p.history) - 1; i >= 0; i-- {
		e := &p.history[i]
		add(" " + th.Dim.S(clock(e.Time)) + "  " + eventPaint(th, e).S(eventLine(th, e, false)))
	}
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// tcpFlags names the flags that were seen.
func tcpFlags(f uint8) string {
	var names []string
	for i, n := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, " ")
}
