// SPDX-License-Identifier: Apache-2.0

// Package fake is a small shop of workloads that can be drawn without a
// cluster: the same every time, so that screens can be compared byte for byte.
package fake

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// World answers for the store and for the actions.
type World struct {
	mu        sync.Mutex
	id        uint64
	now       time.Time
	flows     []*store.FlowRow
	drops     []*store.DropRow
	workloads []*store.WorkloadRow
	policies  []*store.PolicyRow
	nodes     []*store.NodeRow
	timeline  []flow.Event
	isolation []flow.Isolation
	health    store.Health
	lease     time.Time // enforcing until; zero: not
	Asked     int       // snapshots taken
	Cannot    map[string]string
	Refuse    error // what Preview answers
	Calls     []string
	Narrowed  []string
	file      string    // that is being recorded to
	past      time.Time // that is shown; zero: now
}

// Start is the fake world's first moment.
var Start = time.Date(2026, 11, 22, 14, 2, 11, 500_000_000, time.UTC)

// New is the shop in the middle of a dry-run.
func New() *World {
	w := &World{id: 1, now: Start, Cannot: map[string]string{}}
	w.flows = shopFlows()
	w.drops = shopDrops()
	w.workloads = shopWorkloads()
	w.policies = shopPolicies()
	w.nodes = shopNodes()
	w.timeline = shopTimeline()
	w.isolation = shopIsolation()
	w.health = store.Health{NodesLive: 2, NodesTotal: 2, HasCandidate: true, Source: "kind-lab", Scope: []string{"shop"}, Compared: 812, Agreed: 812}
	return w
}

// Empty is a session in which nothing has happened yet.
func Empty() *World {
	return &World{id: 1, now: Start, health: store.Health{NodesTotal: 2, Source: "kind-lab"}, Cannot: map[string]string{}}
}

// Recording is the shop played from a file.
func Recording() *World {
	w := New()
	w.health.Replay, w.health.Source = true, "shop.ebpol"
	why := "This is a recording: its traffic is over and can't be enforced on. Run the same command on the cluster."
	w.Cannot["enforce"] = why
	return w
}

// Many is a world of n flows, n/20 workloads and as many policies.
func Many(n int) *World {
	w := New()
	base := w.flows
	w.flows = make([]*store.FlowRow, n)
	for i := range w.flows {
		r := *base[i%len(base)]
		r.ID = store.FlowID{Node: r.ID.Node, ID: uint64(i + 1)}
		w.flows[i] = &r
	}
	some := w.workloads
	w.workloads = nil
	for i := range n / 20 {
		r := *some[i%len(some)]
		r.Name += "-" + itoa(i)
		w.workloads = append(w.workloads, &r)
	}
	rules := w.policies
	for i := range n / 100 {
		r := *rules[i%len(rules)]
		r.Name += "-" + itoa(i)
		w.policies = append(w.policies, &r)
	}
	return w
}

// Hostile replaces every text by one that tries to break the screen.
func (w *World) Hostile(text string) *World {
	for _, r := range w.flows {
		for _, p := range []*flow.Peer{r.Event.Source, r.Event.Destination, r.Backend} {
			if p != nil {
				p.Namespace, p.Pod, p.Workload, p.Name = text, text, text, text
				if p.Service != "" {
					p.Service, p.Pod = text, ""
				}
			}
		}
		r.Event.Reason, r.Event.Note, r.ID.Node = text, text, text
	}
	for _, r := range w.drops {
		r.Culprit, r.Sentence, r.Event.Reason, r.Event.Location, r.Event.Device = text, text, text, text, text
		r.Event.Stack = []string{text}
	}
	for _, r := range w.workloads {
		r.Namespace, r.Name = text, text+r.Name
	}
	for _, r := range w.policies {
		r.Namespace, r.Name, r.Origin, r.NotEvaluated = text, text+r.Name, text, ""
		r.YAML = text + "\n" + r.YAML + text
	}
	for _, r := range w.nodes {
		r.Node, r.Message, r.Error, r.Kernel, r.Hook = text+r.Node, text, text, text, text
		r.Others = []string{text}
	}
	for i := range w.timeline {
		e := &w.timeline[i]
		e.Node, e.Reason, e.Note, e.Location = text, text, text, text
	}
	w.health.Source, w.health.Scope = text, []string{text}
	return w
}

