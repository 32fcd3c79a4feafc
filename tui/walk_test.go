// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// foot is the footer's text.
func (d *driver) foot() string {
	lines := strings.Split(d.text(), "\n")
	return strings.Join(lines[len(lines)-d.m.footer():], " ")
}

// walk presses a key that the footer names by these words.
func (d *driver) walk(name string, press ...string) *driver {
	d.tb.Helper()
	if foot := " " + d.foot() + " "; !strings.Contains(foot, " "+name+" ") {
		d.tb.Fatalf("the footer doesn't show %q:\n%s", name, d.text())
	}
	return d.keys(press...)
}

// TestTheFooterLeadsTheNewcomer from the first screen to what the candidate
// would change, why, to the policy, into enforcement and out of it: by keys that
// the footer shows alone, whatever the size.
func TestTheFooterLeadsTheNewcomer(t *testing.T) {
	for _, size := range [][2]int{{40, 10}, {60, 16}, {80, 24}, {120, 40}, {200, 60}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			d := drive(t, fake.New(), size[0], size[1], on("top"))
			d.walk("c", "c")
			d.walk("4") // who knows enough can go on from here
			d.walk("↑↓", "down")
			d.walk("enter", "enter")
			if got := d.m.page().Name(); got != "why" {
				t.Fatalf("enter on a connection opened %s", got)
			}
			if s, ok := d.m.page().(page.Scroller); ok && s.Scrolls() {
				d.walk("↑↓", "down")
			}
			d.walk("4", "4")
			d.walk("↑↓", "down", "up")
			d.walk("t/e", "e")
			d.walk("esc")
			d.typed("enforce").walk("enter", "enter")
			d.tick()
			if d.m.footer() > 1 {
				d.walk("1-7") // also beside the message
			}
			if said := strings.Join(strings.Fields(d.text()), " "); !strings.Contains(said, "2 shows what it cuts") {
				t.Errorf("it isn't said how to go on:\n%s", d.text())
			}
			d.rest()
			d.walk("r")
			d.walk("2", "2")
			if got := d.m.page().Name(); got != "flows" {
				t.Fatalf("2 opened %s", got)
			}
			d.walk("r", "r")
			d.tick()
			d.hides("ENF")
		})
	}
}

// TestHelpIsAlwaysInTheFooter, and from 60 cells on how to leave.
func TestHelpIsAlwaysInTheFooter(t *testing.T) {
	for _, v := range views {
		if v.name == "enforce" { // it takes every key
			continue
		}
		for _, size := range [][2]int{{20, 5}, {40, 10}, {60, 19}, {80, 20}, {120, 40}} {
			w := fake.New()
			if v.world != nil {
				w = v.world()
			}
			d := drive(t, w, size[0], size[1], on(v.page))
			d.keys(v.keys...)
			d.rest()
			d.fits(size[0], size[1])
			d.walk("?")
			if size[0] >= narrowKeys {
				d.walk("q")
			}
		}
	}
}
