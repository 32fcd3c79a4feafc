// SPDX-License-Identifier: Apache-2.0

package store

import (
	"slices"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// precise is how far the first right outcome may lie behind the last wrong
// one, or behind the change, to say when enforcement began.
const precise = time.Second

const (
	maxChanges = 10_000
	maxSamples = 1000
)

// isolation measures from changes to their first right outcomes.
type isolation struct {
	changes map[change]*progress
	samples map[series][]time.Duration
	ready   map[string]time.Time // pods that were seen to become ready
}

// change is a policy's new text or a pod's becoming ready, as one node may
// have learned of it.
type change struct {
	node   string
	policy policyKey
	pod    string
	at     time.Time
}

type series struct{ node, after string }

type progress struct {
	wrong time.Time // last outcome that was wrong
	done  bool      // a right outcome was seen
}

func (i *isolation) init() {
	i.changes, i.samples, i.ready = map[change]*progress{}, map[series][]time.Duration{}, map[string]time.Time{}
}

// readyAt is when a pod became ready: exactly if it was seen, else to the second.
func (s *Store) readyAt(pod string, told time.Time) time.Time {
	if at := s.isolation.ready[pod]; at.Sub(told).Abs() < 2*time.Second {
		return at
	}
	return told
}

// isolated takes a settled row of a pod that its own policies deny.
func (s *Store) isolated(r *row) {
	if r.verdict == flow.Deny {
		s.denied(r, r.localWho, r.deniers(), r.agreement == flow.Agrees)
	}
}

// isolatedFar takes a row that the policies at the other end deny.
func (s *Store) isolatedFar(r *row, by []flow.Rule) {
	w := r.peerWho
	if r.backendWho != nil {
		w = r.backendWho
	}
	s.denied(r, w, by, true)
}

// denied notes the outcome of a connection that policies deny to or from a pod.
func (s *Store) denied(r *row, subject *who, by []flow.Rule, right bool) {
	if r.counted || subject.pod == "" {
		return
	}
	r.counted = true
	for i := range by {
		k := keyOf(&by[i])
		if e := s.rules.since[k]; e != nil && e.live {
			s.isolation.take(change{subject.node, k, "", e.at}, "policy", r.since, right)
		}
	}
	key := subject.namespace + "/" + subject.pod
	if at, ok := s.isolation.ready[key]; ok {
		s.isolation.take(change{subject.node, policyKey{}, key, at}, "ready", r.since, right)
	}
}

func (i *isolation) take(c change, after string, at time.Time, right bool) {
	if at.Before(c.at) {
		return
	}
	p := i.changes[c]
	if p == nil {
		if len(i.changes) >= maxChanges {
			clear(i.changes)
		}
		p = &progress{}
		i.changes[c] = p
	}
	switch {
	case p.done:
	case !right:
		if at.After(p.wrong) {
			p.wrong = at
		}
	default:
		p.done = true
		from := c.at
		if p.wrong.After(from) {
			from = p.wrong
		}
		if at.Sub(from) > precise {
			return // nobody tried: it may have been right for long
		}
		k := series{c.node, after}
		list := append(i.samples[k], at.Sub(c.at))
		if len(list) > maxSamples {
			list = slices.Delete(list, 0, len(list)-maxSamples)
		}
		i.samples[k] = list
	}
}

// becameReady notes pods that were not ready and are.
func (a *applying) becameReady(m *wire.World) {
	i := &a.s.isolation
	was := a.s.names.ledger.World()
	if was == nil {
		return
	}
	for _, p := range m.GetPods() {
		key := p.GetNamespace() + "/" + p.GetName()
		old := was.Pods[key]
		if !p.GetReady() || old != nil && old.Ready && old.UID == p.GetUid() {
			continue
		}
		if old == nil && a.at.Sub(time.Unix(0, p.GetCreatedNs())) > time.Minute {
			continue // not new, only new to us
		}
		if len(i.ready) >= maxChanges {
			clear(i.ready)
		}
		i.ready[key] = a.at
	}
}

// queryIsolation sums up what was measured, by node.
func (s *Store) queryIsolation() []flow.Isolation {
	missed := map[series]int{}
	for c, p := range s.isolation.changes {
		after := "policy"
		if c.pod != "" {
			after = "ready"
		}
		if !p.done && !p.wrong.IsZero() {
			missed[series{c.node, after}]++
		}
	}
	all := map[series]bool{}
	for k := range s.isolation.samples {
		all[k] = true
	}
	for k := range missed {
		all[k] = true
	}
	out := make([]flow.Isolation, 0, len(all))
	for k := range all {
		list := slices.Sorted(slices.Values(s.isolation.samples[k]))
		out = append(out, flow.Isolation{
			Type: flow.IsolationEvent, Node: k.node, After: k.after, Count: len(list), Missed: missed[k],
			P50Seconds: percentile(list, 50).Seconds(), P99Seconds: percentile(list, 99).Seconds(),
		})
	}
	slices.SortFunc(out, func(a, b flow.Isolation) int {
		if a.Node != b.Node {
			if a.Node < b.Node {
				return -1
			}
			return 1
		}
		if a.After < b.After {
			return -1
		}
		return 1
	})
	return out
}

// percentile of a sorted list, by the nearest rank; 0 of none.
func percentile(list []time.Duration, p int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	return list[min(len(list)-1, (len(list)*p+99)/100-1)]
}