// Step lets time pass and counters grow.
func (w *World) Step(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
	w.id++
	for i, r := range w.flows {
		if r.Closed {
			continue
		}
		c := *r
		c.PacketsIn += uint64(i%7 + 1)
		c.BytesIn += uint64(i%7+1) * 900
		c.Last = w.now
		w.flows[i] = &c
	}
	for i, r := range w.workloads {
		c := *r
		c.History = append(append([]uint64(nil), r.History...), r.History[(i+len(r.History)/3)%len(r.History)])[1:]
		w.workloads[i] = &c
	}
}

// Add puts a new flow in front of all others.
func (w *World) Add(r *store.FlowRow) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.flows = append([]*store.FlowRow{r}, w.flows...)
}

// SetHealth changes the header.
func (w *World) SetHealth(change func(*store.Health)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	change(&w.health)
}

// Snapshot answers like the store, without its sorting.
func (w *World) Snapshot(q store.Query) *store.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Asked++
	s := &store.Snapshot{ID: w.id, Time: w.now, Health: w.health}
	if !w.lease.IsZero() {
		s.Health.Enforcing = w.now.Before(w.lease)
		s.Health.EnforceLeft = w.lease.Sub(w.now)
		s.Health.LeaseLeft = min(10*time.Second, s.Health.EnforceLeft)
	}
	if q.Flows {
		for _, r := range w.flows {
			e := &r.Event
			if q.Match != nil && !q.Match(e) || q.Changed && !e.WouldChange() ||
				q.Trouble && e.Verdict == flow.Allow && !e.WouldChange() && r.Drops == 0 {
				continue
			}
			s.FlowTotal++
			if s.FlowTotal > q.Offset && len(s.Flows) < q.Limit {
				s.Flows = append(s.Flows, r)
			}
		}
	}
	if q.Pairs {
		w.pairs(q, s)
	}
	if q.Drops {
		for _, r := range w.drops {
			if (q.Benign || !r.Benign) && (q.Match == nil || q.Match(&r.Event)) {
				s.Drops = append(s.Drops, r)
			}
		}
		s.DropTotal = len(s.Drops)
	}
	if q.Workloads {
		s.Workloads = w.workloads
	}
	if q.Policies {
		s.Policies = w.policies
	}
	if q.Nodes {
		s.Nodes, s.Isolation = w.nodes, w.isolation
	}
	if q.Timeline {
		w.moments(q, s)
	}
	if q.Selected != nil {
		for _, r := range w.flows {
			if r.ID == *q.Selected {
				s.Selected, s.FlowEvents = r, w.timeline[:min(2, len(w.timeline))]
			}
		}
	}
	return s
}

// moments lists the events like the store: the newest first.
func (w *World) moments(q store.Query, s *store.Snapshot) {
	for i := range w.timeline {
		at := i
		if !q.Order.Reverse {
			at = len(w.timeline) - 1 - i
		}
		e := &w.timeline[at]
		if q.Telling && store.Ordinary(e) || q.Match != nil && !q.Match(e) {
			continue
		}
		s.TimelineTotal++
		if s.TimelineTotal > q.Offset && len(s.Timeline) < q.Limit {
			s.Timeline = append(s.Timeline, store.Moment{Event: *e, Number: uint64(at + 1)}) //nolint:gosec // an index
		}
	}
	if len(w.timeline) > 0 {
		s.TimelineFrom = w.timeline[0].Time
	}
}

// pairs sums up like the store, in the order of the flows.
func (w *World) pairs(q store.Query, s *store.Snapshot) {
	have := map[store.PairID]*store.PairRow{}
	for _, r := range w.flows {
		e := &r.Event
		if q.Match != nil && !q.Match(e) || q.Changed && !e.WouldChange() || q.Trouble && e.Verdict == flow.Allow && !e.WouldChange() && r.Drops == 0 {
			continue
		}
		id := store.PairID{Protocol: e.Protocol, Direction: e.Direction, Verdict: e.Verdict, Candidate: e.Candidate, Enforced: e.Enforced}
		id.Source, id.Destination = group(e.Source), group(e.Destination)
		if e.Destination != nil {
			id.Port = e.Destination.Port
		}
		p := have[id]
		if p == nil {
			p = &store.PairRow{ID: id, Sample: r, First: r.First}
			have[id] = p
			if s.PairTotal++; s.PairTotal > q.Offset && len(s.Pairs) < q.Limit {
				s.Pairs = append(s.Pairs, p)
			}
		}
		p.Flows++
		if !r.Closed {
			p.Open++
		}
		p.Packets, p.Bytes = p.Packets+r.PacketsIn+r.PacketsOut, p.Bytes+r.BytesIn+r.BytesOut
		p.Rate, p.Faults, p.Last = p.Rate+r.Rate, p.Faults+r.Faults, r.Last
	}
}

