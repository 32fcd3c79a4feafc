// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// TestAPromptCallsBackWhatWasTyped, and arrows in an empty one do no harm.
func TestAPromptCallsBackWhatWasTyped(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("flows"))
	d.keys(":", "up", "down", "ctrl+p", "ctrl+n", "ctrl+p")
	d.shows("tab completes")
	d.typed("nodes").keys("enter", ":").typed("flows").keys("enter", ":").typed("dro").keys("up")
	d.shows(":flows")
	d.keys("up", "up")
	d.shows(":nodes")
	d.keys("down", "down")
	d.shows(":drops") // what was being typed, with its completion
	d.keys("esc", "/").typed("db").keys("enter", "esc", "/", "up")
	d.shows("/db")
	d.hides("intruder") // it filters as if it had been typed
	d.keys("enter")
	if f := d.m.page().(interface{ Filter() string }).Filter(); f != "db" {
		t.Errorf("filter %q", f)
	}
}

func TestACommandThatLacksItsNameShowsAll(t *testing.T) {
	for c, want := range map[string]string{
		"pod": "top by pod", "pods": "top by pod", "ns": "top by namespace", "deploy": "top by workload", "sts": "top by workload",
		"node": "5 nodes", "no": "5 nodes", "netpol": "4 policies", "events": "6 timeline",
	} {
		d := drive(t, fake.New(), 120, 40, on("drops"))
		d.keys(":").typed(c).keys("enter")
		d.shows(want)
		if got := d.m.page().Name(); got == "drops" {
			t.Errorf(":%s went nowhere", c)
		}
	}
	d := drive(t, fake.New(), 120, 40, on("drops"))
	d.keys(":").typed("svc").keys("enter")
	d.shows("Name one, as in :svc ")
}

func TestTheMouseIsGivenAwayInWords(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, nil)
	d.keys(":").typed("mouse").keys("enter")
	d.shows("The mouse is the terminal's")
	d.keys(":").typed("mouse").keys("enter")
	d.shows("The mouse is the screen's")
}

// TestAFrozenPageIsFoundAsItWas by whoever comes back to it.
func TestAFrozenPageIsFoundAsItWas(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 140, 40, on("flows"))
	d.keys("space", "down")
	before := d.text()
	w.Step(5 * time.Second)
	d.keys("enter")
	d.tick()
	d.hides("frozen at 14:02:11") // what was opened later is of later
	d.keys("esc")
	d.tick()
	if after := d.text(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	d.keys("space")
	d.tick()
	d.hides("frozen")
}

// TestAllRowsAreExported, also those that aren't loaded, and the page stays
// where it was.
func TestAllRowsAreExported(t *testing.T) {
	for n, says := range map[int]string{3000: "Wrote 3000 lines", 12_000: "Wrote 10,000 of 12,000 rows"} {
		dir := t.TempDir()
		d := drive(t, fake.Many(n), 120, 40, func(o *Options) { o.StartPage, o.ExportDir = "connections", dir })
		d.keys("pgdown", "pgdown")
		before := d.text()
		d.keys("x")
		d.shows(says)
		if after := d.text(); strings.Split(before, "\n")[5] != strings.Split(after, "\n")[5] {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%q %v", files, err)
		}
		b, err := os.ReadFile(files[0])
		if want := min(n, 10_000); err != nil || bytes.Count(b, []byte("\n")) != want {
			t.Errorf("%d lines of %d, %v", bytes.Count(b, []byte("\n")), want, err)
		}
	}
}

// TestWhatIsSortedByIsNamed where its column isn't shown, and < and > stay
// with what is.
func TestWhatIsSortedByIsNamed(t *testing.T) {
	d := drive(t, fake.New(), 80, 24, on("flows"))
	d.hides("by since")
	d.keys("A")
	d.shows("by since↑")
	d.keys("I")
	d.shows("by since↓")
	d.keys("V")
	d.hides("by since")
	for range 6 {
		d.keys(">")
		if head := strings.Split(d.text(), "\n")[3]; !strings.ContainsAny(head, "↓↑") {
			t.Errorf("no arrow in %q", head)
		}
	}
}

// TestTheMatrixOpensThePairUnderTheCursor, and nothing else of its source: what
// went to a service belongs to its backend.
func TestTheMatrixOpensThePairUnderTheCursor(t *testing.T) {
	w := fake.New()
	web := &flow.Peer{Namespace: "shop", Pod: "web-7d9f8b6c5-k2x4p", Workload: "deploy/web", Port: 40000}
	orders := &flow.Peer{Namespace: "shop", Pod: "orders-0", Workload: "deploy/orders", Port: 8080}
	w.Add(&store.FlowRow{ID: store.FlowID{ID: 99}, Event: flow.Event{
		Verdict: flow.Allow, Direction: flow.Egress, Protocol: flow.TCP, Source: web,
		Destination: &flow.Peer{Namespace: "shop", Service: "shopfront", Port: 80}, Backend: orders,
	}})
	d := drive(t, w, 160, 40, on("matrix"))
	d.keys("home")
	seen := map[string]bool{}
	for range 20 { // across the row of web
		for !strings.Contains(d.text(), "  shop/deploy/web → ") {
			d.keys("down")
		}
		none := strings.Contains(d.text(), "no connection seen")
		d.keys("enter")
		title := strings.Split(d.text(), "\n")[1]
		if none {
			d.shows("No connection seen yet")
		}
		if to := strings.Contains(title, "→ shop/deploy/orders") || strings.Contains(title, "→ svc shopfront"); strings.Contains(d.text(), "svc shopfront") != to {
			t.Errorf("%q:\n%s", title, d.text())
		}
		seen[strings.TrimSpace(title)] = true
		d.keys("esc", "right")
	}
	if len(seen) < 5 {
		t.Errorf("saw %v", seen)
	}
}

func TestNobodyOutsideIsSaidSo(t *testing.T) {
	w := fake.Empty()
	w.SetHealth(func(h *store.Health) { h.NodesLive = h.NodesTotal })
	d := drive(t, w, 120, 40, nil)
	d.keys(":").typed("group external").keys("enter")
	d.shows("Nobody outside the cluster seen yet")
}
