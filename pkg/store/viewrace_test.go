// SPDX-License-Identifier: Apache-2.0

package store

import (
	"sync"
	"testing"
	"time"
)

// TestViewsWhileTheStoreIsFed: a view that is being made lets the feeder in,
// which moves rows, lets them go and adds others; in the end it is as if it had
// been made at once.
func TestViewsWhileTheStoreIsFed(t *testing.T) {
	s := &session{Store: New(Options{Limits: Limits{Flows: 9000}, Quiet: true}), now: t0}
	connections(s.Store, t0, 0, 9000)
	match := mustParse(t, "1[0-9]")
	queries := []Query{
		{Flows: true, Limit: 50, Order: Order{By: "bytes"}},
		{Flows: true, Limit: 50, Match: match, Same: "1[0-9]"},
		{Flows: true, Limit: 50, Offset: 4000, Order: Order{By: "source", Reverse: true}},
		{Pairs: true, Limit: 50, Match: match, Same: "1[0-9]", Order: Order{By: "bytes"}},
	}
	fed := make(chan struct{})
	var looking sync.WaitGroup
	for i := range 3 {
		looking.Go(func() {
			for n := i; ; n++ {
				select {
				case <-fed:
					return
				default:
				}
				q := queries[n%len(queries)]
				if snap := s.Snapshot(q); len(snap.Flows)+len(snap.Pairs) == 0 {
					t.Errorf("%+v: nothing", q)
				}
				if n%10 == 9 {
					s.Freeze()
				}
			}
		})
	}
	for i := range 150 {
		connections(s.Store, t0.Add(time.Duration(i)*100*time.Millisecond), 9000+100*i, 9100+100*i)
	}
	close(fed)
	looking.Wait()
	for _, q := range queries {
		s.asked(t, q)
		connections(s.Store, t0.Add(time.Minute), 30000, 30100)
		s.asked(t, q)
	}
}
