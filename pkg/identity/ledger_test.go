// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ip = netip.MustParseAddr("10.0.0.7")
)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

func world(pods ...*Pod) *World {
	w := &World{Pods: map[string]*Pod{}}
	for _, p := range pods {
		w.Pods[p.Key()] = p
	}
	return w
}

func pod(name, uid string, created int, ips ...netip.Addr) *Pod {
	return &Pod{Namespace: "shop", Name: name, UID: uid, Created: at(created), IPs: ips}
}

func TestLedgerNamesTheOwnerOfTheTime(t *testing.T) {
	var l Ledger
	l.Update(world(pod("a", "1", 0, ip)), at(10))
	l.Update(world(pod("b", "2", 15)), at(20))     // a is gone, b waits
	l.Update(world(pod("b", "2", 15, ip)), at(30)) // b got the address after 20

	for _, c := range []struct {
		at   int
		want string
	}{{-1, ""}, {0, "a"}, {12, "a"}, {19, "a"}, {20, "b"}, {25, "b"}, {99, "b"}} {
		got := ""
		if o := l.Who(ip, at(c.at)); o.Pod != nil {
			got = o.Pod.Name
		}
		if got != c.want {
			t.Errorf("at %d s the owner is %q, want %q", c.at, got, c.want)
		}
	}
}

func TestLedgerAdmitsThatTwoCouldHaveHadIt(t *testing.T) {
	var l Ledger
	// b had the address before the API said that a was gone.
	l.Update(world(pod("a", "1", 0, ip), pod("b", "2", 10)), at(10))
	l.Update(world(pod("a", "1", 0, ip), pod("b", "2", 10, ip)), at(12))
	l.Update(world(pod("b", "2", 10, ip)), at(14))
	if o := l.Who(ip, at(11)); o.Known() {
		t.Errorf("named %v while both could have had it", o.Pod.Name)
	}
	if o := l.Who(ip, at(9)); o.Pod == nil || o.Pod.Name != "a" {
		t.Errorf("before b could have had it: %v", o)
	}
	if o := l.Who(ip, at(14)); o.Pod == nil || o.Pod.Name != "b" {
		t.Errorf("after a was gone: %v", o)
	}
}

func TestCompletedPodLosesItsAddressAtOnce(t *testing.T) {
	var l Ledger
	p := pod("a", "1", 0, ip)
	l.Update(world(p), at(5))
	done := *p
	done.Done = true
	changed := l.Update(world(&done), at(8))
	if len(changed) != 1 || changed[0] != ip {
		t.Errorf("changed %v", changed)
	}
	if o := l.Who(ip, at(8)); o.Known() {
		t.Errorf("a completed pod still owns its address: %v", o)
	}
	if NewIndex(world(&done)).Pod(ip) != nil {
		t.Error("the index still has it")
	}
}

func TestHostNetworkPodsOwnNoAddress(t *testing.T) {
	p := pod("a", "1", 0, ip)
	p.HostNetwork = true
	w := world(p)
	w.Nodes = map[string]*Node{"n1": {Name: "n1", IPs: []netip.Addr{ip}}}
	var l Ledger
	l.Update(w, at(1))
	if o := l.Who(ip, at(2)); o.Node == nil || o.Pod != nil {
		t.Errorf("got %+v, want the node", o)
	}
	if x := NewIndex(w); x.Pod(ip) != nil || x.Node(ip) == nil {
		t.Error("the index names the pod")
	}
}

func TestSameNameAnotherLife(t *testing.T) {
	var l Ledger
	l.Update(world(pod("db-0", "1", 0, ip)), at(1))
	l.Update(world(pod("db-0", "2", 5)), at(5))
	if o := l.Who(ip, at(6)); o.Known() {
		t.Errorf("the new db-0 was given the old one's address: %v", o)
	}
	if o := l.Who(ip, at(3)); o.Pod == nil || o.Pod.UID != "1" {
		t.Errorf("the old one's time: %v", o)
	}
}

// TestReuseStorm: whatever the order of events, a flow is named by its true
// owner or by nobody.
func TestReuseStorm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Ledger
		ips := make([]netip.Addr, 3)
		for i := range ips {
			ips[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		}
		type life struct {
			name     string
			from, to int // truth, in ms
			ip       netip.Addr
		}
		var truth []life
		free := map[netip.Addr]int{} // free since
		known := map[string]*Pod{}
		type event struct {
			at    int
			apply func()
		}
		var events []event
		for i := range rapid.IntRange(1, 30).Draw(t, "lives") {
			addr := ips[rapid.IntRange(0, 2).Draw(t, "ip")]
			created := free[addr] + rapid.IntRange(-20, 50).Draw(t, "created")
			from := max(free[addr], created) + rapid.IntRange(1, 30).Draw(t, "wait")
			to := from + rapid.IntRange(5, 100).Draw(t, "life")
			free[addr] = to
			lf := life{fmt.Sprintf("p%d", i), from, to, addr}
			truth = append(truth, lf)
			uid := fmt.Sprint(i)
			ms := func(n int) time.Time { return t0.Add(time.Duration(n) * time.Millisecond) }
			base := Pod{Namespace: "x", Name: lf.name, UID: uid, Created: ms(created)}
			with := base
			with.IPs = []netip.Addr{addr}
			// The API tells each later than it is true, by up to 20 ms.
			late := rapid.IntRange(0, 20).Draw(t, "late")
			events = append(events,
				event{created, func() { known[uid] = &base }},
				event{from + late, func() { known[uid] = &with }},
				event{to + late, func() { delete(known, uid) }})
		}
		byTime := map[int][]func(){}
		last := 0
		for _, e := range events {
			byTime[e.at] = append(byTime[e.at], e.apply)
			last = max(last, e.at)
		}
		for ms := -100; ms <= last; ms++ {
			if len(byTime[ms]) == 0 {
				continue
			}
			for _, f := range byTime[ms] {
				f()
			}
			l.Update(&World{Pods: maps.Clone(known)}, t0.Add(time.Duration(ms)*time.Millisecond))
		}
		for _, lf := range truth {
			for at := lf.from; at < lf.to; at += 3 {
				o := l.Who(lf.ip, t0.Add(time.Duration(at)*time.Millisecond))
				if o.Pod != nil && o.Pod.Name != lf.name {
					t.Fatalf("%s at %d ms belonged to %s, was named %s", lf.ip, at, lf.name, o.Pod.Name)
				}
			}
		}
	})
}
