// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// news is what the timeline says beside the traffic, oldest first.
func (s *session) news(q Query) []string {
	q.Timeline, q.Limit, q.Order = true, 1000, Order{Reverse: true}
	var out []string
	for _, m := range s.Snapshot(q).Timeline {
		if !news(&m.Event) {
			continue
		}
		who := ""
		if m.Source != nil {
			who = m.Source.Namespace + "/" + m.Source.Pod + " "
		}
		out = append(out, fmt.Sprint(m.Type, ": ", who, m.Note))
	}
	return out
}

func TestTheTimelineTellsOfPolicies(t *testing.T) {
	s := newSession(Limits{})
	s.policies(false)
	if got := s.news(Query{}); len(got) != 0 {
		t.Errorf("what was there from the start is no news: %q", got)
	}
	s.policies(true)
	s.policies(true)
	enforced := []*wire.PolicyState{
		{Kind: "NetworkPolicy", Namespace: "shop", Name: "allow", Origin: "cluster", Current: true, Candidate: true, Yaml: "spec: {}"},
		{Kind: "NetworkPolicy", Namespace: "shop", Name: "new", Origin: "new.yaml", Candidate: true, Enforced: true},
	}
	// the list comes in two parts: nothing is gone before the second
	s.frame("", &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{Policies: enforced[:1], HasCandidate: true, More: true}})
	s.frame("", &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{Policies: enforced[1:], HasCandidate: true}})
	want := []string{
		"policy: NetworkPolicy shop/deny is left out now, was current",
		"policy: NetworkPolicy shop/new came: dry-run",
		"policy: NetworkPolicy shop/allow has another text, current",
		"policy: NetworkPolicy shop/deny is gone, was left out",
		"policy: NetworkPolicy shop/new is enforced now, was dry-run",
	}
	if got := s.news(Query{Telling: true}); !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	match, err := ParseFilter("rule=shop/deny", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.news(Query{Match: match}); len(got) != 2 {
		t.Errorf("by a filter: %q", got)
	}
}

func TestTheTimelineTellsOfTheLease(t *testing.T) {
	s := newSession(Limits{})
	for _, l := range []*wire.LeaseState{{}, {Active: true, TotalLeftNs: int64(40 * time.Second)}, {Active: true, TotalLeftNs: int64(39 * time.Second)}, {}, {}} {
		s.frame("n1", &wire.Frame_LeaseState{LeaseState: l})
	}
	want := []string{
		"lease: enforcement began, for 40s at most",
		"lease: enforcement is over: nothing is dropped by this session any more",
	}
	if got := s.news(Query{}); !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func TestTheTimelineTellsOfPods(t *testing.T) {
	s := newSession(Limits{})
	pod := func(change func(*wire.Pod)) {
		p := &wire.Pod{Namespace: "shop", Name: "late", Uid: "u9", Node: "n1", Ips: [][]byte{ip4("10.0.0.9")}, Workload: "job/late", CreatedNs: t0.UnixNano()}
		change(p)
		s.world(p)
	}
	pod(func(*wire.Pod) {})
	pod(func(p *wire.Pod) { p.Ready = true })
	pod(func(p *wire.Pod) { p.Ready = true })
	pod(func(p *wire.Pod) { p.Done = true })
	s.frame("", &wire.Frame_World{World: &wire.World{Gone: []string{"pod shop/late", "pod shop/web-1"}}})
	want := []string{
		"pod: shop/late came", "pod: shop/late is ready", "pod: shop/late ended", "pod: shop/web-1 is gone",
	}
	if got := s.news(Query{}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := s.news(Query{Trouble: true}); len(got) != 0 {
		t.Errorf("no trouble: %q", got)
	}
	pod(func(p *wire.Pod) {
		p.Name, p.Uid, p.Labels = "ebpol-1", "u10", map[string]string{probeLabel: probeName}
	})
	s.frame("", &wire.Frame_World{World: &wire.World{Gone: []string{"pod shop/ebpol-1"}}})
	// a pod that was there before it could be seen is no news
	s.world(&wire.Pod{Namespace: "shop", Name: "old", Uid: "u8", CreatedNs: t0.Add(-time.Hour).UnixNano()})
	if got := s.news(Query{}); len(got) != len(want) {
		t.Errorf("got %q", got)
	}
}

// TestManyChangesAtOnceLeaveTheRestOfTheTimelineInPlace: a roll-out of a
// thousand pods is summed up.
func TestManyChangesAtOnceLeaveTheRestOfTheTimelineInPlace(t *testing.T) {
	s := newSession(Limits{})
	var pods []*wire.Pod
	for i := range 1000 {
		pods = append(pods, &wire.Pod{Namespace: "shop", Name: fmt.Sprint("p", i), Uid: fmt.Sprint(i), CreatedNs: t0.UnixNano()})
	}
	s.world(pods...)
	got := s.news(Query{})
	if len(got) != maxNews+1 || got[maxNews] != "pod: 900 more changed at once" {
		t.Errorf("%d events, the last %q", len(got), got[len(got)-1])
	}
}
