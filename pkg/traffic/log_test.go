// SPDX-License-Identifier: Apache-2.0

package traffic_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func end(name, ip string) *flow.Peer {
	return &flow.Peer{Namespace: "shop", Pod: name, Workload: "pod/" + name, IP: netip.MustParseAddr(ip), Port: 40000}
}

func closed(from, to *flow.Peer, at time.Duration) *flow.Event {
	d := *to
	d.Port = 80
	return &flow.Event{Type: flow.CloseEvent, Time: start.Add(at), Direction: flow.Ingress, Protocol: flow.TCP, Source: from, Destination: &d, Verdict: flow.Allow, Packets: 2}
}

func world(pods ...*identity.Pod) *identity.World {
	w := &identity.World{Pods: map[string]*identity.Pod{}, Namespaces: map[string]*identity.Namespace{}}
	for _, p := range pods {
		w.Pods[p.Key()] = p
	}
	return w
}

func pod(name, app string, ips ...string) *identity.Pod {
	p := &identity.Pod{Namespace: "shop", Name: name, Workload: "pod/" + name, Labels: map[string]string{"app": app}}
	for _, ip := range ips {
		p.IPs = append(p.IPs, netip.MustParseAddr(ip))
	}
	return p
}

func TestConnectionsAreSummedUp(t *testing.T) {
	l := traffic.New()
	l.Event(closed(end("web", "10.0.0.1"), end("db", "10.0.0.2"), 0))
	l.Event(closed(end("web", "10.0.0.1"), end("db", "10.0.0.2"), time.Minute))
	l.Event(&flow.Event{Type: flow.FlowEvent, Source: end("web", "10.0.0.1"), Destination: end("db", "10.0.0.2")}) // counted when it is over
	l.Event(closed(end("cart", "10.0.0.3"), end("db", "10.0.0.2"), time.Minute))
	seen := l.Seen()
	if len(seen) != 2 || seen[1].Flows != 2 || seen[1].Packets != 4 || seen[1].Last.Sub(seen[1].First) != time.Minute || seen[1].Source.Port != 0 {
		t.Errorf("%+v", seen)
	}
}

// Each ping has a number where ports are: they are the same traffic all the same.
func TestPingsAreOne(t *testing.T) {
	l := traffic.New()
	for i := range 3 {
		ping := closed(end("web", "10.0.0.1"), end("db", "10.0.0.2"), 0)
		ping.Protocol, ping.Source.Port, ping.Destination.Port = flow.ICMP, uint16(i+1), uint16(i+1)
		l.Event(ping)
	}
	if seen := l.Seen(); len(seen) != 1 || seen[0].Flows != 3 || seen[0].Destination.Port != 0 {
		t.Errorf("%+v", seen)
	}
}

func TestNamesOfAddresses(t *testing.T) {
	l := traffic.New()
	ip := netip.MustParseAddr("203.0.113.9")
	for _, name := range []string{"api.example.com.", "www.example.com.", "api.example.com."} {
		l.Event(&flow.Event{Type: flow.DNSEvent, Answer: &flow.Answer{Question: name, IPs: []netip.Addr{ip}}})
	}
	if got := l.Names(ip); !slices.Equal(got, []string{"api.example.com", "www.example.com"}) {
		t.Errorf("got %q", got)
	}
	for i := range 100 {
		l.Event(&flow.Event{Type: flow.DNSEvent, Answer: &flow.Answer{Question: fmt.Sprint("site-", i), IPs: []netip.Addr{ip}}})
	}
	if got := l.Names(ip); len(got) > 8 {
		t.Errorf("%d names of one address are kept", len(got))
	}
}

// Two pods that had one address one after the other are each judged as
// themselves, and so is a pod whose address somebody else has now.
func TestPodsThatAreGoneAreJudgedAsTheyWere(t *testing.T) {
	l := traffic.New()
	db := pod("db", "db", "10.0.0.9")
	for _, app := range []string{"good", "bad"} {
		l.Know(world(pod(app+"-run", app, "10.0.0.1"), db))
		e := closed(end(app+"-run", "10.0.0.1"), end("db", "10.0.0.9"), 0)
		l.Event(e)
	}
	l.Know(world(pod("other", "other", "10.0.0.1"), db))
	l.Event(closed(end("other", "10.0.0.1"), end("db", "10.0.0.9"), 0))
	o, err := policy.Parse([]byte(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: good}}}]}]}
`), "p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set := l.Judge().With(o.Policies)
	want := map[string]flow.Verdict{"good-run": flow.Allow, "bad-run": flow.Deny, "other": flow.Deny}
	for _, s := range l.Seen() {
		if got := set.Ask(s).Verdict; got != want[s.Source.Pod] {
			t.Errorf("%s: %s, want %s", s.Source.Pod, got, want[s.Source.Pod])
		}
		delete(want, s.Source.Pod)
	}
	if len(want) > 0 {
		t.Errorf("not seen: %v", want)
	}
}

func TestRoomIsBounded(t *testing.T) {
	l := traffic.New()
	from := netip.MustParseAddr("10.0.0.0")
	for range traffic.MaxSeen + 3 {
		from = from.Next()
		l.Event(&flow.Event{Type: flow.CloseEvent, Direction: flow.Ingress, Source: &flow.Peer{IP: from}, Destination: &flow.Peer{IP: from, Port: 1}})
	}
	if l.LeftOut() != 3 || len(l.Seen()) != traffic.MaxSeen {
		t.Errorf("left out %d of %d", l.LeftOut(), len(l.Seen()))
	}
}
