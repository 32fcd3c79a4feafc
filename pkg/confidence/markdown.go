// SPDX-License-Identifier: Apache-2.0

package confidence

import (
	"fmt"
	"io"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
)

// mostRows of a table: a comment on a pull request is cut off beyond 64 KiB.
const mostRows = 100

// WriteMarkdown writes the report for a pull request.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	switch n := r.Changed(); {
	case n == 0:
		b.WriteString("### Network policy dry-run: nothing would change\n\n")
	default:
		fmt.Fprintf(&b, "### Network policy dry-run: %s would be denied, %d allowed\n\n", count.Of(r.WouldDeny, "flow"), r.WouldAllow+r.Disputed)
	}
	b.WriteString(upper(mark(r.headline())) + ".\n")
	if len(r.Changes) > 0 {
		b.WriteString("\n| | from | to | direction | flows | now | then |\n| --- | --- | --- | --- | ---: | --- | --- |\n")
		for i := range r.Changes {
			if i == mostRows {
				fmt.Fprintf(&b, "\n… and %d more\n", len(r.Changes)-i)
				break
			}
			c := &r.Changes[i]
			was, is, _ := strings.Cut(lines.Why(c.event()), ", then ")
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %s | %s |\n", c.word(), mark(c.Source), mark(to(c)), c.Direction, c.Flows, mark(strings.TrimPrefix(was, "now ")), mark(is))
		}
	}
	if len(r.Policies) > 0 {
		b.WriteString("\n| policy | pods | decided | newly denied | rules without traffic |\n| --- | ---: | ---: | ---: | --- |\n")
		for i := range r.Policies {
			p := &r.Policies[i]
			name := p.Kind + " " + p.Key()
			if p.Removed {
				name += " (left out)"
			}
			unused := "–"
			if u := p.Unused(); len(u) > 0 {
				unused = rules(u)
			}
			fmt.Fprintf(&b, "| %s | %d | %d | %d | %s |\n", mark(name), p.Pods, p.Hits, p.WouldDeny, mark(unused))
		}
	}
	b.WriteString("\n<details><summary>What this doesn't cover</summary>\n\n")
	for _, s := range r.doubts() {
		b.WriteString("- " + mark(s) + "\n")
	}
	b.WriteString("\n</details>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func to(c *Change) string {
	if c.Port == 0 {
		return fmt.Sprintf("%s/%s", c.Destination, c.Protocol)
	}
	return fmt.Sprintf("%s:%d/%s", c.Destination, c.Port, c.Protocol)
}

// mark makes a text harmless within Markdown: names come from elsewhere.
func mark(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;", "`", "'", "[", "\\[", "]", "\\]", "*", "\\*", "_", "\\_", "@", "@\u200b").Replace(clean(s))
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
