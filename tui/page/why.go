// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Why tells one flow's story, or one drop's: the reason in words first, then
// the facts that it rests on.
type Why struct {
	env           *Env
	id            *store.FlowID // of a flow; nil: only the event is known
	row           *store.FlowRow
	drop          *store.DropRow
	event         flow.Event
	history       []flow.Event
	explained     verdictKey // what more is about
	more          Explanation
	gone          bool
	top, length   int
	width, height int
}

var _ Page = (*Why)(nil)

// NewWhy opens the story of a flow and follows it.
func NewWhy(env *Env, row *store.FlowRow) *Why {
	id := row.ID
	return &Why{env: env, id: &id, row: row, event: row.Event}
}

// NewWhyDrop opens the story of a drop.
func NewWhyDrop(env *Env, drop *store.DropRow) *Why {
	return &Why{env: env, drop: drop, event: drop.Event}
}

// NewWhyEvent opens the story of an event of the timeline.
func NewWhyEvent(env *Env, e flow.Event) *Why { return &Why{env: env, event: e} }

// Name implements [Page].
func (p *Why) Name() string { return "why" }

// Crumb implements [Page].
func (p *Why) Crumb() string { return "why" }

// Rev implements [Page].
func (p *Why) Rev() int { return 0 }

// told is the digest: the flow as it is now, and what happened to it.
type told struct {
	row       *store.FlowRow
	history   []flow.Event
	explained verdictKey
	more      Explanation
}

// verdictKey is what an explanation depends on.
type verdictKey struct {
	verdict, candidate flow.Verdict
	altered            int
	known              bool
}

// Ask implements [Page].
func (p *Why) Ask() (store.Query, func(*store.Snapshot) any) {
	if p.id == nil {
		return store.Query{Nodes: true}, func(*store.Snapshot) any { return nil }
	}
	explainer, _ := p.env.Actions.(Explainer)
	before := told{explained: p.explained, more: p.more}
	return store.Query{Nodes: true, Selected: p.id}, func(s *store.Snapshot) any {
		t := before
		t.row, t.history = s.Selected, s.FlowEvents
		if t.row == nil || explainer == nil {
			return t
		}
		// This runs outside the screen's loop; it is done once for each verdict.
		if now := (verdictKey{t.row.Event.Verdict, t.row.Event.Candidate, t.row.Altered, true}); now != t.explained {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			t.explained = now
			t.more, _ = explainer.Explain(ctx, t.row) // what isn't known isn't shown
		}
		return t
	}
}

// Set implements [Page].
func (p *Why) Set(digest any) {
	t, ok := digest.(told)
	if !ok {
		return
	}
	p.gone = t.row == nil
	if t.row != nil {
		p.row, p.event, p.history = t.row, t.row.Event, t.history
		p.explained, p.more = t.explained, t.more
	}
}

// Resize implements [Page].
func (p *Why) Resize(w, h int) { p.width, p.height = w, h }

// Key implements [Page].
func (p *Why) Key(msg tea.KeyPressMsg) (Effect, bool) {
	k := p.env.Keys
	switch {
	case key.Matches(msg, k.Up):
		p.top--
	case key.Matches(msg, k.Down):
		p.top++
	case key.Matches(msg, k.PageUp):
		p.top -= max(1, p.height-2)
	case key.Matches(msg, k.PageDown):
		p.top += max(1, p.height-2)
	case key.Matches(msg, k.Home):
		p.top = 0
	case key.Matches(msg, k.End):
		p.top = p.length
	default:
		return Effect{}, false
	}
	return Effect{}, true
}

// Wheel scrolls.
func (p *Why) Wheel(n int) { p.top += n }

// Click does nothing: there is nothing to hit.
func (p *Why) Click(int, int) Effect { return Effect{} }

// Copy gives the event as the JSON object that -o json prints.
func (p *Why) Copy() string {
	b, err := json.Marshal(&p.event)
	if err != nil {
		return ""
	}
	return string(b)
}

// Export gives the event and its history as JSON Lines.
func (p *Why) Export() (lines []string, ext string) {
	lines = append(lines, p.Copy())
	for i := range p.history {
		if b, err := json.Marshal(&p.history[i]); err == nil {
			lines = append(lines, string(b))
		}
	}
	return lines, "jsonl"
}

// Sections implements [Page].
func (p *Why) Sections() []keys.Section { return nil }

// Footer implements [Page].
func (p *Why) Footer() []key.Binding {
	k := p.env.Keys
	return []key.Binding{k.Back, k.Copy, k.Export, k.Freeze}
}

// View implements [Page].
func (p *Why) View() []string {
	lines := p.compose()
	p.length = len(lines)
	p.top = max(0, min(p.top, len(lines)-p.height))
	for i := range lines {
		lines[i] = part.Cut(lines[i], p.width, p.env.Theme.Ellipsis)
	}
	return part.Frame(lines[p.top:], p.height)
}

