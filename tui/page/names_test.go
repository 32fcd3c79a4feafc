// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// misser knows the same miss of every flow.
type misser struct{ Actions }

func (misser) Explain(context.Context, *store.FlowRow) (Explanation, error) {
	return Explanation{Misses: []Miss{{Rule: "ingress rule 0 of NetworkPolicy shop/db", Why: "wants app=web"}}}, nil
}

// TestNearMissesKeepTheirPlace, in whatever order the connections come.
func TestNearMissesKeepTheirPlace(t *testing.T) {
	id := PolicyID{flow.NetworkPolicy, "shop", "db"}
	row := func(source string) *store.FlowRow {
		return &store.FlowRow{Event: flow.Event{Protocol: flow.TCP, Source: &flow.Peer{Name: source}, Destination: &flow.Peer{Name: "db", Port: 5432}}}
	}
	rows := []*store.FlowRow{row("f"), row("b"), row("e"), row("c"), row("d")}
	told := func(list []nearMiss) (out []string) {
		for _, n := range list {
			out = append(out, n.flow)
		}
		return out
	}
	first := nearest(misser{}, id, rows, nil)
	want := []string{"b → db tcp/5432", "c → db tcp/5432", "d → db tcp/5432", "e → db tcp/5432"}
	if got := told(first); !slices.Equal(got, want) {
		t.Fatalf("%v", got)
	}
	slices.Reverse(rows)
	rows = append([]*store.FlowRow{row("a")}, rows...)
	if got := told(nearest(misser{}, id, rows, first)); !slices.Equal(got, want) {
		t.Errorf("others first: %v", got)
	}
	rows = slices.DeleteFunc(rows, func(r *store.FlowRow) bool { return r.Event.Source.Name == "c" })
	if got, want := fmt.Sprint(told(nearest(misser{}, id, rows, first))), fmt.Sprint([]string{want[0], want[2], want[3], "a → db tcp/5432"}); got != want {
		t.Errorf("one is over: %v", got)
	}
}

// TestPodsAreToldApart where the window has the usual size: of names that begin
// alike, the end is what matters.
func TestPodsAreToldApart(t *testing.T) {
	p := NewTop(env(nil))
	p.Group("pod")
	if got := p.cell(&store.WorkloadRow{Namespace: "shop", Name: "pod/web-6c8d5-4tzlp"}, "name").Text; got != "shop/web-6c8d5-4tzlp" {
		t.Errorf("a pod is called %q", got)
	}
}
