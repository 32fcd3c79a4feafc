// SPDX-License-Identifier: Apache-2.0

// Conformance joins what the suites said with enforcement and without into
// test/conformance/results.txt, prints the table, and fails if a test failed
// that should have passed, or passed that proves nothing.
//
//	conformance -o FILE -setting TEXT NAME=WITH,WITHOUT,DENIES-NOTHING,SKIP ...
//
// WITH and WITHOUT are reports: of Ginkgo if they end with .json, else of go
// tool test2json; without WITHOUT its tests count as not run. DENIES-NOTHING lists the tests that ask for nothing to be
// denied, one a line; empty if the suite says so itself. SKIP is the reason of
// skips that the report has none for.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/hack/conformance/results"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(errs)
	file := flags.String("o", "", "results file to write")
	setting := flags.String("setting", "", "what it ran on")
	if err := flags.Parse(args); err != nil || *file == "" || flags.NArg() == 0 {
		fmt.Fprintln(errs, "usage: conformance -o FILE -setting TEXT NAME=WITH,WITHOUT,DENIES-NOTHING,SKIP ...")
		return 2
	}
	r := &results.Results{Setting: *setting}
	for _, arg := range flags.Args() {
		if err := add(r, arg); err != nil {
			fmt.Fprintln(errs, "conformance:", err)
			return 1
		}
	}
	if err := save(r, *file); err != nil {
		fmt.Fprintln(errs, "conformance:", err)
		return 1
	}
	fmt.Fprint(out, r.Markdown())
	if err := r.Problems(); err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}

func save(r *results.Results, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := r.Write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// add reads one suite's two runs.
func add(r *results.Results, arg string) error {
	name, rest, _ := strings.Cut(arg, "=")
	f := strings.SplitN(rest, ",", 4)
	if len(f) != 4 {
		return fmt.Errorf("%q: not NAME=WITH,WITHOUT,DENIES-NOTHING,SKIP", arg)
	}
	with, err := read(f[0])
	if err != nil {
		return err
	}
	var without []results.Said
	if f[1] != "" { // a run that was left out: the table says so
		if without, err = read(f[1]); err != nil {
			return err
		}
	}
	var open []string
	if f[2] != "" {
		b, err := os.ReadFile(f[2])
		if err != nil {
			return err
		}
		open = strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	// Upstream's tests run in an order that is drawn: results of two runs are to be compared.
	slices.SortFunc(with, func(a, b results.Said) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range with {
		t := results.Test{Suite: name, Name: s.Name, With: s.Outcome, Without: results.Absent, Why: s.Why, Denies: !slices.Contains(open, s.Name)}
		if t.With == results.Skipped && t.Why == "" {
			t.Why = f[3]
		}
		if s.Denies != nil {
			t.Denies = *s.Denies
		}
		if i := slices.IndexFunc(without, func(o results.Said) bool { return o.Name == s.Name }); i >= 0 {
			if t.Without = without[i].Outcome; t.Without == results.Failed && !without[i].Open {
				t.Without = results.Astray
			}
		}
		r.Tests = append(r.Tests, t)
	}
	return nil
}

func read(file string) ([]results.Said, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parse := results.Test2JSON
	if strings.HasSuffix(file, ".json") {
		parse = results.Ginkgo
	}
	said, err := parse(data)
	if err == nil && len(said) == 0 {
		err = fmt.Errorf("no test ran")
	}
	if err != nil {
		return nil, fmt.Errorf("report %q: %w", file, err)
	}
	return said, nil
}
