// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// Nodes shows how each probe is and what it costs.
type Nodes struct {
	list[*store.NodeRow, string]
	isolation map[string][]flow.Isolation // by node
	keep      func(*store.NodeRow) bool   // the filter; nil: all
	all       []*store.NodeRow            // that there are
}

var _ Page = (*Nodes)(nil)

// NewNodes makes the page.
func NewNodes(env *Env) *Nodes {
	p := &Nodes{}
	p.list = list[*store.NodeRow, string]{env: env, draw: p.cell, note: p.explain, empty: p.nothing}
	p.tall = 12
	p.table.Sorted = "node"
	p.table.Columns = []part.Column{
		{Key: "node", Title: "NODE", Letter: "N", Min: 12, Max: 36, Rising: true},
		{Key: "phase", Title: "PROBE", Letter: "B", Min: 13, Rising: true},
		{Key: "pods", Title: "PODS", Letter: "P", Min: 6, Right: true, Rank: 1},
		{Key: "lost", Title: "SAMPLES LOST", Letter: "L", Min: 12, Right: true, Rank: 2},
		{Key: "cpu", Title: "CPU", Letter: "C", Min: 5, Right: true, Rank: 3},
		{Key: "memory", Title: "MEMORY", Letter: "M", Min: 6, Right: true, Rank: 3},
		{Key: "stream", Title: "STREAM", Letter: "T", Min: part.RateWidth, Right: true, Rank: 5},
		{Key: "ring", Title: "RING", Letter: "R", Min: 5, Right: true, Rank: 6},
		{Key: "conns", Title: "CONNS", Letter: "O", Min: part.CountWidth, Right: true, Rank: 6},
		{Key: "lease", Title: "LEASE", Letter: "S", Min: 8, Right: true, Rank: 4},
		{Key: "dropped", Title: "WE DROPPED", Letter: "D", Min: 10, Right: true, Rank: 6},
		{Key: "hook", Title: "HOOK", Letter: "K", Min: 6, Rank: 7, Rising: true},
		{Key: "perpacket", Title: "A PACKET", Min: 8, Right: true, Rank: 5},
		{Key: "isolation", Title: "ENFORCED IN", Letter: "E", Min: 13, Rank: 4},
		{Key: "kernel", Title: "KERNEL", Letter: "V", Min: 12, Max: 28, Rank: 8, Rising: true},
		{Key: "others", Title: "ALSO ON THE HOOK", Min: 16, Max: 40, Rank: 9, Wide: true},
	}
	return p
}

// Name implements [Page].
func (p *Nodes) Name() string { return "nodes" }

// Crumb implements [Page].
func (p *Nodes) Crumb() string { return "nodes" }

// Ask implements [Page].
func (p *Nodes) Ask() (store.Query, func(*store.Snapshot) any) {
	q := p.query(store.Query{Nodes: true})
	q.Offset, q.Limit, q.Match, q.Trouble = 0, 20_000, nil, false
	p.allAsked()
	keep, order, trouble := p.keep, q.Order, p.env.Trouble
	return q, func(s *store.Snapshot) any {
		rows := slices.DeleteFunc(slices.Clone(s.Nodes), func(r *store.NodeRow) bool {
			return keep != nil && !keep(r) || trouble && r.Phase == "live" && r.Failed == 0 && !r.Loss.Any()
		})
		byNode := map[string][]flow.Isolation{}
		for i := range s.Isolation {
			byNode[s.Isolation[i].Node] = append(byNode[s.Isolation[i].Node], s.Isolation[i])
		}
		slices.SortStableFunc(rows, func(a, b *store.NodeRow) int {
			c := compareIsolation(byNode[a.Node], byNode[b.Node])
			if order.By != "isolation" {
				c = compareNodes(a, b, order.By)
			}
			if order.Reverse {
				c = -c
			}
			return cmp.Or(c, cmp.Compare(a.Node, b.Node))
		})
		b := newBatch(rows, 0, len(rows), func(r *store.NodeRow) string { return r.Node })
		return watched{b, byNode, s.Nodes}
	}
}

// watched is the digest: the nodes, and how fast policies are enforced there.
type watched struct {
	batch[*store.NodeRow, string]
	isolation map[string][]flow.Isolation
	all       []*store.NodeRow // also those that the filter leaves out
}

