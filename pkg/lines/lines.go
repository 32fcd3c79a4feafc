// SPDX-License-Identifier: Apache-2.0

// Package lines prints events for whoever has no screen: one line each for
// people and grep, or one JSON object each for programs. Lines are aligned as
// far as a stream can be; the schema of the objects is [flow.Event].
package lines

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/plain"
)

// Format is how events are printed.
type Format string

// The formats of -o.
const (
	Short Format = ""
	Wide  Format = "wide"
	JSON  Format = "json"
)

// ParseFormat reads the value of -o.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Short, Wide, JSON:
		return f, nil
	}
	return "", fmt.Errorf("output format %q: use wide or json, or leave -o out", s)
}

// Printer writes events in one format. Not for concurrent use.
type Printer struct {
	w      io.Writer
	format Format
	buf    []byte
}

// New returns a printer; each event is one Write.
func New(w io.Writer, f Format) *Printer { return &Printer{w: w, format: f} }

// Print writes one event.
// What is as expected is left out of the short form: the line of the connection
// itself has been printed.
func (p *Printer) Print(e *flow.Event) error {
	p.buf = p.buf[:0]
	e = e.Ported()
	if p.format == Short && e.Ordinary() {
		return nil
	}
	if p.format == JSON {
		b, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write event as JSON: %w", err)
		}
		p.buf = append(append(p.buf, plain.JSON(b)...), '\n')
	} else {
		p.buf = append(appendLine(p.buf, e, p.format == Wide), '\n')
	}
	_, err := p.w.Write(p.buf)
	return err
}

// Object writes any value as one JSON line.
func (p *Printer) Object(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write as JSON: %w", err)
	}
	_, err = p.w.Write(append(plain.JSON(b), '\n'))
	return err
}

const stamp = "15:04:05.000"

// appendLine writes what a person reads: when, what, the verdict in a word,
// who to whom, and why.
func appendLine(b []byte, e *flow.Event, wide bool) []byte {
	b = e.Time.Local().AppendFormat(b, stamp)
	b = fmt.Appendf(b, "  %-7s %-12s ", e.Type, Word(e))
	if e.Type == flow.LossEvent || e.Type == flow.GapEvent {
		b = fmt.Appendf(b, "node %s: %s", text(e.Node), text(e.Reason))
		if e.Lost > 0 {
			b = append(append(b, ", "...), count.Of(e.Lost, "sample")...)
		}
		if e.Note != "" {
			b = append(append(b, "; "...), text(e.Note)...)
		}
		return b
	}
	switch e.Type {
	case flow.PodEvent:
		return fmt.Appendf(b, "%s %s", Name(e.Source), text(e.Note))
	case flow.PolicyEvent, flow.LeaseEvent:
		return append(b, text(e.Note)...)
	}
	b = fmt.Appendf(b, "%-7s %-6s %-34s -> %-34s", direction(e), protocol(e), Name(e.Source), Name(e.Destination))
	if e.Backend != nil {
		b = append(append(b, " => "...), Name(e.Backend)...)
	}
	if e.Answer != nil {
		b = append(append(b, "  "...), Answer(e.Answer)...)
	} else if why := Why(e); why != "" {
		b = append(append(b, "  "...), why...)
	}
	if e.Packets > 0 && (e.Type != flow.DropEvent || e.Packets > 1) {
		b = fmt.Appendf(b, "  %d pkt", e.Packets)
		if e.Bytes > 0 {
			b = append(append(b, ' '), Bytes(e.Bytes)...)
		}
	}
	if wide {
		b = appendWide(b, e)
	}
	return b
}

func appendWide(b []byte, e *flow.Event) []byte {
	pair := func(key, value string) {
		if value != "" {
			b = append(append(append(append(b, "  "...), key...), '='), text(value)...)
		}
	}
	pair("node", e.Node)
	pair("from", address(e.Source))
	pair("to", address(e.Destination))
	for _, p := range []struct {
		key  string
		peer *flow.Peer
	}{{"source", e.Source}, {"destination", e.Destination}} {
		if p.peer != nil {
			pair(p.key, p.peer.Workload)
		}
	}
	if e.Candidate != flow.NotJudged {
		pair("candidate", e.Candidate.String())
		pair("candidate-rule", decided(e.CandidateRule, e.CandidateIsolatedBy))
	}
	pair("rule", decided(e.Rule, e.IsolatedBy))
	pair("observed", string(e.Observed))
	pair("agreement", string(e.Agreement))
	pair("culprit", e.Culprit)
	pair("owner", Owner(e.Owner))
	pair("request", Request(e.Request))
	pair("answered-after", seconds(e.AnswerSeconds))
	pair("first-byte-after", seconds(e.FirstByteSeconds))
	if e.Retransmits > 0 {
		pair("retransmits", strconv.FormatUint(uint64(e.Retransmits), 10))
	}
	pair("location", e.Location)
	pair("device", e.Device)
	return b
}

