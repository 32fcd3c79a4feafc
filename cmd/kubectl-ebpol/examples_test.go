// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Whatever a help text or a page of ours tells people to type names commands
// and flags that there are, with as many words as the command takes.
func TestExamplesCanBeTyped(t *testing.T) {
	count := 0
	var each func(*cobra.Command)
	each = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			count += typed(t, "help of "+c.Name(), line)
		}
		for _, sub := range c.Commands() {
			each(sub)
		}
	}
	each(exampleRoot())
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok || strings.HasPrefix(line, "    ") {
				count += typed(t, filepath.Base(page), rest)
			}
		}
	}
	if count < 50 {
		t.Errorf("only %d examples were found", count)
	}
}

func exampleRoot() *cobra.Command {
	root := newRoot("kubectl-ebpol", genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard})
	root.InitDefaultHelpCmd()
	return root
}

var ours = regexp.MustCompile(`kubectl[ -]ebpol ([^|#>;&<\n]*)`)

// typed parses each of our commands on a line, and returns how many there were.
func typed(t *testing.T, where, line string) int {
	t.Helper()
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return 0
	}
	list := ours.FindAllStringSubmatch(line, -1)
	for _, m := range list {
		root := exampleRoot()
		args := words(m[1])
		cmd, rest, err := root.Find(args)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %s\n%v", where, strings.TrimSpace(m[0]), err)
		}
	}
	return len(list)
}

var word = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)

// words cuts a line as a shell would.
func words(line string) []string {
	var out []string
	for _, w := range word.FindAllString(line, -1) {
		out = append(out, strings.NewReplacer("'", "", `"`, "").Replace(w))
	}
	return out
}
