// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// state is all that a key may change: what is drawn, done, copied, asked.
func (d *driver) state() string {
	q, _ := d.m.page().Ask()
	return fmt.Sprint(d.screen(), d.world.Done(), len(d.clip), d.quit, d.m.page().Name(), q.Order, q.Offset, q.Changed, q.Benign)
}

// code is a key as a terminal would send it, by its name in the key map.
func code(name string) tea.KeyPressMsg {
	switch name {
	case "pgdown", "pgup", "home", "end":
		return special[name]
	case "f1":
		return tea.KeyPressMsg{Code: tea.KeyF1}
	}
	if rest, ok := strings.CutPrefix(name, "ctrl+"); ok {
		return tea.KeyPressMsg{Code: []rune(rest)[0], Mod: tea.ModCtrl}
	}
	return press(name)
}

// TestEveryKeyThatIsShownWorks presses each key that the footer or the help of
// a page names, from a row in the middle, and wants something to come of it.
func TestEveryKeyThatIsShownWorks(t *testing.T) {
	t.Setenv("VISUAL", "no-such-editor") // which is said
	for _, v := range views {
		if v.name == "help" || v.name == "enforce" || v.name == "frozen" || v.name == "empty" {
			continue // they take their keys themselves, or have no rows
		}
		world := func() *fake.World {
			if v.world != nil {
				return v.world()
			}
			return fake.New()
		}
		open := func() *driver {
			d := drive(t, world(), 100, 12, func(o *Options) { o.StartPage, o.ExportDir = v.page, t.TempDir() })
			d.keys(v.keys...)
			if c, ok := d.m.page().(page.Counter); ok {
				if at, total := c.Position(); at == 0 && total > 1 {
					d.keys("down")
				}
			} else {
				d.keys("down", "down")
			}
			d.rest() // messages go
			return d
		}
		first := open()
		shown := map[string]string{} // key to what it is said to do
		add := func(b key.Binding) {
			for _, k := range b.Keys() {
				shown[k] = b.Help().Key + " " + b.Help().Desc
			}
		}
		for _, b := range first.m.bindings() {
			add(b)
		}
		first.keys("?")
		help := first.m.page().(*page.Help) //nolint:forcetypeassert // what ? opens
		for _, s := range help.Shown() {
			for _, b := range s.Bindings {
				add(b)
			}
		}
		moves, back := first.m.env.Keys.Everywhere()[0].Bindings, first.m.env.Keys.Back
		for k, what := range shown {
			few := func(b key.Binding) bool { return slices.Contains(b.Keys(), k) }
			if at, ok := open().m.page().(page.Counter); ok && slices.ContainsFunc(moves, few) {
				if _, total := at.Position(); total < 3 {
					continue // there is no middle to move from
				}
			}
			if few(back) && len(open().m.stack) == 1 {
				continue // there is nothing to go back from
			}
			t.Run(v.name+"/"+k, func(t *testing.T) {
				d := open()
				d.tb = t
				before := d.state()
				d.send(code(k))
				if d.state() == before {
					t.Errorf("%s: nothing came of it:\n%s", what, d.text())
				}
			})
		}
	}
}

// TestALetterSortsByItsColumn: no page has a column whose letter means
// something else there.
func TestALetterSortsByItsColumn(t *testing.T) {
	for _, name := range []string{"top", "flows", "connections", "drops", "policies", "nodes", "timeline"} {
		d := drive(t, fake.New(), 200, 40, on(name))
		for _, s := range d.m.page().Sections() {
			if s.Title != "Sort" {
				continue
			}
			if len(s.Bindings) == 0 {
				t.Errorf("%s: nothing to sort by", name)
			}
			for i, b := range s.Bindings {
				column := d.m.page().(sorter).Columns()[i] //nolint:forcetypeassert // it has a section of sorts
				other := "time"
				if all := d.m.page().(sorter).Columns(); len(all) > 1 { //nolint:forcetypeassert // as above
					other = all[(i+1)%len(all)]
				}
				d.m.page().(sorter).Sort(other) //nolint:forcetypeassert // as above
				before, _ := d.m.page().Ask()
				d.keys(b.Keys()...)
				after, _ := d.m.page().Ask()
				if after.Order.By != column || after.Order == before.Order {
					t.Errorf("%s: %s (%s) sorts by %q, want %q", name, b.Help().Key, b.Help().Desc, after.Order.By, column)
				}
			}
		}
	}
}