func address(p *flow.Peer) string {
	if p == nil || !p.IP.IsValid() {
		return ""
	}
	if p.Port == 0 {
		return p.IP.String()
	}
	if p.IP.Is6() {
		return "[" + p.IP.String() + "]:" + strconv.Itoa(int(p.Port))
	}
	return p.IP.String() + ":" + strconv.Itoa(int(p.Port))
}

func direction(e *flow.Event) string {
	if e.Direction == 0 {
		return "-"
	}
	return e.Direction.String()
}

func protocol(e *flow.Event) string {
	if e.Protocol == 0 {
		return "-"
	}
	return e.Protocol.String()
}

// Word is the verdict in one of the words that are used everywhere: what the
// policies say now, and what the candidate would change.
func Word(e *flow.Event) string {
	switch {
	case e.Type == flow.LossEvent, e.Type == flow.GapEvent, e.Type == flow.PodEvent, e.Type == flow.PolicyEvent, e.Type == flow.LeaseEvent:
		return "-"
	case e.Enforced:
		return "enforced"
	case e.Type == flow.DropEvent:
		return "dropped"
	case e.Verdict == flow.Deny && e.Candidate == flow.Allow:
		return "would-allow"
	case e.Verdict == flow.Deny:
		return "denied"
	case e.Candidate == flow.Deny && e.Verdict != flow.NotJudged:
		return "would-deny"
	case e.Verdict == flow.Contested || e.Candidate == flow.Contested:
		return "contested"
	case e.Verdict == flow.Allow:
		return "allowed"
	}
	return "-"
}

// Why names what decided: the rule, or who isolates, or the drop's reason.
func Why(e *flow.Event) string {
	switch {
	case e.Type == flow.DropEvent:
		s := text(e.Reason)
		if e.Note != "" {
			s += ": " + text(e.Note)
		}
		return s
	case e.Type == flow.OutcomeEvent:
		return outcome(e)
	case e.Type == flow.PodEvent, e.Type == flow.PolicyEvent, e.Type == flow.LeaseEvent:
		return text(e.Note)
	case e.WouldChange():
		was, is := decided(e.Rule, e.IsolatedBy), decided(e.CandidateRule, e.CandidateIsolatedBy)
		return "now " + e.Verdict.String() + by(was) + ", then " + e.Candidate.String() + by(is)
	case e.Verdict == flow.Contested:
		return text(e.Reason)
	}
	if d := decided(e.Rule, e.IsolatedBy); d != "" {
		return strings.TrimPrefix(by(d), " ")
	}
	return text(e.Note)
}

func by(who string) string {
	if who == "" {
		return " by no policy"
	}
	return " by " + who
}

// decided is a rule, or "default deny of a, b".
func decided(r *flow.Rule, isolatedBy []flow.Rule) string {
	if r != nil {
		return text(r.String())
	}
	if len(isolatedBy) == 0 {
		return ""
	}
	names := make([]string, 0, 3)
	for i := range isolatedBy[:min(3, len(isolatedBy))] {
		names = append(names, text(isolatedBy[i].String()))
	}
	if n := len(isolatedBy) - len(names); n > 0 {
		names = append(names, fmt.Sprintf("and %d more", n))
	}
	return "default deny of " + strings.Join(names, ", ")
}

// Decided is what decided a verdict, in words: a rule, or the default deny of
// the policies that isolate; empty if nothing did.
func Decided(r *flow.Rule, isolatedBy []flow.Rule) string { return decided(r, isolatedBy) }

// Name is what to call an end: namespace/pod, a service, a node, or else its
// address; with the port.
func Name(p *flow.Peer) string {
	if p == nil {
		return "?"
	}
	var s string
	switch {
	case p.Pod != "":
		s = p.Namespace + "/" + p.Pod
	case p.Service != "":
		s = "svc " + p.Service
	case p.Name != "":
		s = p.Name
	case p.IP.IsValid():
		return address(p)
	default:
		return "?"
	}
	if p.Port != 0 {
		s += ":" + strconv.Itoa(int(p.Port))
	}
	return text(s)
}

// Bytes prints an amount in powers of 1024.
func Bytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i:i+1] + "iB"
}

// text is a name as it may come from a hostile cluster.
func text(s string) string { return plain.Line(s) }