func group(p *flow.Peer) string {
	switch {
	case p == nil:
		return ""
	case p.Workload != "":
		return p.Namespace + "/" + p.Workload
	case p.Service != "":
		return p.Service
	case p.Name != "":
		return p.Name
	}
	return p.IP.String()
}

// SetMode implements the screen's actions.
func (w *World) SetMode(_ context.Context, kind flow.RuleKind, namespace, name, mode string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.Calls = append(w.Calls, "mode "+namespace+"/"+name+" "+mode)
	for i, r := range w.policies {
		if r.Kind == kind && r.Namespace == namespace && r.Name == name {
			c := *r
			c.Candidate, c.Enforced = mode != "off", mode == "enforced"
			w.policies[i] = &c
			return nil
		}
	}
	return errors.New("policy \"" + name + "\": not in this session")
}

// Preview lists what would be cut: the flows that the candidate denies.
func (w *World) Preview(context.Context, flow.RuleKind, string, string) ([]*store.FlowRow, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*store.FlowRow
	for _, r := range w.flows {
		if r.Event.Verdict == flow.Allow && r.Event.Candidate == flow.Deny && !r.Closed {
			out = append(out, r)
		}
	}
	return out, w.Refuse
}

// Enforce starts the lease.
func (w *World) Enforce(_ context.Context, total time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.lease = w.now.Add(total)
	w.Calls = append(w.Calls, "enforce "+total.String())
	return nil
}

// Release ends the lease.
func (w *World) Release(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.lease = time.Time{}
	w.Calls = append(w.Calls, "release")
	return nil
}

// Explain knows the near misses of what is denied.
func (w *World) Explain(_ context.Context, row *store.FlowRow) (page.Explanation, error) {
	if row.Event.Verdict != flow.Deny && row.Event.Candidate != flow.Deny {
		return page.Explanation{}, nil
	}
	return page.Explanation{
		Misses: []page.Miss{{Rule: "ingress rule 1 of NetworkPolicy shop/db-allow", Why: "needs app in (orders, web), shop/report-29384-x8v2l has app=report"}},
		Fix:    "- from:\n  - podSelector:\n      matchLabels:\n        app: report\n  ports:\n  - port: 5432\n", FixFor: "NetworkPolicy shop/db-allow, under spec.ingress",
	}, nil
}

// Advise knows what the linter would say.
func (w *World) Advise(context.Context) map[page.PolicyID]page.Advice {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[page.PolicyID]page.Advice{}
	for i, r := range w.policies {
		if r.NotEvaluated != "" {
			continue
		}
		a := page.Advice{Weight: 0.0017 * float64(i*i+1), Profile: "1-1-0-2-0-0-0"}
		if r.Name == "db-allow" {
			a.Findings = []page.Finding{{Severity: "warning", ID: "no-such-peer", Line: 14, Reason: "no pod matches app=cart in namespace shop", Fix: "correct the label, or drop the rule"}}
		}
		out[page.IDOf(r)] = a
	}
	return out
}

// Record notes that it was asked.
func (w *World) Record(_ context.Context, file string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.file = file
	w.Calls = append(w.Calls, "record "+file)
	return nil
}

// StopRecord ends the recording.
func (w *World) StopRecord(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Calls = append(w.Calls, "stop "+w.file)
	w.file = ""
	return nil
}

// Recording is the file that is being written.
func (w *World) Recording() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file
}

// Narrow notes what it was asked, and keeps back what names a port.
func (w *World) Narrow(_ context.Context, filter string, trouble bool) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Narrowed = append(w.Narrowed, filter)
	if trouble {
		return "probes send trouble only", nil
	}
	if strings.Contains(filter, "port=") {
		return "probes send port " + filter[strings.Index(filter, "port=")+5:] + " only", nil
	}
	return "", nil
}

// Span is the last minute.
func (w *World) Span() (from, to, at time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at = w.now
	if !w.past.IsZero() {
		at = w.past
	}
	return Start.Add(-5 * time.Minute), w.now, at, w.Cannot["past"] == ""
}

// Seek notes where to.
func (w *World) Seek(_ context.Context, at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.past = at
	w.Calls = append(w.Calls, "seek "+at.Format("15:04:05"))
	return nil
}

// Draft notes that it was asked.
func (w *World) Draft(_ context.Context, yaml []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Calls = append(w.Calls, "draft "+string(yaml))
	return nil
}

// Can says why something is impossible.
func (w *World) Can(what string) string { return w.Cannot[what] }

// Done is a copy of the calls that changed something.
func (w *World) Done() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.Calls...)
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
