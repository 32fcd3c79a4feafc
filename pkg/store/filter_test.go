// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// TestAFieldThatIsNotIsNamed, with the one that was meant, and how to search
// for the text all the same.
func TestAFieldThatIsNotIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"prot=5432":     `there is no field "prot", did you mean proto=? To search for the text write prot[=]5432`,
		"verdikt!=deny": `did you mean verdict=?`,
		"zzzzzz=1":      `fields are agreement, candidate, culprit, direction, from`,
		"to=db foo=bar": `there is no field "foo"`,
	} {
		if _, err := ParseFilter(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"a=b", "/cart?id=3", "X=1", "prot=", "=5432"} {
		if _, err := ParseFilter(text, nil); err != nil {
			t.Errorf("%q is a text to search for: %v", text, err)
		}
	}
}

func TestFilters(t *testing.T) {
	e := &flow.Event{
		Type: flow.FlowEvent, Node: "n1", Direction: flow.Ingress, Protocol: flow.TCP, Verdict: flow.Allow, Candidate: flow.Deny,
		Source:      &flow.Peer{Namespace: "shop", Pod: "web-1", Workload: "deploy/web", IP: netip.MustParseAddr("10.0.0.1"), Port: 4000},
		Destination: &flow.Peer{Namespace: "shop", Pod: "db-0", Workload: "sts/db", IP: netip.MustParseAddr("10.0.0.2"), Port: 5432},
		Rule:        &flow.Rule{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "db-allow"},
	}
	lookup := func(_, pod string) map[string]string {
		return map[string]map[string]string{"web-1": {"app": "web"}, "db-0": {"app": "db"}}[pod]
	}
	for text, want := range map[string]bool{
		"": true, "/": true, "db": true, "/DB-0": true, "!db": false, "/!nothing": true, "^shop/web": true,
		"to=db": true, "to=db-0": true, "to=sts/db": true, "to=shop/db": true, "to=web": false, "from=web": true, "from=10.0.0.*": true,
		"to=db port=5432": true, "to=db port=80": false, "port=80,5432": true, "verdict=would-deny": true, "verdict=deny": false, "verdict!=deny": true,
		"to=db verdict=would-deny web": true, "to=db nothing": false, "rule=db-allow": true, "rule=shop/db-*": true, "protocol=tcp": true,
		"-l app=db": true, "/-l app in (x,web)": true, "-l app=x": false, "ns=shop": true, "node=n2": false, "direction=ingress": true, "unknown[=]3": false, "/cart?id=3": false,
		"type=flow": true,
	} {
		f, err := ParseFilter(text, lookup)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := f == nil || f(e); got != want {
			t.Errorf("%q matches: %v, want %v", text, got, want)
		}
	}
	for _, bad := range []string{"(", "port=http", "unknown=3", "form=web", "verdict=maybe", "-l a=b=c", "-l"} {
		if _, err := ParseFilter(bad, nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestFilterNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if f, err := ParseFilter(rapid.String().Draw(t, "text"), nil); err == nil && f != nil {
			f(&flow.Event{})
			f(&flow.Event{Source: &flow.Peer{}, Destination: &flow.Peer{}})
		}
	})
}

func TestTopKIsTheSortedBeginning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.IntRange(0, 50)).Draw(t, "list")
		k := rapid.IntRange(0, 60).Draw(t, "k")
		want := slices.Sorted(slices.Values(list))
		got := topK(slices.Clone(list), k, func(a, b int) int { return a - b })
		if !slices.Equal(got, want[:min(k, len(want))]) {
			t.Fatalf("topK(%v, %d) = %v", list, k, got)
		}
	})
}

func TestFilterByWhatWasObserved(t *testing.T) {
	e := &flow.Event{
		Observed: flow.NotArrived, Agreement: flow.AllowedButDropped, Culprit: "reverse path filter",
		Owner: &flow.Owner{PID: 77, Command: "curl"}, Request: &flow.Request{Host: "shop.example", Path: "/cart"},
	}
	for text, want := range map[string]bool{
		"observed=not-arrived": true, "observed=answered": false, "agreement=disagrees": true, "agreement=agrees": false,
		"culprit=reverse-path-filter": true, "culprit=reverse*": true, "process=curl": true, "process=77": true, "host=shop.example": true,
		"path=/cart": true, "path!=/cart": false, "reverse path": true, "shop.example": true,
	} {
		match, err := ParseFilter(text, nil)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if match(e) != want {
			t.Errorf("%q: %v, want %v", text, !want, want)
		}
	}
	got, err := FilterTerms("src=web,cart port!=53 shop proto=tcp")
	if err != nil || len(got) != 3 || got[0].Field != "from" || len(got[0].Values) != 2 || !got[1].Negated || got[2].String() != "protocol=tcp" {
		t.Errorf("terms %+v, %v", got, err)
	}
}