// Set implements [Page].
func (p *Nodes) Set(digest any) {
	if w, ok := digest.(watched); ok {
		p.isolation, p.all = w.isolation, w.all
		p.list.Set(w.batch)
	}
}

func compareNodes(a, b *store.NodeRow, by string) int {
	switch by {
	case "phase":
		return cmp.Compare(a.Phase, b.Phase)
	case "pods":
		return cmp.Compare(b.Endpoints, a.Endpoints)
	case "lost":
		return cmp.Compare(lost(b.Loss), lost(a.Loss))
	case "cpu":
		return cmp.Compare(b.CPU, a.CPU)
	case "memory":
		return cmp.Compare(b.RSS+b.MapBytes, a.RSS+a.MapBytes)
	case "stream":
		return cmp.Compare(b.SentRate, a.SentRate)
	case "ring":
		return cmp.Compare(b.RingFill, a.RingFill)
	case "conns":
		return cmp.Compare(b.Conns, a.Conns)
	case "lease":
		return cmp.Compare(b.LeaseLeft, a.LeaseLeft)
	case "dropped":
		return cmp.Compare(b.Dropped, a.Dropped)
	case "hook":
		return cmp.Compare(a.Hook, b.Hook)
	case "kernel":
		return cmp.Compare(a.Kernel, b.Kernel)
	}
	return cmp.Compare(a.Node, b.Node)
}

func lost(l store.Loss) uint64 { return l.Ring + l.Thinned + l.Table + l.Resent }

// Footer implements [Page].
func (p *Nodes) Footer() []key.Binding {
	k := p.env.Keys
	return []key.Binding{k.Filter, k.Trouble, k.Wide, k.Freeze}
}

// phase is a probe's state as people read it.
func (p *Nodes) phase(r *store.NodeRow) style.Word {
	th := p.env.Theme
	w := style.Word{Symbol: th.Off, Text: part.Clean(r.Phase), Paint: th.Warn}
	switch r.Phase {
	case "live":
		w.Symbol, w.Paint = th.On, th.Good
		if r.Failed > 0 {
			w.Text, w.Paint = "live, "+part.Count(uint64(r.Failed))+" off", th.Warn
		}
	case "failed", "cut", "gone":
		w.Symbol, w.Paint = th.No, th.Bad
	}
	return w
}

func (p *Nodes) cell(r *store.NodeRow, column string) part.Cell {
	th := p.env.Theme
	switch column {
	case "node":
		return part.Cell{Text: part.Clean(r.Node)}
	case "phase":
		w := p.phase(r)
		return part.Cell{Text: w.String(), Paint: w.Paint}
	case "pods":
		if r.Failed > 0 {
			return part.Cell{Text: part.Count(uint64(max(0, r.Endpoints))) + "!", Paint: th.Warn}
		}
		return part.Cell{Text: part.Count(uint64(max(0, r.Endpoints)))}
	case "lost":
		if !r.Loss.Any() {
			return part.Cell{Text: "0", Paint: th.Dim}
		}
		return part.Cell{Text: part.Count(lost(r.Loss)), Paint: th.Warn}
	case "cpu":
		return part.Cell{Text: part.Percent(r.CPU)}
	case "memory":
		return part.Cell{Text: part.Size(r.RSS + r.MapBytes)}
	case "stream":
		return part.Cell{Text: part.Rate(r.SentRate)}
	case "ring":
		paint := th.Dim
		if r.RingFill > 0.8 {
			paint = th.Warn
		}
		return part.Cell{Text: part.Percent(r.RingFill), Paint: paint}
	case "conns":
		return part.Cell{Text: part.Count(uint64(r.Conns))}
	case "lease":
		if !r.Enforcing {
			return part.Cell{Text: th.None, Paint: th.Dim}
		}
		return part.Cell{Text: part.Left(r.LeaseLeft), Paint: th.Denied}
	case "dropped":
		if r.Dropped == 0 {
			return part.Cell{Text: "0", Paint: th.Dim}
		}
		return part.Cell{Text: part.Count(r.Dropped), Paint: th.Denied}
	case "hook":
		return part.Cell{Text: part.Clean(r.Hook), Paint: th.Dim}
	case "perpacket":
		if d := perPacket(r); d > 0 {
			return part.Cell{Text: part.Took(d)}
		}
	case "isolation":
		text, wrong := enforcedIn(p.isolation[r.Node])
		if wrong {
			return part.Cell{Text: text, Paint: th.Bad}
		}
		return part.Cell{Text: text}
	case "kernel":
		return part.Cell{Text: part.Clean(r.Kernel), Paint: th.Dim}
	case "others":
		return part.Cell{Text: part.Clean(strings.Join(r.Others, ", ")), Paint: th.Dim}
	}
	return part.Cell{}
}

