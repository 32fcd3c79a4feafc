// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// TestATitleIsWholeWhenItsColumnIsSortedBy: the arrow takes no letter of it.
func TestATitleIsWholeWhenItsColumnIsSortedBy(t *testing.T) {
	for _, name := range []string{"top", "flows", "connections", "drops", "policies", "nodes", "timeline"} {
		for _, width := range []int{80, 120, 200, 400} {
			d := drive(t, fake.New(), width, 30, on(name))
			for _, s := range d.m.page().Sections() {
				if s.Title != "Sort" {
					continue
				}
				for _, b := range s.Bindings {
					d.keys(b.Keys()...)
					d.tick()
					head := strings.ToLower(strings.Join(strings.Split(d.text(), "\n")[1:4], " "))
					title := strings.TrimPrefix(b.Help().Desc, "sort by ")
					if !strings.Contains(head, title+"↓") && !strings.Contains(head, title+"↑") {
						t.Errorf("%s, %d wide: sorted by %q the title reads\n%s", name, width, title, head)
					}
				}
			}
		}
	}
}

// TestTheLeaseDoesNotJitter: the countdown has as many cells with 10s as with 9s.
func TestTheLeaseDoesNotJitter(t *testing.T) {
	w := fake.New()
	at := func(left time.Duration) int {
		w.SetHealth(func(h *store.Health) { h.Enforcing, h.EnforceLeft, h.LeaseLeft = true, 5*time.Minute, left })
		return strings.Index(drive(t, w, 120, 40, on("top")).text(), "ENFORCING")
	}
	if a, b := at(10*time.Second), at(9*time.Second); a != b || a < 0 {
		t.Errorf("at 10s it stands at %d, at 9s at %d", a, b)
	}
}

// TestTheQuestionShowsWhatItWouldCut, also in the smallest window with a list.
func TestTheQuestionShowsWhatItWouldCut(t *testing.T) {
	d := drive(t, fake.New(), 40, 10, on("policies"))
	d.keys("down", "e")
	d.shows("would be cut", "✗ ", "enforce?")
	d.fits(40, 10)
}
