// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
)

const (
	maxCoarse   = 5 // pods that are told of one by one
	maxWarnings = 3 // of one policy
)

// coarser is a [Compiled] that knows which rules it couldn't tell apart.
type coarser interface{ Coarse() []compile.Warning }

// coarse lists what the compiler says about policies, and tells each sentence
// once: a pod with more rules than bits is judged rightly, but not all of its
// rules have names.
func (l *Live) coarse(out Compiled) map[*policy.Policy][]string {
	c, ok := out.(coarser)
	if !ok {
		return nil
	}
	list := c.Coarse()
	if len(list) == 0 {
		return nil
	}
	told := map[*policy.Policy][]string{}
	for i, w := range list {
		for _, p := range w.Policies {
			if n := len(told[p]); n < maxWarnings && (n == 0 || told[p][n-1] != w.Text) {
				told[p] = append(told[p], w.Text)
			}
		}
		text, of := w.Text, ofPolicies(w.Policies)
		if i >= maxCoarse {
			text, of = fmt.Sprintf("more than %d pods have more rules than fit: the policies' pages name them", maxCoarse), ""
		}
		if !l.warned[text] && len(l.warned) < maxWarned {
			l.warned[text] = true
			l.warn(text + of)
		}
	}
	return told
}

// ofPolicies names the first of a pod's policies.
func ofPolicies(list []*policy.Policy) string {
	const most = 3
	var names []string
	for _, p := range list[:min(len(list), most)] {
		names = append(names, fmt.Sprintf("%s %q", p.Kind, p.Key()))
	}
	text := "; they are of " + strings.Join(names, ", ")
	if n := len(list) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