func (p *Nodes) explain(r *store.NodeRow, width int) []string {
	var s []string
	if n := p.env.Health.Notice; n != "" {
		s = append(s, "The session, last: "+part.Clean(n))
	}
	if r.Error != "" {
		s = append(s, "Error: "+part.Clean(r.Error))
	}
	if r.Message != "" {
		s = append(s, part.Clean(r.Message))
	}
	if r.Failed > 0 {
		s = append(s, pods(r.Failed)+" could not be attached to: their traffic is not seen.")
	}
	if r.Dropped > 0 {
		s = append(s, "Dropped by our enforcement: "+part.Of(r.Dropped, "packet")+", since the probe's start.")
	}
	if l := r.Loss; l.Any() {
		var causes []string
		add := func(n uint64, what string) {
			if n > 0 {
				causes = append(causes, part.Count(n)+" "+what)
			}
		}
		add(l.Ring, "found the ring full")
		add(l.Thinned, "thinned to keep the stream small")
		add(l.Table, count.Noun(l.Table, "connection")+" found the table full")
		add(l.Resent, count.Noun(l.Resent, "frame")+" lost with a cut stream")
		s = append(s, "Samples lost: "+strings.Join(causes, ", ")+". Counters stay exact.")
	}
	for _, f := range r.Features {
		if !f.Present && !strings.HasPrefix(f.Why, "not needed") {
			s = append(s, "Without "+part.Clean(f.Name)+": "+part.Clean(f.Why))
		}
	}
	if len(r.Others) > 0 {
		s = append(s, "Also on our hooks: "+part.Clean(strings.Join(r.Others, ", "))+". They run as before.")
	}
	if len(s) == 0 {
		s = append(s, "All is well: every sample arrived, every feature works.")
	}
	for i := range p.isolation[r.Node] {
		s = append(s, isolationSentence(&p.isolation[r.Node][i]))
	}
	if v := p.env.verified(); v != "" {
		s = append(s, v)
	}
	if c := costs(r); c != "" {
		s = append(s, c)
	}
	return p.notes(width, s...)
}

// perPacket is the mean time of the two programs that see every packet of a
// pod. 0: not known.
func perPacket(r *store.NodeRow) time.Duration {
	var sum time.Duration
	n := 0
	for _, c := range r.Programs {
		if (strings.HasSuffix(c.Name, "ingress") || strings.HasSuffix(c.Name, "egress")) && c.PerRun > 0 {
			sum += c.PerRun
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / time.Duration(n)
}

// costs says what each program takes.
func costs(r *store.NodeRow) string {
	var out []string
	for i, c := range r.Programs {
		if i == 6 {
			out = append(out, strconv.Itoa(len(r.Programs)-i)+" more")
			break
		}
		if c.PerRun == 0 {
			continue
		}
		s := part.Clean(c.Name) + " " + strconv.FormatInt(c.PerRun.Nanoseconds(), 10) + " ns"
		if c.Rate >= 0.5 {
			s += " x " + part.Count(uint64(c.Rate)) + "/s = " + part.Percent(c.Share) + " of a core"
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return ""
	}
	return "Our programs take: " + strings.Join(out, "; ") + "."
}

func (p *Nodes) nothing() []string {
	if p.filter != "" {
		return p.env.nothing(p.filter)
	}
	if p.env.Trouble {
		return []string{"No node is in trouble", "ctrl+z shows all nodes."}
	}
	return []string{"No node yet", "A node appears here as soon as its probe pod is being created."}
}
