// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"cmp"
	"encoding"
	"fmt"
	"slices"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Severity says how sure it is that something is wrong. Higher is worse.
type Severity uint8

// The severities, which are SARIF's levels.
const (
	Note    Severity = 1 // worth knowing
	Warning Severity = 2 // probably not meant
	Error   Severity = 3 // does not do what it says
)

func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "unknown"
}

// ParseSeverity reads a severity's name.
func ParseSeverity(s string) (Severity, error) {
	for _, v := range []Severity{Note, Warning, Error} {
		if v.String() == s {
			return v, nil
		}
	}
	return 0, fmt.Errorf("severity %q: use note, warning or error", s)
}

// MarshalText implements [encoding.TextMarshaler].
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

var _ encoding.TextMarshaler = Severity(0)

// Check is one thing that is looked for.
type Check struct {
	ID       string
	Severity Severity
	About    string // a sentence
}

// Checks are all, by id. Ids never change their meaning.
var Checks = []Check{
	{"allow-all", Note, "An empty rule allows every peer and every port."},
	{"and-or-slip", Warning, "A namespaceSelector and a podSelector are two peers, either of which suffices, where one peer with both was probably meant."},
	{"block-covers-pods", Note, "A block of addresses lies inside the cluster's own ranges, where network plugins differ on whether it matches."},
	{"dns-hole", Warning, "Pods whose egress is isolated may not ask the cluster's DNS."},
	{"equal-priority", Warning, "Two policies of equal priority decide differently about the same pods: either may win."},
	{"host-network-subject", Warning, "The policy selects pods on the host network only, which policies don't cover."},
	{"implicit-ingress", Warning, "The policy has egress rules only, but isolates ingress as well because policyTypes is absent."},
	{"invalid", Error, "The API server would not store the policy."},
	{"kubelet-probe", Note, "No rule admits the kubelet's probes; the API says that they pass all the same, but some network plugins cut them."},
	{"named-port", Warning, "No pod that the rule is about has a port of that name."},
	{"not-enforced", Error, "The cluster's network plugin does not enforce this kind of policy."},
	{"not-evaluated", Note, "A part of the policy is not evaluated here, or not as it is written."},
	{"redundant-rule", Note, "Another rule allows all that this rule allows."},
	{"selects-nothing", Warning, "The policy selects no pod."},
	{"selects-no-peer", Note, "A selector of a rule matches no pod."},
	{"shadowed-rule", Warning, "An earlier rule matches all that this rule matches, so that this rule never decides."},
	{"single-family", Warning, "A rule names addresses of one IP family only, in a cluster with two."},
	{"typo", Warning, "A selector matches nothing, but would if one name in it were spelled like one that exists."},
}

func check(id string) Check {
	i := slices.IndexFunc(Checks, func(c Check) bool { return c.ID == id })
	return Checks[i]
}

// Finding is one result of one check.
type Finding struct {
	ID       string        `json:"id"`
	Severity Severity      `json:"severity"`
	Kind     flow.RuleKind `json:"kind,omitempty"`
	Policy   string        `json:"policy,omitempty"` // namespace/name, or name if it is cluster-scoped
	File     string        `json:"file,omitempty"`
	Line     int           `json:"line,omitempty"`  // from 1; 0: not known
	Field    string        `json:"field,omitempty"` // such as "spec.egress[0].to[1]"
	Reason   string        `json:"reason"`          // one sentence
	Fix      string        `json:"fix"`             // what to do, in a sentence
	Patch    string        `json:"patch,omitempty"` // YAML that could be applied; applied by nobody
}

// Where is "file:line", or the policy if it is of no file.
func (f *Finding) Where() string {
	switch {
	case f.File != "" && f.Line > 0:
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	case f.File != "":
		return f.File
	}
	return fmt.Sprintf("%s %s", f.Kind, f.Policy)
}

func compare(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Policy, b.Policy),
		cmp.Compare(a.Field, b.Field), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Reason, b.Reason))
}

// Worst is the highest severity; 0 if there is no finding.
func Worst(findings []Finding) Severity {
	var worst Severity
	for i := range findings {
		worst = max(worst, findings[i].Severity)
	}
	return worst
}
