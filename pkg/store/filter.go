// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Labels are the labels of a pod; nil if it isn't known.
type Labels func(namespace, pod string) map[string]string

// Labels looks a pod's labels up in what the store knows now.
func (s *Store) Labels(namespace, pod string) map[string]string {
	if w := s.known.Load(); w != nil {
		if p := w.Pods[namespace+"/"+pod]; p != nil {
			return p.Labels
		}
	}
	return nil
}

// ParseFilter compiles what stands behind the "/" of the filter line:
//
//	db              regular expression, in any case, over names, addresses, verdict, rule and reason
//	!db             what doesn't match it
//	-l app=db       an end's pod has the labels
//	to=db port=5432 verdict=would-deny
//
// Words with a known field before = or != are terms; all must hold, and what
// is left over is the regular expression. Fields: from, to, pod, workload, ns,
// service, ip, port, protocol, verdict, candidate, rule, reason, node,
// direction, type. A value may have alternatives (a,b) and stars. Text "" matches
// all: the function is nil.
// A leading slash is skipped. A nil lookup makes -l an error.
func ParseFilter(text string, lookup Labels) (func(*flow.Event) bool, error) {
	text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "/"))
	if text == "" {
		return nil, nil
	}
	if sel, ok := strings.CutPrefix(text, "-l"); ok && (sel == "" || sel[0] == ' ' || sel[0] == '=') {
		return labelFilter(strings.TrimLeft(sel, " ="), lookup)
	}
	var tests []func(*flow.Event) bool
	var rest []string
	for _, word := range strings.Fields(text) {
		field, value, negate, ok := cutTerm(word)
		if !ok {
			rest = append(rest, word)
			continue
		}
		t, err := term(field, value)
		if err != nil {
			return nil, err
		}
		if negate {
			yes := t
			t = func(e *flow.Event) bool { return !yes(e) }
		}
		tests = append(tests, t)
	}
	if len(rest) > 0 {
		pattern, inverse := strings.CutPrefix(strings.Join(rest, " "), "!")
		re, err := regexp.Compile("(?i)" + pattern)
		if err != nil {
			return nil, fmt.Errorf("filter %q: not a regular expression: %w", pattern, err)
		}
		tests = append(tests, func(e *flow.Event) bool { return re.MatchString(searchable(e)) != inverse })
	}
	return func(e *flow.Event) bool {
		for _, t := range tests {
			if !t(e) {
				return false
			}
		}
		return true
	}, nil
}

func labelFilter(text string, lookup Labels) (func(*flow.Event) bool, error) {
	sel, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("label selector %q: %w", text, err)
	}
	if lookup == nil {
		return nil, fmt.Errorf("label selector %q: labels are not known here", text)
	}
	has := func(p *flow.Peer) bool {
		if p == nil || p.Pod == "" {
			return false
		}
		l := lookup(p.Namespace, p.Pod)
		return l != nil && sel.Matches(labels.Set(l))
	}
	return func(e *flow.Event) bool { return has(e.Source) || has(e.Destination) }, nil
}

func cutTerm(word string) (field, value string, negate, ok bool) {
	i := strings.IndexByte(word, '=')
	if i <= 0 {
		return "", "", false, false
	}
	field, value = word[:i], word[i+1:]
	field, negate = strings.CutSuffix(field, "!")
	field = strings.ToLower(field)
	_, known := fields[field]
	return field, value, negate, known && value != ""
}

// fields gives the values of an event that a term is compared with.
var fields = map[string]func(*flow.Event) []string{
	"from": func(e *flow.Event) []string { return callings(e.Source) },
	"to":   func(e *flow.Event) []string { return callings(e.Destination, e.Backend) },
	"pod":  both(func(p *flow.Peer) []string { return []string{p.Pod, p.Namespace + "/" + p.Pod} }),
	"workload": both(func(p *flow.Peer) []string {
		return []string{p.Workload, bare(p.Workload), p.Namespace + "/" + p.Workload}
	}),
	"ns":        both(func(p *flow.Peer) []string { return []string{p.Namespace} }),
	"service":   both(func(p *flow.Peer) []string { return []string{p.Service, bare(p.Service)} }),
	"ip":        both(func(p *flow.Peer) []string { return []string{p.IP.String()} }),
	"port":      both(func(p *flow.Peer) []string { return []string{strconv.Itoa(int(p.Port))} }),
	"protocol":  func(e *flow.Event) []string { return []string{e.Protocol.String()} },
	"verdict":   verdictWords,
	"candidate": func(e *flow.Event) []string { return []string{e.Candidate.String()} },
	"rule":      ruleWords,
	"reason":    func(e *flow.Event) []string { return []string{e.Reason} },
	"node":      func(e *flow.Event) []string { return []string{e.Node} },
	"direction": func(e *flow.Event) []string { return []string{e.Direction.String()} },
	"type":      func(e *flow.Event) []string { return []string{string(e.Type)} },
}

