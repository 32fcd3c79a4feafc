// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// pageNames are the pages that have lines of their own.
var pageNames = []string{"top", "flows", "connections", "changes", "drops", "policies", "policy", "nodes", "timeline", "matrix", "why"}

// pageEvery is how often a live page is printed.
const pageEvery = 2 * time.Second

// pageLines prints a page of the screen where there is no screen: a table, or
// an object for each row, whenever it has changed.
type pageLines struct {
	out    *lines.Printer
	w      interface{ Write([]byte) (int, error) }
	format lines.Format
	page   string
	once   bool // at the end only: of a recording
	last   uint64
}

var _ liner = (*pageLines)(nil)

// checkPage says what pages there are if name is none of them. It is asked before
// a session is opened, so that nothing is made for a page that there isn't.
func checkPage(name string) error {
	if name == "" || slices.Contains(pageNames, name) {
		return nil
	}
	return fmt.Errorf("--page %q: there is %s", name, strings.Join(pageNames, ", "))
}

// newPageLines is for a page's name; once prints it at the end alone.
func (g *globals) newPageLines(page string, format lines.Format, once bool) (*pageLines, error) {
	if err := checkPage(page); err != nil {
		return nil, err
	}
	return &pageLines{out: lines.New(g.Out, format), w: g.Out, format: format, page: page, once: once}, nil
}

// Event implements [liner]: what is lost is worth a line of its own.
func (p *pageLines) Event(e *flow.Event) error {
	if p.once || e.Type != flow.LossEvent && e.Type != flow.GapEvent {
		return nil
	}
	return p.out.Print(e)
}

// Tick implements [liner].
func (p *pageLines) Tick(s *store.Store) error {
	if p.once {
		return nil
	}
	return p.print(s)
}

// End implements [liner].
func (p *pageLines) End(s *store.Store) error { return p.print(s) }

// row is a line of a page: its cells, and what -o json prints of it.
type row struct {
	cells  []string
	object any
}

func (p *pageLines) print(s *store.Store) error {
	v := s.Version(store.Query{})
	if v == p.last && v != 0 {
		return nil
	}
	p.last = v
	head, rows := p.rows(s)
	if p.format == lines.JSON {
		for _, r := range rows {
			if err := p.out.Object(r.object); err != nil {
				return err
			}
		}
		return nil
	}
	tw := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(head, "\t"))
	for _, r := range rows {
		for i, c := range r.cells {
			r.cells[i] = printable(strings.NewReplacer("\t", " ", "\n", " ").Replace(dash(c)))
		}
		fmt.Fprintln(tw, strings.Join(r.cells, "\t"))
	}
	fmt.Fprintln(tw)
	return tw.Flush()
}

const manyRows = 1 << 20

func (p *pageLines) rows(s *store.Store) ([]string, []row) {
	switch p.page {
	case "top":
		return topRows(s.Snapshot(store.Query{Workloads: true, Limit: manyRows}))
	case "flows":
		return pairRows(s.Snapshot(store.Query{Pairs: true, Limit: manyRows}))
	case "changes":
		return pairRows(s.Snapshot(store.Query{Pairs: true, Changed: true, Limit: manyRows}))
	case "connections":
		return flowRows(s.Snapshot(store.Query{Flows: true, Limit: manyRows, Order: store.Order{By: "verdict"}}))
	case "drops":
		return dropRows(s.Snapshot(store.Query{Drops: true, Limit: manyRows, Order: store.Order{By: "culprit"}}))
	case "policies":
		return policyRows(s)
	case "policy":
		return ruleRows(s.Snapshot(store.Query{Policies: true}))
	case "nodes":
		return nodeRows(s.Snapshot(store.Query{Nodes: true}))
	case "timeline":
		return timelineRows(s.Snapshot(store.Query{Timeline: true, Limit: manyRows, Order: store.Order{Reverse: true}}))
	case "matrix":
		return matrixRows(s.Snapshot(store.Query{Pairs: true, Limit: manyRows, Order: store.Order{By: "name"}}))
	}
	return whyRows(s)
}

