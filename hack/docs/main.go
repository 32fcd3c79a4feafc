// SPDX-License-Identifier: Apache-2.0

// Docs writes the parts of a Markdown file that stand between
//
//	<!-- generated: NAME [ARGUMENT] -->
//	<!-- end -->
//
// from the code, so that they can't be wrong: "flags COMMAND" (the command's
// own flags), "commands", "keys", "role", "schema" (the JSON that -o json
// prints), "truth" (verdicts and what becomes of packets), "conformance" (what
// make conformance said last).
package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: docs FILE...")
		return 2
	}
	defer func() {
		if scratch != "" {
			os.RemoveAll(scratch)
		}
	}()
	for _, file := range os.Args[1:] {
		if err := rewrite(file); err != nil {
			fmt.Fprintln(os.Stderr, "docs:", err)
			return 1
		}
	}
	return 0
}

// generators by name; each is given the marker's argument.
var generators = map[string]func(string) (string, error){
	"commands":    commands,
	"conformance": conformance,
	"flags":       flags,
	"keys":        keyTables,
	"role":        role,
	"schema":      schema,
	"truth":       truth,
}

var block = regexp.MustCompile(`(?s)(<!-- generated: ([a-z]+) ?([a-z-]*) -->\n).*?(<!-- end -->)`)

func rewrite(file string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var failed error
	now := block.ReplaceAllFunc(old, func(b []byte) []byte {
		m := block.FindSubmatch(b)
		name, argument := string(m[2]), string(m[3])
		g := generators[name]
		if g == nil {
			known := make([]string, 0, len(generators))
			for k := range generators {
				known = append(known, k)
			}
			slices.Sort(known)
			failed = fmt.Errorf("%s: marker %q: use one of %s", file, name, strings.Join(known, ", "))
			return b
		}
		text, err := g(argument)
		if err != nil {
			failed = fmt.Errorf("%s: %s %s: %w", file, name, argument, err)
			return b
		}
		return slices.Concat(m[1], []byte(text), m[4])
	})
	if failed != nil {
		return failed
	}
	if bytes.Equal(old, now) {
		return nil
	}
	return os.WriteFile(file, now, 0o644)
}
