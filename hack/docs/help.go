// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ebpol/kubectl-ebpol/tui/keys"
)

// scratch is removed when the program ends.
var scratch string

// plugin is built once; its own help is what the tables are made of.
var plugin = sync.OnceValues(func() (string, error) {
	var err error
	if scratch, err = os.MkdirTemp("", "docs"); err != nil {
		return "", err
	}
	path := filepath.Join(scratch, "kubectl-ebpol")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/kubectl-ebpol").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func help(command string) (string, error) {
	path, err := plugin()
	if err != nil {
		return "", err
	}
	var args []string
	if command != "" {
		args = append(args, command)
	}
	out, err := exec.Command(path, append(args, "--help")...).Output()
	return string(out), err
}

// commands lists the subcommands as the help does.
func commands(string) (string, error) {
	text, err := help("")
	if err != nil {
		return "", err
	}
	_, rest, ok := strings.Cut(text, "\n\n")
	if !ok {
		return "", fmt.Errorf("the help text has no paragraphs")
	}
	var b strings.Builder
	b.WriteString("| command | what it does |\n| --- | --- |\n")
	for line := range strings.Lines(rest) {
		name, what, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "   ") || !ok || strings.HasPrefix(name, "-") {
			continue
		}
		if strings.Contains(name, " ") || name == "help" {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, oneLine(what))
	}
	return b.String(), nil
}

// flags is the command's own flags, as its help prints them.
func flags(command string) (string, error) {
	text, err := help(command)
	if err != nil {
		return "", err
	}
	_, rest, ok := strings.Cut(text, "\nFlags:\n")
	if !ok {
		return "", fmt.Errorf("command %q has no flags of its own", command)
	}
	own, _, _ := strings.Cut(rest, "\n\n")
	return "```\n" + strings.TrimRight(own, "\n") + "\n```\n", nil
}

// keyTables is what `?` shows on every page.
func keyTables(string) (string, error) {
	var b strings.Builder
	b.WriteString("| | key | does |\n| --- | --- | --- |\n")
	for _, s := range keys.Default().Everywhere() {
		title := "**" + s.Title + "**"
		for _, k := range s.Bindings {
			fmt.Fprintf(&b, "| %s | `%s` | %s |\n", title, k.Help().Key, k.Help().Desc)
			title = ""
		}
	}
	return b.String(), nil
}