func topRows(s *store.Snapshot) ([]string, []row) {
	var out []row
	for _, w := range s.Workloads {
		out = append(out, row{[]string{
			w.Namespace, w.Name, lines.Bytes(uint64(w.Rate)) + "/s", number(w.Allowed), number(w.WouldDeny), number(w.Denied), number(w.Contested), number(w.Dropped), strconv.Itoa(w.Flows),
		}, workloadLine(s.Time, w)})
	}
	return []string{"NAMESPACE", "NAME", "RATE", "ALLOWED", "WOULD-DENY", "DENIED", "CONTESTED", "DROPPED", "OPEN"}, out
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// pairLine is one object of the page "flows".
type pairLine struct {
	Type        string    `json:"type"` // "pair"
	Time        time.Time `json:"time"`
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Connections int       `json:"connections"`
	Open        int       `json:"open"`
	Packets     uint64    `json:"packets"`
	Bytes       uint64    `json:"bytes"`
	Rate        float64   `json:"rate"` // bytes per second
	Dropped     uint64    `json:"dropped"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	// Newest is the newest of its connections, with the verdict that all share.
	Newest flow.Event `json:"newest"`
}

func pairRows(s *store.Snapshot) ([]string, []row) {
	var out []row
	for _, p := range s.Pairs {
		e := &p.Sample.Event
		out = append(out, row{[]string{
			lines.Word(e), direction(e), p.ID.Source, p.ID.Destination, portOf(e), strconv.Itoa(p.Flows), lines.Bytes(uint64(p.Rate)) + "/s", number(p.Faults), string(e.Agreement), lines.Why(e),
		}, pairLine{"pair", s.Time, p.ID.Source, p.ID.Destination, p.Flows, p.Open, p.Packets, p.Bytes, p.Rate, p.Faults, p.First, p.Last, *e}})
	}
	return []string{"VERDICT", "DIRECTION", "SOURCE", "DESTINATION", "PORT", "CONNECTIONS", "RATE", "DROPPED", "AGREES", "WHY"}, out
}

func direction(e *flow.Event) string { return e.Direction.String() }

func portOf(e *flow.Event) string {
	s := strings.ToLower(e.Protocol.String())
	if e.Destination != nil && e.Destination.Port != 0 {
		s += "/" + strconv.Itoa(int(e.Destination.Port))
	}
	return s
}

func flowRows(s *store.Snapshot) ([]string, []row) {
	var out []row
	for _, r := range s.Flows {
		e := r.Event
		out = append(out, row{[]string{
			lines.Word(&e), direction(&e), lines.Name(e.Source), lines.Name(e.Destination), portOf(&e), lines.Bytes(r.BytesIn + r.BytesOut), string(e.Observed), string(e.Agreement), lines.Why(&e),
		}, &e})
	}
	return []string{"VERDICT", "DIRECTION", "SOURCE", "DESTINATION", "PORT", "BYTES", "OBSERVED", "AGREES", "WHY"}, out
}

// dropLine is one object of the page "drops".
type dropLine struct {
	Type     string     `json:"type"` // "drops"
	Culprit  string     `json:"culprit"`
	Sentence string     `json:"sentence"`
	Packets  uint64     `json:"packets"`
	AtLeast  bool       `json:"atLeast,omitempty"` // packets is a lower bound
	First    time.Time  `json:"first"`
	Last     time.Time  `json:"last"`
	Newest   flow.Event `json:"newest"`
}

func dropRows(s *store.Snapshot) ([]string, []row) {
	var out []row
	for _, d := range s.Drops {
		n := number(d.Count)
		if d.Sampled {
			n = ">" + n
		}
		out = append(out, row{[]string{
			d.Culprit, d.Event.Reason, n, lines.Name(d.Event.Source), lines.Name(d.Event.Destination), portOf(&d.Event), d.Sentence,
		}, dropLine{"drops", d.Culprit, d.Sentence, d.Count, d.Sampled, d.First, d.Last, d.Event}})
	}
	return []string{"DROPPED-BY", "REASON", "PACKETS", "SOURCE", "DESTINATION", "PORT", "WHY AND WHAT NEXT"}, out
}

func timelineRows(s *store.Snapshot) ([]string, []row) {
	var out []row
	for i := range s.Timeline {
		e := s.Timeline[i].Event
		if e.Benign {
			continue
		}
		out = append(out, row{[]string{e.Time.UTC().Format("15:04:05.000"), string(e.Type), lines.Word(&e), lines.Name(e.Source), lines.Name(e.Destination), e.Node, lines.Why(&e)}, &e})
	}
	return []string{"TIME", "TYPE", "VERDICT", "SOURCE", "DESTINATION", "NODE", "WHY"}, out
}

// cellLine is one object of the page "matrix": who talks to whom, with what was
// judged.
type cellLine struct {
	Type        string       `json:"type"` // "cell"
	Source      string       `json:"source"`
	Destination string       `json:"destination"`
	Port        uint16       `json:"port,omitempty"`
	Protocol    string       `json:"protocol"`
	Direction   string       `json:"direction"`
	Current     flow.Verdict `json:"current"`
	Candidate   flow.Verdict `json:"candidate,omitzero"`
	Connections int          `json:"connections"`
}

func matrixRows(s *store.Snapshot) ([]string, []row) {
	var out []row
	for _, p := range s.Pairs {
		c := cellLine{"cell", p.ID.Source, p.ID.Destination, p.ID.Port, p.ID.Protocol.String(), p.ID.Direction.String(), p.ID.Verdict, p.Sample.Event.Candidate, p.Flows}
		out = append(out, row{[]string{c.Source, c.Destination, portOf(&p.Sample.Event), c.Direction, c.Current.String(), c.Candidate.String(), strconv.Itoa(c.Connections)}, c})
	}
	return []string{"SOURCE", "DESTINATION", "PORT", "DIRECTION", "CURRENT", "CANDIDATE", "CONNECTIONS"}, out
}
