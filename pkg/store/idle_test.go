// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestHeartbeatsAreNoNews: that nodes are still there changes nothing but once
// a second, when ages and rates move on; that one lost something does.
func TestHeartbeatsAreNoNews(t *testing.T) {
	s := New(Options{})
	beat := func(node string, at time.Duration, lost uint64) {
		s.Apply(&wire.Frame{Node: node, TimeNs: t0.Add(at).UnixNano(), Body: &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{Ring: lost}}}})
	}
	beat("n1", 0, 0)
	beat("n2", 0, 0)
	was := s.Version()
	for i := range 9 {
		beat("n1", time.Duration(i)*100*time.Millisecond, 0)
		beat("n2", time.Duration(i)*100*time.Millisecond, 0)
	}
	if now := s.Version(); now != was {
		t.Errorf("%d changes within a second", now-was)
	}
	beat("n1", time.Second, 0)
	beat("n2", time.Second, 0)
	if now := s.Version(); now != was+1 {
		t.Errorf("%d changes at the end of the second, want 1", now-was)
	}
	beat("n2", time.Second, 7)
	if now := s.Version(); now != was+2 {
		t.Error("a loss is no news")
	}
}
