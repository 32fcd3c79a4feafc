// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// changes prints the flows whose verdict the candidate changes, and at the end
// what was seen and what was not.
type changes struct {
	out    *lines.Printer
	format lines.Format
	errOut io.Writer
	began  time.Time
	would  [2]int // denied, allowed
	tries  map[[2]netip.AddrPort]bool
}

// maxTries bounds how many dropped connections are told from their repetitions.
const maxTries = 10_000

// first is whether no earlier drop was of the same connection.
func (c *changes) first(e *flow.Event) bool {
	if e.Source == nil || e.Destination == nil {
		return false
	}
	key := [2]netip.AddrPort{netip.AddrPortFrom(e.Source.IP, e.Source.Port), netip.AddrPortFrom(e.Destination.IP, e.Destination.Port)}
	if c.tries[key] {
		return false
	}
	if c.tries == nil || len(c.tries) >= maxTries {
		c.tries = map[[2]netip.AddrPort]bool{}
	}
	c.tries[key] = true
	return true
}

func newChanges(out, errOut io.Writer, f lines.Format) *changes {
	return &changes{out: lines.New(out, f), format: f, errOut: errOut}
}

var _ liner = (*changes)(nil)

// Event implements [liner].
func (c *changes) Event(e *flow.Event) error {
	if c.began.IsZero() || e.Time.Before(c.began) {
		c.began = e.Time
	}
	switch e.Type {
	case flow.LossEvent, flow.GapEvent:
		return c.out.Print(e)
	case flow.FlowEvent, flow.VerdictEvent:
	case flow.DropEvent:
		// What something else stops before it arrives: a policy less would let it
		// through. Its repetitions say nothing new.
		if e.Enforced || e.Benign || e.Verdict != flow.Deny || !e.WouldChange() || !c.first(e) {
			return nil
		}
	default:
		return nil
	}
	if !e.WouldChange() {
		return nil
	}
	switch e.Candidate {
	case flow.Deny:
		c.would[0]++
	case flow.Allow:
		c.would[1]++
	}
	return c.out.Print(e)
}

// Tick implements [liner].
func (*changes) Tick(*store.Store) error { return nil }

// summary is the last object of `dry-run -o json`.
type summary struct {
	Type       string      `json:"type"` // "summary"
	Time       time.Time   `json:"time"`
	Seconds    float64     `json:"seconds"`
	Nodes      int         `json:"nodes"`
	Pods       int         `json:"pods"`  // watched, with traffic
	Flows      uint64      `json:"flows"` // judged
	WouldDeny  int         `json:"wouldDeny"`
	WouldAllow int         `json:"wouldAllow"`
	Quiet      []string    `json:"quiet,omitempty"` // pods that had no traffic, at most 100
	NotRun     []string    `json:"notRun,omitempty"`
	Policies   []exercised `json:"policies"`
}

// exercised says how often a policy of the candidate set decided.
type exercised struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Pods      int    `json:"pods"`
	Hits      uint64 `json:"hits"`
	WouldDeny uint64 `json:"wouldDeny"`
}

// End implements [liner].
func (c *changes) End(s *store.Store) error {
	sum := c.sum(s)
	if c.format == lines.JSON {
		return c.out.Object(sum)
	}
	w := c.errOut
	fmt.Fprintf(w, "\nwatched %d pods on %d nodes for %s: %d flows judged, %d would be denied, %d would be allowed\n",
		sum.Pods, sum.Nodes, time.Duration(sum.Seconds*float64(time.Second)).Round(time.Second), sum.Flows, sum.WouldDeny, sum.WouldAllow)
	for _, p := range sum.Policies {
		name := p.Name
		if p.Namespace != "" {
			name = p.Namespace + "/" + name
		}
		switch {
		case p.Pods == 0:
			fmt.Fprintf(w, "  %s selects no pod\n", name)
		case p.Hits == 0:
			fmt.Fprintf(w, "  %s selects %d pods, but no flow came that it decides\n", name, p.Pods)
		default:
			fmt.Fprintf(w, "  %s decided %d flows, %d of them newly denied\n", name, p.Hits, p.WouldDeny)
		}
	}
	if len(sum.Quiet) > 0 {
		fmt.Fprintf(w, "not seen: no traffic of %d pods (%s)\n", len(sum.Quiet), some(sum.Quiet, 5))
	}
	fmt.Fprintln(w, "not seen either: what runs at other times, such as cron jobs, backups and failovers; watch longer to know more")
	return nil
}

func (c *changes) sum(s *store.Store) summary {
	snap := s.Snapshot(store.Query{Workloads: true, Policies: true, Nodes: true, GroupBy: "pod", Limit: 1 << 20})
	sum := summary{Type: "summary", Time: snap.Time, Nodes: len(snap.Nodes), WouldDeny: c.would[0], WouldAllow: c.would[1]}
	if !c.began.IsZero() {
		sum.Seconds = max(0, snap.Time.Sub(c.began).Seconds())
	}
	seen := map[string]bool{}
	for _, w := range snap.Workloads {
		sum.Pods++
		sum.Flows += w.Allowed + w.Denied + w.Contested
		seen[w.Namespace+"/"+strings.TrimPrefix(w.Name, "pod/")] = true
	}
	for _, key := range s.Watched() {
		if !seen[key] && len(sum.Quiet) < 100 {
			sum.Quiet = append(sum.Quiet, key)
		}
	}
	slices.Sort(sum.Quiet)
	for _, p := range snap.Policies {
		if p.Origin == "cluster" || p.NotEvaluated != "" {
			continue
		}
		sum.Policies = append(sum.Policies, exercised{string(p.Kind), p.Namespace, p.Name, p.Selected, p.Hits, p.WouldDeny})
	}
	return sum
}

func some(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return strings.Join(list[:n], ", ") + fmt.Sprintf(" and %d more", len(list)-n)
}