// compose writes the whole story, as long as it gets.
func (p *Why) compose() []string {
	th, e := p.env.Theme, &p.event
	var out []string
	add := func(lines ...string) { out = append(out, lines...) }
	w := th.Of(e.Verdict, e.Candidate, e.Enforced)
	if e.Type == flow.DropEvent && p.drop != nil {
		w = style.Word{Symbol: th.No, Text: "dropped by " + part.Clean(p.drop.Culprit), Paint: th.Denied}
	}
	add(part.Bar(th, p.width, []part.Segment{{Text: " " + w.String(), Paint: w.Paint}, {
		Text:  peerName(e.Source) + " " + th.Right + " " + peerName(p.target()) + "  " + port(e),
		Paint: th.Strong,
	}}, nil), "")
	for _, s := range p.sentences() {
		for _, l := range part.Wrap(s, min(p.width-2, 100), 8, th.Ellipsis) {
			add(" " + l)
		}
	}
	if p.gone {
		add(" " + th.Dim.S("It has ended and was let go to stay within memory; this is how it was."))
	}
	if e.Verdict != flow.NotJudged || e.Candidate != flow.NotJudged {
		add("")
		p.side(add, "NOW", e.Verdict, e.Rule, e.IsolatedBy)
		if e.Candidate != flow.NotJudged {
			p.side(add, "CANDIDATE", e.Candidate, e.CandidateRule, e.CandidateIsolatedBy)
		}
	}
	p.nearly(add)
	p.blame(add)
	p.asked(add)
	add("")
	p.ends(add)
	p.fate(add)
	p.traffic(add)
	p.where(add)
	p.past(add)
	return out
}

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

// wrapped adds a field of several lines.
func (p *Why) wrapped(add func(...string), name string, text string, paint style.Paint) {
	for _, l := range part.Wrap(text, max(10, min(p.width-labelWidth-2, 110)), 6, p.env.Theme.Ellipsis) {
		add(p.field(name, paint.S(l)))
		name = ""
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
}

func (p *Why) target() *flow.Peer {
	if p.row != nil && p.row.Backend != nil {
		return p.row.Backend
	}
	return p.event.Destination
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

const labelWidth = 11

func (p *Why) field(name, value string) string {
	return " " + p.env.Theme.Head.S(part.Fit(name, labelWidth, false, "")) + " " + value
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

// ends shows both addresses, the service's and the backend's where there is one.
func (p *Why) ends(add func(...string)) {
	e := &p.event
	who := func(q *flow.Peer) string {
		if q == nil {
			return "not known"
		}
		s := peerName(q)
		if q.Pod != "" && q.Workload != "" {
			s += " (" + part.Clean(q.Workload) + ")"
		}
		s += "  " + p.env.Theme.Dim.S(endpoint(q))
		if q.Node != "" {
			s += p.env.Theme.Dim.S("  on " + part.Clean(q.Node))
		}
		return s
	}
	add(p.field("FROM", who(e.Source)))
	add(p.field("TO", who(e.Destination)))
	if p.row != nil && p.row.Backend != nil {
		add(p.field("", "answered by "+who(p.row.Backend)))
	} else if e.Destination != nil && e.Destination.Service != "" && e.Destination.Pod == "" {
		add(p.field("", p.env.Theme.Dim.S("a service; which backend answers is not known yet")))
	}
	if e.Direction != 0 {
		subject, _ := judged(e)
		add(p.field("JUDGED", e.Direction.String()+" of "+peerName(subject)))
	}
}

func endpoint(q *flow.Peer) string {
	if !q.IP.IsValid() {
		return "address not known"
	}
	if q.Port == 0 {
		return q.IP.String()
	}
	if q.IP.Is6() {
		return "[" + q.IP.String() + "]:" + strconv.Itoa(int(q.Port))
	}
	return q.IP.String() + ":" + strconv.Itoa(int(q.Port))
}

// address is an end's address for a column.
func address(q *flow.Peer) string {
	if q == nil || !q.IP.IsValid() {
		return ""
	}
	return q.IP.String()
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
	if r.Guessed {
		seen += "; found in mid-stream, so who opened it is a guess"
	}
	add(p.field("SEEN", seen))
	if r.Faults > 0 {
		add(p.field("DROPS", th.Denied.S(packets(r.Faults))))
	}
	if note := part.Clean(p.event.Note); note != "" && r.Closed {
		add(p.field("ENDED", note))
	} else if note != "" && !r.Preexisting {
		add(p.field("NOTE", note))
	}
	if r.Drops > r.Faults {
		add(p.field("", th.Dim.S(part.Count(r.Drops-r.Faults)+" more dropped harmlessly: ordinary life")))
	}
	if flags := tcpFlags(r.TCPFlags); flags != "" && p.event.Protocol == flow.TCP {
		add(p.field("TCP", flags))
	}
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return part.Count(n) + " packets"
}

func (p *Why) span(first, last time.Time) string {
	s := clock(first) + " UTC"
	if clock(first) != clock(last) {
		s = clock(first) + " to " + clock(last) + " UTC"
	}
	return s + " (" + part.Age(p.env.Now.Sub(last)) + " ago)"
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
