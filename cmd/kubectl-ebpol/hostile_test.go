// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// hostile are names that would move a cursor, hide or turn text round.
var hostile = map[string]string{
	"escape": "\x1b[2J\x1b]0;title\x07x", "8-bit": "\u009b31mx\u009d0;t\u009c", "delete": "a\x7fb", "lines": "two\nlines\tand a tab\r",
	"direction": "\u202egnp.exe\u2066", "no width": "zero\u200bwidth\ufeff\u2028", "tags": "x\U000e0041\U000e007f",
}

// hostileShop is the shop, in which all names that have a choice are this one.
func hostileShop(name string) []*wire.Frame {
	frames := shopFrames()
	for _, f := range frames {
		for _, p := range f.GetWorld().GetPods() {
			p.Name, p.Workload, p.Labels = p.GetName()+name, p.GetWorkload()+name, map[string]string{"app": name}
		}
		for _, set := range f.GetRuleNames().GetSets() {
			for _, b := range set.GetBits() {
				b.Name += name
			}
		}
		for _, p := range f.GetPolicyStates().GetPolicies() {
			p.Name, p.Origin, p.Warnings, p.Yaml = p.GetName()+name, p.GetOrigin()+name, []string{name}, "# "+name
		}
		if s := f.GetProbeState(); s != nil {
			s.Message, s.Error = name, name
		}
		for _, w := range f.GetFlows().GetFlows() {
			w.Owner = &wire.Owner{Pid: 7, Command: name}
			w.Request = &wire.Request{Kind: "http", Host: name, Path: "/" + name}
		}
		for _, d := range f.GetDrops().GetDrops() {
			d.Location += name
		}
	}
	return frames
}

// TestNamesDoNothingToATerminal: whatever is printed of a recording that others
// made, and of what is wrong with a command.
func TestNamesDoNothingToATerminal(t *testing.T) {
	still := func(t *testing.T, what, text string) {
		t.Helper()
		for i, r := range text {
			if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) {
				t.Fatalf("%s: %U at byte %d: %q", what, r, i, text[max(0, i-40):min(len(text), i+20)])
			}
		}
	}
	for title, name := range hostile {
		t.Run(title, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.ebpol")
			if err := writeFrames(path, hostileShop(name)); err != nil {
				t.Fatal(err)
			}
			call := func(args ...string) (string, int) {
				var out, errOut bytes.Buffer
				code := run(append([]string{"kubectl-ebpol"}, args...), strings.NewReader(""), &out, &errOut)
				what := strings.Join(args, " ")
				still(t, what, out.String())
				still(t, what+", on stderr", errOut.String())
				if code == 0 && out.Len() == 0 {
					t.Errorf("%s printed nothing; stderr: %s", what, errOut.String())
				}
				return out.String(), code
			}
			for _, format := range []string{"", "wide", "json"} {
				for _, page := range append([]string{""}, pageNames...) {
					args := []string{"replay", path, "-o", format}
					if page != "" {
						args = append(args, "--page", page)
					}
					text, code := call(args...)
					if code != 0 && page != "why" && page != "policy" {
						t.Errorf("replay -o %s --page %s ended with %d", format, page, code)
					}
					if format != "json" {
						continue
					}
					for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
						if line != "" && !json.Valid([]byte(line)) {
							t.Errorf("page %q: no JSON: %q", page, line)
						}
					}
				}
			}
			events, _ := call("replay", path, "-o", "json", "--noise")
			if !strings.Contains(unescaped(t, events), name) {
				t.Errorf("programs don't get the name %q:\n%s", name, events)
			}
			wrong := [][]string{
				{"replay", name},
				{"replay", path, "--page", name},
				{"replay", path, "-o", name},
				{"replay", path, "--" + name},
				{name},
				{"lint", "-f", name},
				{"explain", "--from", name, "--to", name, "-f", name},
				{"help", name},
			}
			for _, args := range wrong {
				if _, code := call(args...); code == 0 && args[0] != "help" {
					t.Errorf("%q is fine", args)
				}
			}
		})
	}
}

// unescaped are the strings of JSON lines.
func unescaped(t *testing.T, lines string) string {
	t.Helper()
	var all strings.Builder
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			all.WriteString(v + "\n")
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	for line := range strings.Lines(lines) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		walk(v)
	}
	return all.String()
}
