// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// kinds are the workloads' kinds, as their names begin.
var kinds = []struct {
	name  string
	alias []string
}{
	{"deploy", []string{"deployment", "deployments", "dp"}},
	{"sts", []string{"statefulset", "statefulsets"}},
	{"ds", []string{"daemonset", "daemonsets"}},
	{"job", []string{"jobs"}},
	{"cronjob", []string{"cronjobs", "cj"}},
}

// about is a command that shows the flows of whoever its argument names.
func about(name, words string, alias []string, field, lead string, list func(*Model) []string) command {
	return command{
		name: name, words: words, alias: alias,
		args: func(m *Model) []string { return calls(list(m)) },
		run:  func(m *Model, arg string) tea.Cmd { return m.look(name, field, lead, arg, list(m)) },
	}
}

// suggest gives the open prompt what its text could become.
func (m *Model) suggest() {
	if m.prompt == nil {
		return
	}
	if m.prompt.Sign == "/" {
		m.prompt.SetSuggestions(m.terms(m.prompt.Value()))
		return
	}
	typed, _, argued := strings.Cut(m.prompt.Value(), " ")
	var s []string
	for _, c := range commands() {
		switch {
		case !argued:
			s = append(append(s, c.name), c.alias...)
		case c.args == nil:
		case c.name == typed || slices.Contains(c.alias, typed):
			for _, a := range c.args(m) {
				s = append(s, typed+" "+part.Clean(a))
			}
		}
	}
	m.prompt.SetSuggestions(s)
}