// TestAClickOnATitleSorts, the second one the other way round.
func TestAClickOnATitleSorts(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("flows"))
	line := strings.Split(d.text(), "\n")[3]
	x := strings.Index(line, "DESTINATION")
	click := func(x, y int) { d.send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft}) }
	click(x, 3)
	d.shows("DESTINATION↑") // from a to z
	click(x, 3)
	d.shows("DESTINATION↓")
}

// TestASecondClickOpens what the first one chose.
func TestASecondClickOpens(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("connections"))
	click := func(x, y int) { d.send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft}) }
	click(30, 4) // the first row, where the cursor rests from the start
	if got := d.m.page().Name(); got != "connections" {
		t.Fatalf("one click opened %s", got)
	}
	click(30, 6)
	if got := d.m.page().Name(); got != "connections" {
		t.Fatalf("a click on another row opened %s", got)
	}
	click(30, 6)
	if got := d.m.page().Name(); got != "why" {
		t.Fatalf("the second click left %s open", got)
	}
	click(3, 1) // the crumb
	if got := d.m.page().Name(); got != "flows" {
		t.Fatalf("a click on the first crumb went to %s", got)
	}
	d = drive(t, fake.New(), 120, 40, on("matrix"))
	click = func(x, y int) { d.send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft}) }
	before := d.text()
	click(60, 3) // the numbers of the columns
	click(60, 38)
	if got := d.text(); got != before {
		t.Errorf("a click beside the table moved the cursor:\n%s", got)
	}
	click(51, 5)
	click(51, 5)
	if got := d.m.page().Name(); got != "connections" {
		t.Errorf("the second click on a cell left %s open", got)
	}
}

// TestAClickHitsTheTabThatStandsThere, also when a filter has pushed some out,
// and nothing between tabs.
func TestAClickHitsTheTabThatStandsThere(t *testing.T) {
	for _, width := range []int{60, 80, 90, 120} {
		for want := 1; want < 7; want++ {
			d := drive(t, fake.New(), width, 30, func(o *Options) { o.StartPage, o.Filter = "flows", "port=5432" })
			name := d.m.roots[want].Name()
			x := strings.Index(strings.Split(d.text(), "\n")[1], fmt.Sprintf(" %d %s", want+1, name))
			if x < 0 {
				continue
			}
			d.send(tea.MouseClickMsg{X: x + 2, Y: 1, Button: tea.MouseLeft})
			if got := d.m.page().Name(); got != name {
				t.Errorf("%d wide: a click on %s opened %s", width, name, got)
			}
		}
	}
	d := drive(t, fake.New(), 120, 30, nil)
	x := strings.Index(strings.Split(d.text(), "\n")[1], " 2 flows") - 1
	d.send(tea.MouseClickMsg{X: x, Y: 1, Button: tea.MouseLeft})
	if got := d.m.page().Name(); got != "top" {
		t.Errorf("a click between tabs opened %s", got)
	}
}

// TestTheFooterSaysWhatAModeKeyDoesNow: one entry for each thing that can be
// done to the policy under the cursor, none that can't.
// TestFromAFlowToItsPolicy: where policies are, the cursor is on the one that
// would change the flow that one comes from.
func TestFromAFlowToItsPolicy(t *testing.T) {
	for name, keys := range map[string][]string{"changes": {"c", "down"}, "why": {"c", "down", "enter"}} {
		t.Run(name, func(t *testing.T) {
			d := drive(t, fake.New(), 120, 40, on("top"))
			d.keys(keys...).keys("4", "e")
			d.shows("Enforce shop/db-allow for 10m?")
			d.keys("esc", "up", "1", "4", "e")
			d.shows("Enforce shop/cart-allow for 10m?")
		})
	}
}

