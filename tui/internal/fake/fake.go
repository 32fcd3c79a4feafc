// SPDX-License-Identifier: Apache-2.0

// Package fake is a small shop of workloads that can be drawn without a
// cluster: the same every time, so that screens can be compared byte for byte.
package fake

import (
	"sync"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
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

// Many is a world of n flows, n/20 workloads, and a hundredth as many
// policies, drops and nodes.
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
	drops, nodes := w.drops, w.nodes
	for i := range n / 100 {
		d, m := *drops[i%len(drops)], *nodes[i%len(nodes)]
		d.Event.Location += "-" + itoa(i)
		m.Node += "-" + itoa(i)
		w.drops, w.nodes = append(w.drops, &d), append(w.nodes, &m)
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
		r.Event.Reason, r.Event.Note, r.ID.Node, r.Event.Culprit = text, text, text, text
		for _, list := range [][]flow.Rule{r.Event.IsolatedBy, r.Event.CandidateIsolatedBy} {
			for i := range list {
				list[i].Namespace, list[i].Name = text, text+list[i].Name
			}
		}
		for _, rule := range []*flow.Rule{r.Event.Rule, r.Event.CandidateRule} {
			if rule != nil {
				rule.Namespace, rule.Name = text, text+rule.Name
			}
		}
		r.Event.Owner = &flow.Owner{PID: 7, Command: text, Executable: text, Container: text}
		r.Event.Request = &flow.Request{Kind: "http", Host: text, Method: text, Path: text}
		if n := r.Event.NftRule; n != nil {
			n.Table, n.Chain, n.Text, n.Engine, n.Verdict = text, text, text, text, text
		}
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

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
