// SPDX-License-Identifier: Apache-2.0

package confidence

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/plain"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

// Formats of a report.
var Formats = []string{"text", "json", "junit", "markdown"}

// Write writes the report in one of [Formats].
func (r *Report) Write(w io.Writer, format string) error {
	switch format {
	case "text":
		return r.writeAll(w)
	case "json":
		e := json.NewEncoder(plain.ForJSON(w))
		e.SetIndent("", "  ")
		return e.Encode(r)
	case "junit":
		return r.WriteJUnit(w)
	case "markdown":
		return r.WriteMarkdown(w)
	}
	return fmt.Errorf("report format %q: use %s", format, strings.Join(Formats, ", "))
}

// writeAll writes what changes, and then how far to rely on it.
func (r *Report) writeAll(w io.Writer) error {
	for i := range r.Changes {
		c := &r.Changes[i]
		if _, err := fmt.Fprintf(w, "%s %s\n  %s\n", c.word(), c.what(), c.times()); err != nil {
			return err
		}
	}
	return r.WriteText(w)
}

// word is what becomes of the flows.
func (c *Change) word() string {
	switch c.seen.Candidate {
	case flow.Deny:
		return "would-deny"
	case flow.Allow:
		return "would-allow"
	}
	return "would-be-contested"
}

func (c *Change) ends() string {
	to := c.Destination
	if c.Port != 0 {
		to = fmt.Sprintf("%s:%d", to, c.Port)
	}
	return clean(fmt.Sprintf("%s -> %s", c.Source, to))
}

func (c *Change) what() string {
	return fmt.Sprintf("%s %s %s: %s", c.Direction, c.Protocol, c.ends(), clean(lines.Why(c.event())))
}

func (c *Change) times() string {
	out := count.Of(c.Flows, "flow")
	if c.Open > 0 {
		out += fmt.Sprintf(", %d of them open at the end", c.Open)
	}
	if c.Last.Sub(c.First) < time.Second {
		return out + ", at " + c.First.Format(time.DateTime)
	}
	return out + ", " + c.First.Format(time.DateTime) + " to " + c.Last.Format(time.DateTime)
}

// clean takes what could end a line, or move a cursor, out of a text.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
}

// window is how long was watched.
func (r *Report) window() string {
	return time.Duration(r.Seconds * float64(time.Second)).Round(time.Second).String()
}

// headline is the answer in one line.
func (r *Report) headline() string {
	s := fmt.Sprintf("watched %s on %s for %s: %s judged, %d would be denied, %d would be allowed",
		count.Of(r.Pods, "pod"), count.Of(r.Nodes, "node"), r.window(), count.Of(r.Flows, "flow"), r.WouldDeny, r.WouldAllow)
	if r.Disputed > 0 {
		s += fmt.Sprintf(", %d depend on how the specification is read", r.Disputed)
	}
	return s
}

// WriteText writes how far the answer can be relied on, a sentence a line.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.headline() + "\n")
	for _, s := range r.decided() {
		b.WriteString("  " + clean(s) + "\n")
	}
	for _, s := range r.doubts() {
		b.WriteString(clean(s) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// decided says of each policy what it decided.
func (r *Report) decided() []string {
	var out []string
	for i := range r.Policies {
		p := &r.Policies[i]
		switch {
		case p.Pods == 0:
			out = append(out, p.Key()+" selects no pod")
		case p.Removed && p.Hits == 0:
			out = append(out, fmt.Sprintf("%s, which is left out, decides no flow that came", p.Key()))
		case p.Removed:
			out = append(out, fmt.Sprintf("%s, which is left out, decides %s now", p.Key(), count.Of(p.Hits, "flow")))
		case p.Hits == 0:
			out = append(out, fmt.Sprintf("%s selects %s, but no flow came that it decides", p.Key(), count.Of(p.Pods, "pod")))
		default:
			out = append(out, fmt.Sprintf("%s decided %s, %d of them newly denied", p.Key(), count.Of(p.Hits, "flow"), p.WouldDeny))
		}
		if unused := p.Unused(); len(unused) > 0 && p.Hits > 0 {
			out = append(out, fmt.Sprintf("%s: no flow came for %s", p.Key(), rules(unused)))
		}
	}
	return out
}

func rules(list []Rule) string {
	var names []string
	for _, r := range list {
		n := fmt.Sprintf("%s rule %d", r.Direction, r.Index)
		if r.Line > 0 {
			n += fmt.Sprintf(" (line %d)", r.Line)
		}
		names = append(names, n)
	}
	return traffic.Some(names, 10)
}

// doubts is what the answer doesn't cover.
func (r *Report) doubts() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if r.Cut > 0 {
		add("open now: %s would be cut, if your network plugin cuts established connections (some let them live)", count.Of(r.Cut, "connection"))
	}
	for _, m := range r.Missed {
		add("incomplete: %s", m)
	}
	if len(r.Unwatched) > 0 {
		add("not watched: %d of the %s that the policies are for (%s)", len(r.Unwatched), count.Of(r.Selected, "pod"), traffic.Some(r.Unwatched, 5))
	}
	if len(r.Quiet) > 0 {
		add("not seen: no traffic of %s (%s)", count.Of(len(r.Quiet), "pod"), traffic.Some(r.Quiet, 5))
	}
	if len(r.Replicas) > 0 {
		add("not seen: %s", traffic.Some(r.Replicas, 5))
	}
	if len(r.CronJobs) > 0 {
		var names []string
		for _, j := range r.CronJobs {
			names = append(names, fmt.Sprintf("%s (%s)", j.Key(), j.Schedule))
		}
		add("not seen: CronJobs that did not run: %s", traffic.Some(names, 10))
	}
	if r.NoJobs != "" {
		add("not seen: CronJobs: %s", r.NoJobs)
	}
	for _, n := range r.NotEvaluated {
		add("not evaluated: %s", n)
	}
	for _, s := range r.Warnings {
		add("note: %s", s)
	}
	add("not seen either: what runs at other times, such as cron jobs, backups and failovers; watch longer to know more")
	return out
}
