// SPDX-License-Identifier: Apache-2.0

// Package results is what the conformance suites said: the file that is
// committed, and the table that is made of it.
package results

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Outcome of one test.
type Outcome string

// The outcomes. A test that didn't run in one of the two runs is Absent there.
// Astray is a test that failed without enforcement, but not since a connection
// was made that it wants denied: that proves nothing.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
	Astray  Outcome = "astray"
	Absent  Outcome = "-"
)

// Test is one test of a suite, in both runs.
type Test struct {
	Suite   string
	Name    string
	With    Outcome // with enforcement
	Without Outcome // without: what denies something must fail
	Denies  bool    // it asks for something to be denied
	Why     string  // of a failure or a skip
}

// Results are the tests of all suites, in the order in which they are printed.
type Results struct {
	Setting string // the cluster that it ran on, in one line
	Tests   []Test
}

const head = "# Written by make conformance: suite, with enforcement, without, whether it denies, test, why.\n"

// Write prints the file.
func (r *Results) Write(w io.Writer) error {
	var b strings.Builder
	b.WriteString(head)
	fmt.Fprintf(&b, "# %s\n", r.Setting)
	for _, t := range r.Tests {
		denies := "allows"
		if t.Denies {
			denies = "denies"
		}
		fields := []string{t.Suite, string(t.With), string(t.Without), denies, t.Name, t.Why}
		for i, f := range fields {
			fields[i] = strings.Join(strings.Fields(f), " ")
		}
		b.WriteString(strings.TrimRight(strings.Join(fields, "\t"), "\t") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Read reads what Write wrote.
func Read(in io.Reader) (*Results, error) {
	r := &Results{}
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 1<<20)
	for n := 1; scan.Scan(); n++ {
		line := scan.Text()
		if text, comment := strings.CutPrefix(line, "# "); comment {
			r.Setting = text // the last comment
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) < 5 {
			return nil, fmt.Errorf("line %d has %d fields, not 5 or 6: run \"make conformance\"", n, len(f))
		}
		t := Test{Suite: f[0], With: Outcome(f[1]), Without: Outcome(f[2]), Denies: f[3] == "denies", Name: f[4]}
		if len(f) > 5 {
			t.Why = f[5]
		}
		r.Tests = append(r.Tests, t)
	}
	return r, scan.Err()
}

// Suites are the names of the suites, in order.
func (r *Results) Suites() []string {
	var out []string
	for _, t := range r.Tests {
		if !slices.Contains(out, t.Suite) {
			out = append(out, t.Suite)
		}
	}
	return out
}

func (r *Results) count(suite string, is func(*Test) bool) (n int) {
	for i := range r.Tests {
		if r.Tests[i].Suite == suite && is(&r.Tests[i]) {
			n++
		}
	}
	return n
}

// Markdown is the table and what is to be said of the rest, by name.
func (r *Results) Markdown() string {
	var b strings.Builder
	b.WriteString("| suite | passed | failed | skipped | without enforcement: fail, as they must | pass, as they deny nothing |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- |\n")
	for _, s := range r.Suites() {
		with := func(o Outcome) int { return r.count(s, func(t *Test) bool { return t.With == o }) }
		must := r.count(s, func(t *Test) bool { return t.Denies && t.Without != Skipped && t.Without != Absent })
		did := r.count(s, func(t *Test) bool { return t.Denies && t.Without == Failed })
		open := r.count(s, func(t *Test) bool { return !t.Denies && t.Without == Passed })
		without := fmt.Sprintf("%d of %d", did, must)
		if n := r.count(s, func(t *Test) bool { return t.Without == Astray }); n > 0 {
			without += fmt.Sprintf(" (%d for another reason)", n)
		}
		if n := r.count(s, func(t *Test) bool { return t.With != Skipped && (t.Without == Absent || t.Without == Skipped) }); n > 0 {
			without += fmt.Sprintf(" (%d not run)", n)
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %s | %d |\n", s, with(Passed), with(Failed), with(Skipped), without, open)
	}
	fmt.Fprintf(&b, "\nOn %s [test/conformance/results.txt](test/conformance/results.txt) has each test by name: what\n"+
		"it said in both runs, and whether it denies something.\n", r.Setting)
	var whys []string
	count := map[string]int{}
	for _, t := range r.Tests {
		if t.With == Skipped {
			key := t.Suite + ": " + t.Why
			if count[key] == 0 {
				whys = append(whys, key)
			}
			count[key]++
		}
	}
	if len(whys) > 0 {
		b.WriteString("\nSkipped:\n\n")
	}
	for _, why := range whys {
		suite, reason, _ := strings.Cut(why, ": ")
		fmt.Fprintf(&b, "- %d of %s: %s.\n", count[why], suite, reason)
	}
	failures := slices.DeleteFunc(slices.Clone(r.Tests), func(t Test) bool { return t.With != Failed })
	if len(failures) > 0 {
		b.WriteString("\nFailed, one by one:\n\n")
	}
	for _, t := range failures {
		fmt.Fprintf(&b, "- %s, \"%s\": %s\n", t.Suite, t.Name, t.Why)
	}
	return b.String()
}

// Problems are what makes a run a failure: tests that fail with enforcement,
// and tests that deny and yet pass without, which prove nothing.
func (r *Results) Problems() error {
	var all []error
	for _, t := range r.Tests {
		switch {
		case t.With == Failed:
			all = append(all, fmt.Errorf("%s: %q fails: %s", t.Suite, t.Name, t.Why))
		case t.With == Passed && t.Denies && t.Without == Passed:
			all = append(all, fmt.Errorf("%s: %q passes without enforcement too: it proves nothing", t.Suite, t.Name))
		case t.With == Passed && t.Without == Absent:
			all = append(all, fmt.Errorf("%s: %q was not run without enforcement", t.Suite, t.Name))
		case t.With == Passed && t.Without == Astray:
			all = append(all, fmt.Errorf("%s: %q fails without enforcement, but made no connection that it wants denied: it proves nothing", t.Suite, t.Name))
		case t.Without == Failed && !t.Denies && t.With == Passed:
			all = append(all, fmt.Errorf("%s: %q fails without enforcement, but is listed as one that denies nothing", t.Suite, t.Name))
		}
	}
	return errors.Join(all...)
}