func TestTheFooterSaysWhatAModeKeyDoesNow(t *testing.T) {
	foot := func(d *driver) string {
		lines := strings.Split(d.text(), "\n")
		return lines[len(lines)-2]
	}
	d := drive(t, fake.New(), 120, 40, on("policies"))
	d.keys("down") // db-allow is in dry-run
	if got := foot(d); !strings.Contains(got, "t/e enforce…  o off") || strings.Contains(got, "dry-run") {
		t.Errorf("in dry-run: %q", got)
	}
	d.keys("end")
	if got := foot(d); !strings.Contains(got, "t/d dry-run  e enforce…") || strings.Contains(got, "off") {
		t.Errorf("off: %q", got)
	}
	d = drive(t, fake.New(), 120, 40, on("policies"))
	d.keys("down", "down", "down") // a kind that isn't judged
	if got := foot(d); strings.Contains(got, "enforce") || strings.Contains(got, "dry-run") {
		t.Errorf("not judged: %q", got)
	}
	d = drive(t, fake.Recording(), 120, 40, on("policies"))
	d.keys("down")
	if got := foot(d); strings.Contains(got, "enforce") {
		t.Errorf("in a recording: %q", got)
	}
}

// TestEscTakesAMessageAway with what it goes back from.
func TestEscTakesAMessageAway(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("policies"))
	d.keys(":").typed("nonsense").keys("enter")
	d.shows("no command :nonsense")
	d.keys("esc")
	d.hides("no command")
	d.shows("? help")
}

// TestHelpListsWhatThePageCanDo and nothing else.
func TestHelpListsWhatThePageCanDo(t *testing.T) {
	d := drive(t, fake.New(), 160, 60, on("drops"))
	d.keys("?")
	d.shows("wide", "sort by the next column")
	d.hides("trouble only                ")
	d = drive(t, fake.New(), 160, 60, on("connections"))
	d.keys("enter", "?")
	d.shows("copy row", "export to a file")
	var all []string
	for _, s := range d.m.page().(*page.Help).Shown() { //nolint:forcetypeassert // what ? opens
		for _, b := range s.Bindings {
			all = append(all, b.Help().Desc)
		}
	}
	for _, no := range []string{"filter", "wide", "trouble only", "invert the sort", "open"} {
		if slices.Contains(all, no) {
			t.Errorf("the help of why lists %q", no)
		}
	}
}

// TestALeaseThatRunsOutSaysSo, and one that was released doesn't.
func TestALeaseThatRunsOutSaysSo(t *testing.T) {
	w := fake.New()
	w.SetHealth(func(h *store.Health) { h.Enforcing = true })
	d := drive(t, w, 120, 40, nil)
	d.shows("ENFORCING")
	w.SetHealth(func(h *store.Health) { h.Enforcing = false })
	d.tick()
	d.shows("The lease is over")
	w.SetHealth(func(h *store.Health) { h.Enforcing = true })
	d.tick()
	d.rest()
	d.keys("r")
	d.rest()
	w.SetHealth(func(h *store.Health) { h.Enforcing = false })
	d.tick()
	d.hides("The lease is over", "ENFORCING")
}

// TestARunningLeaseIsExtendedByAKeyOfTheFooter.
func TestARunningLeaseIsExtendedByAKeyOfTheFooter(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 120, 40, on("policies"))
	d.keys("down", "e").typed("enforce 5m").keys("enter")
	d.tick()
	d.rest()
	d.shows("t/o stop enforcing", "e extend…")
	d.keys("e")
	d.shows("Enforce shop/db-allow for 10m from now on?")
	d.typed("enforce 20m").keys("enter")
	if got := w.Done(); got[len(got)-1] != "enforce 20m0s" {
		t.Errorf("calls %q", got)
	}
}
