// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

func TestRecordingIsOneKeyOnAndOff(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 120, 40, func(o *Options) { o.ExportDir = "/tmp/x" })
	d.hides("● rec")
	d.keys("s")
	d.shows("Recording to /tmp/x/ebpol-20261122-140211.ebpol", "● rec")
	d.rest()
	d.keys("s")
	d.shows("Recorded in /tmp/x/ebpol-20261122-140211.ebpol", "replay")
	d.hides("● rec")
	if got := w.Done(); len(got) != 2 || !strings.HasPrefix(got[1], "stop ") {
		t.Errorf("calls %q", got)
	}
}

// TestAFilterIsPushedDown: once accepted, for the page on the screen alone, and
// taken back with it.
func TestAFilterIsPushedDown(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 120, 40, on("flows"))
	d.keys("/").typed("port=5432")
	if len(w.Narrowed) != 0 {
		t.Errorf("asked while typing: %q", w.Narrowed)
	}
	d.keys("enter")
	d.shows("probes send port 5432 only", "/port=5432")
	d.keys("4")
	d.hides("probes send")
	d.keys("2")
	d.shows("probes send port 5432 only")
	d.keys("esc")
	d.hides("probes send", "/port=5432")
	d.keys("ctrl+z")
	d.shows("probes send trouble only")
	if want := []string{"port=5432", "", "port=5432", "", ""}; !slices.Equal(w.Narrowed, want) {
		t.Errorf("asked %q, want %q", w.Narrowed, want)
	}
}

func TestScrubbingGoesThroughThePast(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 120, 40, on("timeline"))
	d.keys("left", "left")
	d.shows("as of 14:01:51", "world of 14:01:51")
	d.keys("1")
	d.shows("as of 14:01:51")
	d.keys("6", "down", "p")
	d.shows("as of 14:01:01")
	d.keys("n")
	d.hides("as of 1")
	d.keys("left", "right", "right")
	d.hides("as of 1") // past the end is now
	if got, want := w.Done(), []string{"seek 14:02:01", "seek 14:01:51", "seek 14:01:01", "seek 00:00:00", "seek 14:02:01", "seek 00:00:00", "seek 00:00:00"}; !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
}

// TestWithoutARecordingTheCursorGoesBack: the events that are kept are what
// there is of the past.
func TestWithoutARecordingTheCursorGoesBack(t *testing.T) {
	w := fake.New()
	w.Cannot["past"] = "nothing is recorded"
	d := drive(t, w, 120, 40, on("timeline"))
	d.keys("left", "left")
	c, _ := d.m.roots[5].(interface{ Position() (int, int) }).Position()
	if c != 2 {
		t.Errorf("the cursor is at %d after two strides", c)
	}
	d.keys("right")
	if c, _ := d.m.roots[5].(interface{ Position() (int, int) }).Position(); c != 1 {
		t.Errorf("the cursor is at %d after one back", c)
	}
	d.keys("p")
	d.shows("s begins one")
}

// TestWhatWouldBeCutIsListedOnce: both ends of a connection know it.
func TestWhatWouldBeCutIsListedOnce(t *testing.T) {
	w := fake.New()
	s := w.Snapshot(store.Query{Flows: true, Limit: 100})
	for _, r := range s.Flows {
		if r.Event.Source.Pod == "report-29384-x8v2l" {
			c := *r
			c.ID.ID, c.Event.Direction = 777, 3-r.Event.Direction
			w.Add(&c)
			e := *r
			src := *r.Event.Source
			src.Port++
			e.ID.ID, e.Event.Source = 778, &src
			w.Add(&e)
			break
		}
	}
	d := drive(t, w, 120, 40, on("policies"))
	d.keys("down", "e")
	d.shows("These 3 live connections would be cut", "shop/cronjob/report → shop/sts/db  tcp/5432  2 connections")
	if n := strings.Count(d.text(), "cronjob/report →"); n != 1 {
		t.Errorf("report is listed %d times:\n%s", n, d.text())
	}
}

func TestPoliciesShowMarksAndWeights(t *testing.T) {
	d := drive(t, fake.New(), 140, 40, on("policies"))
	d.shows("! 1 warning", "clean", "WEIGHT", "0.0034", "Warning: rule 1 names the port")
	d.keys("down")
	d.shows("no-such-peer (line 14)")
	d.keys("enter")
	d.shows("no-such-peer", "NEARLY", "2,101     33 │", "hits missed")
}
