// SPDX-License-Identifier: Apache-2.0

package store

import "time"

// version counts what changed, apart for what only some questions are about:
// that a node's costs are others by a hair each second is no reason to draw
// connections anew.
type version struct {
	any   uint64 // but what follows
	past  uint64 // the workloads' rates and last minutes have moved on by time
	rates uint64 // those of connections and of who talks to whom have
	costs uint64 // of the nodes' probes
}

// of is the version of the answer to a query.
func (v *version) of(q *Query) uint64 {
	n := v.any
	if q.Workloads {
		n += v.past
	}
	if q.Flows || q.Pairs || q.Selected != nil {
		n += v.rates
	}
	if q.Nodes {
		n += v.costs
	}
	return n
}

// Version grows whenever the answer to q changes, but for Snapshot.Time: equal
// versions mean equal snapshots of equal queries.
func (s *Store) Version(q Query) uint64 {
	q.complete()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version.of(&q)
}

// Now is the newest frame's time: a recording has its own.
func (s *Store) Now() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.now
}

// Health is what every snapshot's header says.
func (s *Store) Health() Health {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.health()
}

// advance closes the seconds that have passed: every account gets an entry in
// its history for each.
func (s *Store) advance() {
	if s.ticked.IsZero() {
		s.ticked = s.now
		s.version.any++
		return
	}
	n := int(s.now.Sub(s.ticked) / tick)
	if n <= 0 {
		return
	}
	s.ticked = s.ticked.Add(time.Duration(n) * tick)
	past := false
	for _, p := range s.pods {
		past = p.tick(n) || past
	}
	accounts, rates := s.sums.tick(n)
	if past || accounts {
		s.version.past++
	}
	if rates {
		s.version.rates++
	}
}
