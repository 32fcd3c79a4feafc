// SPDX-License-Identifier: Apache-2.0

package part

import (
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// names draws rows of a name, of a kind that never needs its room, and of a
// number.
func names(width int, rows ...Cell) (t *Table[int], view func() []string) {
	t = &Table[int]{Columns: []Column{
		{Key: "kind", Title: "KIND", Min: 10, Max: 20},
		{Key: "name", Title: "NAME", Min: 10, Max: 30},
		{Key: "n", Title: "N", Min: 6, Right: true},
	}}
	t.Resize(width, 10)
	ids := make([]int, len(rows))
	for i := range ids {
		ids[i] = i + 1
	}
	t.SetRows(0, ids, len(ids))
	th := style.New(style.Options{NoColor: true})
	return t, func() []string {
		lines := t.View(th, func(i int, key string) Cell {
			switch key {
			case "kind":
				return Cell{Text: "pod"}
			case "name":
				return rows[i]
			}
			return Cell{Text: "7"}
		})
		for i, l := range lines {
			lines[i] = ansi.Strip(l)
			if Width(lines[i]) > t.width {
				panic("too wide: " + lines[i])
			}
		}
		return lines
	}
}

func TestANameGetsWhatOthersDoNotNeed(t *testing.T) {
	// 2 + 10 + 2 + 10 + 2 + 6 = 32: every column at its narrowest
	_, view := names(34, Cell{Text: "default/intruder"})
	if got := view()[1]; !strings.Contains(got, "default/intruder") {
		t.Errorf("cut though there is room: %q", got)
	}
}

func TestAShortFormStandsInBeforeANameIsCut(t *testing.T) {
	table, view := names(38, Cell{Text: "kube-system/deploy/coredns", Short: "kube-system/coredns"}, Cell{Text: "shop/sts/db", Short: "shop/db"})
	got := strings.Join(view(), "\n")
	if !strings.Contains(got, "kube-system/coredns ") || !strings.Contains(got, "shop/sts/db") {
		t.Errorf("want the short form where there is no room, and only there:\n%s", got)
	}
	table.Resize(60, 10)
	if got := strings.Join(view(), "\n"); !strings.Contains(got, "kube-system/deploy/coredns") {
		t.Errorf("the short form stands where there is room:\n%s", got)
	}
}

// TestNobodyLosesALetterToWhomItDoesNotHelp: a column that can have all that
// it needs gets it before another, which stays cut, gets a part.
func TestNobodyLosesALetterToWhomItDoesNotHelp(t *testing.T) {
	table := &Table[int]{Columns: []Column{
		{Key: "a", Title: "A", Min: 10, Max: 30},
		{Key: "b", Title: "B", Min: 10, Max: 60},
	}}
	table.Resize(2+10+2+10+5, 4)
	table.SetRows(0, []int{1}, 1)
	lines := table.View(style.New(style.Options{NoColor: true}), func(_ int, key string) Cell {
		if key == "a" {
			return Cell{Text: "fourteen-cells"}
		}
		return Cell{Text: strings.Repeat("b", 50)}
	})
	if got := ansi.Strip(lines[1]); !strings.Contains(got, "fourteen-cells") {
		t.Errorf("cut by one letter: %q", got)
	}
}

// TestColumnsComeToRest: they move when a longer name comes that finds no
// room, and not back when it goes.
func TestColumnsComeToRest(t *testing.T) {
	rows := []Cell{{Text: "a"}, {Text: "b"}}
	table, view := names(34, rows...)
	first := view()[0]
	rows[1] = Cell{Text: "shorter"}
	if got := view()[0]; got != first {
		t.Errorf("a name that fits moved the columns:\n%q\n%q", first, got)
	}
	rows[1] = Cell{Text: "longer-than-ten"}
	second := view()[0]
	if second == first {
		t.Error("a name was cut and nobody gave room")
	}
	rows[1] = Cell{Text: "b"}
	if got := view()[0]; got != second {
		t.Errorf("the columns moved back:\n%q\n%q", second, got)
	}
	table.Start()
	if got := view()[0]; got != first {
		t.Errorf("other rows: what the ones before needed is over\n%q\n%q", first, got)
	}
}

func TestNumbersKeepTheirWidth(t *testing.T) {
	table, view := names(34, Cell{Text: strings.Repeat("x", 100)})
	view()
	if w := table.WidthOf("n"); w != 6 {
		t.Errorf("the number's column is %d wide", w)
	}
	var got []int
	for width := range 60 {
		table.Resize(width, 10)
		view() // panics if a line is too wide
		got = append(got, table.WidthOf("name"))
	}
	if !slices.IsSorted(got[32:]) {
		t.Errorf("a wider window gives the name less: %v", got)
	}
}
