// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

// TestAnEmptyPromptShowsWhatItTakes, and no longer once something is typed.
func TestAnEmptyPromptShowsWhatItTakes(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("flows"))
	d.keys("/")
	d.shows("or !db, or -l app=db, or to=db port=5432 verdict=would-deny; esc cancels")
	d.typed("db")
	d.hides("esc cancels")
	d.keys("backspace", "backspace")
	d.shows("esc cancels")
	d.keys("esc", ":")
	d.shows("tab completes, ? lists them all, esc cancels")
	d.typed("pol")
	d.hides("lists them all")
	d.shows(":policies")
	d.keys("tab", "enter")
	if got := d.m.page().Name(); got != "policies" {
		t.Errorf("a completed command opened %s", got)
	}
}

// TestAHintNamesFieldsAndCommandsThatExist: what a hint shows can be typed.
func TestAHintNamesFieldsAndCommandsThatExist(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("flows"))
	d.keys("/")
	hint, _, _ := strings.Cut(d.m.prompt.Hint, ";")
	d.keys("esc")
	for f := range strings.SplitSeq(hint, ", or ") {
		if f == "-l app=db" {
			continue // labels are unknown to the fake
		}
		d.keys("/").typed(f)
		if d.m.prompt.Error != "" {
			t.Errorf("the hint's %q: %s", f, d.m.prompt.Error)
		}
		d.keys("esc")
	}
	d.keys(":")
	hint, _, _ = strings.Cut(d.m.prompt.Hint, ", ...")
	d.keys("esc")
	for c := range strings.SplitSeq(hint, ", ") {
		d = drive(t, fake.New(), 120, 40, nil)
		d.keys(":").typed(c).keys("enter")
		d.hides("no command", "Sort by one of", "Group by ")
	}
}

func TestWhatWasMeantIsAskedBack(t *testing.T) {
	for typed, want := range map[string]string{
		"polcies":   "There is no command :polcies. Did you mean :policies? Tab completes",
		"namespaec": "Did you mean :namespace?",
		"zzzzzz":    "There is no command :zzzzzz. ? lists them all.",
		"re":        "release",
		"sort size": "Sort by one of",
		"group by":  "Group by workload, pod",
		"f":         ":f could be flows, freeze",
	} {
		d := drive(t, fake.New(), 140, 40, nil)
		d.keys(":").typed(typed).keys("enter")
		if typed == "re" { // what begins like one command only is that command
			d.shows("Nothing is being enforced")
			continue
		}
		d.shows(want)
	}
	d := drive(t, fake.New(), 140, 40, on("flows"))
	d.keys("/").typed("prot=5432")
	d.shows(`there is no field "prot", did you mean`)
	d.keys("enter")
	d.shows("/prot=5432") // it isn't taken: the prompt stays open
	d.keys("esc").keys("/").typed("zzzzzz=1")
	d.shows("fields are agreement, candidate")
	d.keys("esc").keys("/").typed("[")
	d.shows("not a regular expression")
	d.keys("esc")
	d.shows("1/10")
}

// TestTabGoesThroughWhatATextCouldBecome, and what was completed in full begins
// anew.
func TestTabGoesThroughWhatATextCouldBecome(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("flows"))
	d.keys(":").typed("po")
	d.shows("tab complete, one of ")
	seen := map[string]bool{}
	for range d.m.prompt.Choices() {
		d.keys("tab")
		seen[d.m.prompt.Value()] = true
	}
	for _, want := range []string{"policies", "policy", "pod", "pods"} {
		if !seen[want] {
			t.Errorf("tab doesn't come to :%s, only to %v", want, seen)
		}
	}
	d.keys("esc", "/").typed("agr")
	d.keys("tab")
	if got := d.m.prompt.Value(); got != "agreement=" {
		t.Fatalf("tab made %q of agr", got)
	}
	d.keys("tab")
	if got := d.m.prompt.Value(); got == "agreement=" || !strings.HasPrefix(got, "agreement=") {
		t.Errorf("the next tab made %q", got)
	}
}

// TestWhyIsACommand, as it is a page to begin with.
func TestWhyIsACommand(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("connections"))
	d.keys(":").typed("why").keys("enter")
	if got := d.m.page().Name(); got != "why" {
		t.Errorf(":why opened %s", got)
	}
	for _, name := range []string{"policies", "nodes"} {
		d = drive(t, fake.New(), 120, 40, on(name))
		d.keys(":").typed("why").keys("enter")
		d.shows("no row here to tell the story of")
	}
}
