// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/kube"
)

func TestCatchEnds(t *testing.T) {
	pod := &identity.Pod{Namespace: "shop", Name: "db-0", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.7")}}
	w := &identity.World{Pods: map[string]*identity.Pod{"shop/db-0": pod}}
	here := &flow.Peer{Namespace: "shop", Pod: "db-0", IP: pod.IPs[0]}
	service := &flow.Peer{Service: "shop/db", IP: netip.MustParseAddr("10.96.0.9")}
	for text, want := range map[string][2]bool{ // here, service
		"10.0.0.0/8": {true, true}, "10.0.0.7": {true, false}, "::/0": {false, false},
		"pod/db-0": {true, false}, "shop/db-0": {true, false}, "svc/db": {true, true}, "shop/svc/db": {true, true}, "other/svc/db": {false, false},
	} {
		e, err := parseEnd(text, "shop")
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if e.target != nil {
			target := e.target
			e.match = func(p *identity.Pod) bool {
				return p.Namespace == target.Namespace && (target.Kind == "svc" && target.Name == "db" || target.Name == p.Name)
			}
		}
		if got := [2]bool{e.has(here, w), e.has(service, w)}; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A service is left at its own port, and its pods are reached at theirs.
func TestCatchBehindAService(t *testing.T) {
	back := netip.MustParseAddr("10.0.0.7")
	w := &identity.World{Services: map[string]*identity.Service{"shop/db": {
		Namespace: "shop", Name: "db", Ports: []identity.ServicePort{{Protocol: flow.TCP, Port: 5432, Backends: []identity.Backend{{IP: back, Port: 15432, Ready: true}}}},
	}}}
	c := &catchCommand{port: 5432, to: catchEnd{target: &kube.Target{Kind: "svc", Namespace: "shop", Name: "db"}}}
	for port, want := range map[uint16]bool{15432: true, 80: false} {
		if got := c.behind(&flow.Event{Protocol: flow.TCP, Destination: &flow.Peer{IP: back, Port: port}}, w); got != want {
			t.Errorf("port %d: %v", port, got)
		}
	}
}

func TestStory(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	web := &flow.Peer{Namespace: "shop", Pod: "web", IP: netip.MustParseAddr("10.0.0.1"), Port: 40000}
	db := &flow.Peer{Namespace: "shop", Pod: "db", IP: netip.MustParseAddr("10.0.0.2"), Port: 5432}
	rule := &flow.NftRule{Family: "inet", Table: "engine", Chain: "pods", Handle: 7, Verdict: "drop", Text: "tcp dport 5432 drop"}
	base := flow.Event{Protocol: flow.TCP, Source: web, Destination: db}
	event := func(after time.Duration, change func(e *flow.Event)) flow.Event {
		e := base
		e.Time = at.Add(after)
		change(&e)
		return e
	}
	got := storyText([]flow.Event{
		event(0, func(e *flow.Event) {
			e.Type, e.Node, e.Direction, e.Verdict = flow.FlowEvent, "n1", flow.Egress, flow.Allow
		}),
		event(1, func(e *flow.Event) {
			e.Type, e.Node, e.Culprit, e.Note, e.Reason, e.Location = flow.DropEvent, "n2", "netfilter rule", "It dropped it.", "NETFILTER_DROP", "nft_do_chain+1"
		}),
		event(2, func(e *flow.Event) {
			e.Type, e.Node, e.NftRule, e.Note = flow.HopEvent, "n2", rule, "forward, rule 7: drop"
		}),
		event(3, func(e *flow.Event) {
			jump := *rule
			jump.Verdict = "jump pods"
			e.Type, e.Node, e.NftRule = flow.HopEvent, "n1", &jump
		}),
		event(4, func(e *flow.Event) {
			e.Type, e.Node, e.Direction, e.Observed, e.Packets, e.Bytes = flow.OutcomeEvent, "n1", flow.Egress, flow.Dropped, 2, 120
		}),
	})
	want := []string{
		"shop/web:40000 -> shop/db:5432\n", "leaves the pod (n1)", "allowed: no policy isolates the pod\n", "node n2", "forward, rule 7: drop\n", "tcp dport 5432 drop\n",
		"DROPPED by netfilter rule: It dropped it.\n", "reason NETFILTER_DROP at nft_do_chain+1\n", "and 1 more rules", "seen at the source", "dropped, 2 packets, 120 B\n",
	}
	rest := got
	for _, w := range want {
		i := strings.Index(rest, w)
		if i < 0 {
			t.Fatalf("no %q in its place in\n%s", w, got)
		}
		rest = rest[i+len(w):]
	}
}
