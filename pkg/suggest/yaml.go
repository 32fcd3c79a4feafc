// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const nameLabel = "kubernetes.io/metadata.name"

// WriteYAML writes the policies with comments that say what each rule is there
// for. It can be given to kubectl apply -f - as it is.
func (p *Proposal) WriteYAML(w io.Writer) error {
	_, err := io.WriteString(w, p.text)
	return err
}

// write makes the text that is proved and then printed.
func (p *Proposal) write(w io.Writer) error {
	y := &writer{w: w}
	c := p.input.Coverage
	y.comment("Suggested by kubectl ebpol from %s: %s, %s seen.", p.input.Source, length(c.Window()), plural(p.Flows, "flow"))
	y.comment("Each rule says what it is there for. Read it before you apply it; try it with dry-run -f.")
	for _, group := range []struct {
		title string
		list  []string
	}{
		{"Not seen, and so not allowed", p.Unseen},
		{"Left out, since the cluster's policies deny it", p.Denied},
		{"Left out, since no NetworkPolicy can say it", p.Left},
		{"Note", p.Notes},
	} {
		if len(group.list) == 0 {
			continue
		}
		y.comment("%s:", group.title)
		for i, s := range group.list {
			if i == maxTold {
				y.comment("- and %d more", len(group.list)-i)
				break
			}
			y.comment("- %s", s)
		}
	}
	for i, policy := range p.Policies {
		if i > 0 {
			y.line(0, "---")
		}
		y.policy(policy)
	}
	return y.err
}

const maxTold = 20

// writer writes lines and keeps the first error.
type writer struct {
	w   io.Writer
	err error
}

func (y *writer) line(indent int, format string, args ...any) {
	if y.err == nil {
		_, y.err = fmt.Fprintf(y.w, strings.Repeat(" ", indent)+format+"\n", args...)
	}
}

// comment writes one line, whatever the words hold: names come from the
// cluster and from the network.
func (y *writer) comment(format string, args ...any) { y.remark(0, format, args...) }

func (y *writer) remark(indent int, format string, args ...any) {
	y.line(indent, "# %s", oneLine(fmt.Sprintf(format, args...)))
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}

func (y *writer) policy(p *Policy) {
	y.line(0, "apiVersion: networking.k8s.io/v1")
	y.line(0, "kind: NetworkPolicy")
	y.line(0, "metadata:")
	y.line(2, "name: %s", text(p.Name))
	y.line(2, "namespace: %s", text(p.Namespace))
	y.line(0, "spec:")
	y.remark(2, "%s (%s)", strings.Join(p.Workloads, ", "), plural(p.Pods, "pod"))
	for _, n := range p.Notes {
		y.remark(2, "%s", n)
	}
	y.line(2, "podSelector:")
	y.labels(4, p.Labels)
	y.line(2, "policyTypes:")
	y.line(2, "- Ingress")
	y.line(2, "- Egress")
	y.rules(p.Ingress, "ingress", "from", "nobody was seen to connect to it: nobody may")
	y.rules(p.Egress, "egress", "to", "it was not seen to connect to anybody: it may not")
}

func (y *writer) labels(indent int, l map[string]string) {
	y.line(indent, "matchLabels:")
	keys := make([]string, 0, len(l))
	for k := range l {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		y.line(indent+2, "%s: %s", text(k), text(l[k]))
	}
}

func (y *writer) rules(rules []*Rule, list, peers, none string) {
	if len(rules) == 0 {
		y.line(2, "%s: [] # %s", list, none)
		return
	}
	y.line(2, "%s:", list)
	for _, r := range rules {
		if r.Note != "" {
			y.remark(2, "%s", r.Note)
		}
		for i, p := range r.Peers {
			if i == 0 {
				y.peerRemark(2, p)
				y.line(2, "- %s:", peers)
			} else {
				y.peerRemark(4, p)
			}
			y.peer(4, p)
		}
		y.line(4, "ports:")
		for _, port := range r.Ports {
			y.port(4, port)
		}
	}
}

// peerRemark says who it is and how often.
func (y *writer) peerRemark(indent int, p *Peer) {
	who := strings.Join(p.Names, ", ")
	if who == "" && p.Seen.Flows > 0 {
		who = "outside"
	}
	if p.Namespace != "" && !p.Same {
		who += " of namespace " + p.Namespace
	}
	if len(p.Via) > 0 {
		who += " by service " + strings.Join(p.Via, ", ")
	}
	if len(p.Seen.Pods) > 0 {
		who += fmt.Sprintf(" (%s)", plural(len(p.Seen.Pods), "pod"))
	}
	if s := p.Seen.String(); s != "" {
		who = strings.TrimPrefix(who+": "+s, ": ")
	}
	if p.Note != "" {
		who = strings.TrimPrefix(who+"; "+p.Note, "; ")
	}
	if who != "" {
		y.remark(indent, "%s", who)
	}
}

func (y *writer) peer(indent int, p *Peer) {
	if p.Namespace == "" {
		y.line(indent, "- ipBlock:")
		y.line(indent+4, "cidr: %s", text(p.CIDR.String()))
		return
	}
	lead := "- "
	if !p.Same {
		y.line(indent, "- namespaceSelector:")
		y.labels(indent+4, map[string]string{nameLabel: p.Namespace})
		lead = "  "
	}
	if len(p.Labels) == 0 {
		y.line(indent, "%spodSelector: {}", lead)
		return
	}
	y.line(indent, "%spodSelector:", lead)
	y.labels(indent+4, p.Labels)
}

func (y *writer) port(indent int, p *Port) {
	y.line(indent, "- protocol: %s", p.Protocol)
	value, remark := strconv.Itoa(int(p.Number)), p.Seen.short()
	if p.Name != "" {
		remark = strings.TrimSuffix(value+": "+remark, ": ")
		value = text(p.Name)
	}
	if remark != "" {
		remark = " # " + oneLine(remark)
	}
	y.line(indent+2, "port: %s%s", value, remark)
}

// String is "12 flows, 10:00:01 to 10:05:00".
func (e *Evidence) String() string {
	if e.Flows == 0 {
		return ""
	}
	out := e.short()
	const clock = "2006-01-02 15:04:05"
	first, last := e.First.UTC(), e.Last.UTC()
	switch {
	case first.IsZero():
	case last.Sub(first) < time.Second:
		out += ", at " + first.Format(clock)
	case first.Format(time.DateOnly) == last.Format(time.DateOnly):
		out += fmt.Sprintf(", %s to %s", first.Format(clock), last.Format(time.TimeOnly))
	default:
		out += fmt.Sprintf(", %s to %s", first.Format(clock), last.Format(clock))
	}
	return out
}

func (e *Evidence) short() string {
	if e.Flows == 0 {
		return ""
	}
	out := plural(e.Flows, "flow")
	if e.Failed > 0 {
		out += fmt.Sprintf(", %d without an answer", e.Failed)
	}
	return out
}

func length(d time.Duration) string {
	if d >= 10*time.Second {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

var unquoted = regexp.MustCompile(`^[a-z]([-a-z0-9_./]*[a-z0-9])?$`)

// words that YAML takes for something else.
var words = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

// text is a value as YAML takes it for a string.
func text(s string) string {
	if unquoted.MatchString(s) && !slices.Contains(words, s) {
		return s
	}
	return strconv.Quote(s)
}
