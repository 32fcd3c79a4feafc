// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const onlyWeb = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
`

func TestTheNearestMissAndWhatWouldHelp(t *testing.T) {
	ip := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	st := store.New(store.Options{})
	st.Apply(&wire.Frame{Body: &wire.Frame_World{World: &wire.World{
		Namespaces: []*wire.Namespace{{Name: "shop"}},
		Pods: []*wire.Pod{
			{Namespace: "shop", Name: "db-0", Uid: "1", Ips: [][]byte{ip("10.0.0.1")}, Labels: map[string]string{"app": "db"}},
			{Namespace: "shop", Name: "report", Uid: "2", Ips: [][]byte{ip("10.0.0.2")}, Labels: map[string]string{"app": "report"}},
		},
	}}})
	st.Apply(&wire.Frame{Body: &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{HasCandidate: true, Policies: []*wire.PolicyState{
		{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Origin: "db.yaml", Candidate: true, Yaml: onlyWeb},
	}}}})
	row := func(change func(*flow.Event)) *store.FlowRow {
		e := flow.Event{
			Direction: flow.Ingress, Protocol: flow.TCP, Verdict: flow.Allow, Candidate: flow.Deny,
			Source:      &flow.Peer{Namespace: "shop", Pod: "report", IP: netip.MustParseAddr("10.0.0.2"), Port: 40000},
			Destination: &flow.Peer{Namespace: "shop", Pod: "db-0", IP: netip.MustParseAddr("10.0.0.1"), Port: 5432},
		}
		change(&e)
		return &store.FlowRow{Event: e}
	}
	a := &actions{store: st}
	got, err := a.Explain(t.Context(), row(func(*flow.Event) {}))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Misses) != 1 || got.Misses[0].Rule != "ingress rule 0 of NetworkPolicy shop/db" || !strings.Contains(got.Misses[0].Why, "app=web") || !strings.Contains(got.Misses[0].Why, "app=report") {
		t.Errorf("misses %+v", got.Misses)
	}
	if !strings.Contains(got.Fix, "app: report") || !strings.HasPrefix(got.FixFor, "NetworkPolicy shop/db") {
		t.Errorf("fix for %q:\n%s", got.FixFor, got.Fix)
	}
	for name, r := range map[string]*store.FlowRow{
		"allowed":                row(func(e *flow.Event) { e.Candidate = flow.Allow }),
		"denied by the current":  row(func(e *flow.Event) { e.Verdict = flow.Deny }), // which holds no policy here
		"an end that isn't said": row(func(e *flow.Event) { e.Source = nil }),
	} {
		if got, err := a.Explain(t.Context(), r); err != nil || len(got.Misses) != 0 || got.Fix != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := (&actions{store: store.New(store.Options{})}).Explain(t.Context(), row(func(*flow.Event) {})); err == nil {
		t.Error("without a world there is nothing to say")
	}
}