func init() {
	for alias, field := range map[string]string{
		"src": "from", "source": "from", "dst": "to", "destination": "to", "namespace": "ns", "svc": "service", "proto": "protocol", "policy": "rule",
	} {
		fields[alias] = fields[field]
	}
}

func term(field, value string) (func(*flow.Event) bool, error) {
	if field == "port" {
		for _, p := range strings.Split(value, ",") {
			if _, err := strconv.ParseUint(p, 10, 16); err != nil {
				return nil, fmt.Errorf("filter %q: ports are numbers from 0 to 65535", field+"="+value)
			}
		}
	}
	if field == "verdict" {
		for _, v := range strings.Split(value, ",") {
			switch strings.ToLower(v) {
			case "allow", "allowed", "deny", "denied", "contested", "would-deny", "would-allow", "changed", "enforced":
			default:
				return nil, fmt.Errorf("filter %q: verdicts are allow, deny, contested, would-deny, would-allow, changed and enforced", field+"="+value)
			}
		}
	}
	var alternatives []string
	for _, a := range strings.Split(value, ",") {
		alternatives = append(alternatives, strings.ReplaceAll(regexp.QuoteMeta(a), `\*`, ".*"))
	}
	re, err := regexp.Compile("(?i)^(?:" + strings.Join(alternatives, "|") + ")$")
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", field+"="+value, err)
	}
	values := fields[field]
	return func(e *flow.Event) bool {
		for _, v := range values(e) {
			if v != "" && re.MatchString(v) {
				return true
			}
		}
		return false
	}, nil
}

// callings are all the ways to call an end.
func callings(peers ...*flow.Peer) []string {
	var out []string
	for _, p := range peers {
		if p == nil {
			continue
		}
		out = append(out, p.Pod, p.Workload, bare(p.Workload), p.Service, bare(p.Service), p.Name, p.Namespace)
		if p.Namespace != "" {
			out = append(out, p.Namespace+"/"+p.Pod, p.Namespace+"/"+bare(p.Workload), p.Namespace+"/"+p.Workload)
		}
		if p.IP.IsValid() {
			out = append(out, p.IP.String())
		}
	}
	return out
}

// bare is what stands behind the slash: db of sts/db.
func bare(s string) string {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		return s[i+1:]
	}
	return s
}

func both(of func(*flow.Peer) []string) func(*flow.Event) []string {
	return func(e *flow.Event) []string {
		var out []string
		for _, p := range []*flow.Peer{e.Source, e.Destination, e.Backend} {
			if p != nil {
				out = append(out, of(p)...)
			}
		}
		return out
	}
}

func verdictWords(e *flow.Event) []string {
	out := []string{e.Verdict.String()}
	switch e.Verdict {
	case flow.Allow:
		out = append(out, "allowed")
	case flow.Deny:
		out = append(out, "denied")
	}
	if e.WouldChange() {
		out = append(out, "changed")
		switch e.Candidate {
		case flow.Deny:
			out = append(out, "would-deny")
		case flow.Allow:
			out = append(out, "would-allow")
		}
	}
	if e.Enforced {
		out = append(out, "enforced", "denied", "deny")
	}
	return out
}

func ruleWords(e *flow.Event) []string {
	var out []string
	add := func(r *flow.Rule) {
		if r != nil {
			out = append(out, r.Name, r.Namespace+"/"+r.Name, r.String())
		}
	}
	add(e.Rule)
	add(e.CandidateRule)
	for i := range e.IsolatedBy {
		add(&e.IsolatedBy[i])
	}
	for i := range e.CandidateIsolatedBy {
		add(&e.CandidateIsolatedBy[i])
	}
	return out
}

// searchable is the text that a regular expression is matched with.
func searchable(e *flow.Event) string {
	var b strings.Builder
	word := func(s string) {
		if s != "" {
			b.WriteString(s)
			b.WriteByte(' ')
		}
	}
	for _, p := range []*flow.Peer{e.Source, e.Destination, e.Backend} {
		if p == nil {
			continue
		}
		if p.Namespace != "" {
			b.WriteString(p.Namespace)
			b.WriteByte('/')
		}
		word(p.Pod)
		word(p.Workload)
		word(p.Service)
		word(p.Name)
		if p.IP.IsValid() {
			b.WriteString(p.IP.String())
			b.WriteByte(':')
			word(strconv.Itoa(int(p.Port)))
		}
	}
	word(e.Protocol.String())
	for _, v := range verdictWords(e) {
		word(v)
	}
	for _, r := range ruleWords(e) {
		word(r)
	}
	word(e.Reason)
	word(e.Location)
	word(e.Node)
	word(e.Direction.String())
	word(e.Note)
	return b.String()
}
