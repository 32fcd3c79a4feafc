// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/nearest"
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

// PodLabels are those that some pod has, as app=web, sorted.
func (s *Store) PodLabels() []string {
	seen := map[string]bool{}
	if w := s.known.Load(); w != nil {
		for _, p := range w.Pods {
			for k, v := range p.Labels {
				seen[k+"="+v] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
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
// direction, type, observed, agreement, culprit, process, host, path; words of
// several parts have hyphens (observed=not-arrived). A value may have alternatives (a,b) and stars. Text "" matches
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
			if err := noField(field, value); err != nil {
				return nil, err
			}
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
		match, err := matcher(pattern)
		if err != nil {
			var syn *syntax.Error
			if errors.As(err, &syn) { // the pattern itself stands there already
				return nil, fmt.Errorf("filter %q: not a regular expression: %s; a backslash before a sign takes it literally", pattern, syn.Code)
			}
			return nil, fmt.Errorf("filter %q: not a regular expression: %w", pattern, err)
		}
		tests = append(tests, func(e *flow.Event) bool { return searched(match, e) != inverse })
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

// fieldName is what a field may look like.
var fieldName = regexp.MustCompile(`^[a-z]{2,}$`)

// noField refuses what looks like a term whose field isn't known: as a regular
// expression it would match nothing, and say nothing.
func noField(field, value string) error {
	if value == "" || !fieldName.MatchString(field) || fields[field] != nil {
		return nil
	}
	names := slices.Sorted(maps.Keys(fields))
	if like := nearest.Of(field, names, 1); len(like) > 0 {
		return fmt.Errorf("filter %q: there is no field %q, did you mean %s=? To search for the text write %s[=]%s", field+"="+value, field, like[0], field, value)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return aliases[n] != "" })
	return fmt.Errorf("filter %q: there is no field %q; fields are %s. To search for the text write %s[=]%s", field+"="+value, field, strings.Join(names, ", "), field, value)
}

// saying hands the words that an event is compared by to is, until one is it.
type saying func(e *flow.Event, is func(string) bool) bool

// fields are what terms may name.
var fields = map[string]saying{
	"from": func(e *flow.Event, is func(string) bool) bool { return called(e.Source, is) },
	"to": func(e *flow.Event, is func(string) bool) bool {
		return called(e.Destination, is) || called(e.Backend, is)
	},
	"pod": ends(func(p *flow.Peer, is func(string) bool) bool {
		return p.Pod != "" && (is(p.Pod) || is(p.Namespace+"/"+p.Pod))
	}),
	"workload": ends(func(p *flow.Peer, is func(string) bool) bool {
		return p.Workload != "" && (is(p.Workload) || is(bare(p.Workload)) || is(p.Namespace+"/"+p.Workload))
	}),
	"ns":        ends(func(p *flow.Peer, is func(string) bool) bool { return is(p.Namespace) }),
	"service":   ends(func(p *flow.Peer, is func(string) bool) bool { return is(p.Service) || is(bare(p.Service)) }),
	"ip":        ends(func(p *flow.Peer, is func(string) bool) bool { return p.IP.IsValid() && is(p.IP.String()) }),
	"port":      ends(func(p *flow.Peer, is func(string) bool) bool { return is(strconv.Itoa(int(p.Port))) }),
	"protocol":  func(e *flow.Event, is func(string) bool) bool { return is(e.Protocol.String()) },
	"verdict":   verdictWords,
	"candidate": func(e *flow.Event, is func(string) bool) bool { return is(e.Candidate.String()) },
	"rule":      ruleWords,
	"reason":    func(e *flow.Event, is func(string) bool) bool { return is(e.Reason) },
	"node":      func(e *flow.Event, is func(string) bool) bool { return is(e.Node) },
	"direction": func(e *flow.Event, is func(string) bool) bool { return is(e.Direction.String()) },
	"type":      func(e *flow.Event, is func(string) bool) bool { return is(string(e.Type)) },
	"observed":  func(e *flow.Event, is func(string) bool) bool { return phrase(string(e.Observed), is) },
	"agreement": func(e *flow.Event, is func(string) bool) bool {
		return phrase(string(e.Agreement), is) || e.Agreement != "" && e.Agreement != flow.Agrees && is("disagrees")
	},
	"culprit": func(e *flow.Event, is func(string) bool) bool { return phrase(e.Culprit, is) },
	"process": func(e *flow.Event, is func(string) bool) bool {
		return e.Owner != nil && (is(e.Owner.Command) || is(e.Owner.Executable) || is(e.Owner.Container) || is(strconv.FormatUint(uint64(e.Owner.PID), 10)))
	},
	"host": func(e *flow.Event, is func(string) bool) bool {
		return e.Request != nil && is(e.Request.Host) || e.Answer != nil && is(e.Answer.Question)
	},
	"path": func(e *flow.Event, is func(string) bool) bool { return e.Request != nil && is(e.Request.Path) },
}

var aliases = map[string]string{
	"src": "from", "source": "from", "dst": "to", "destination": "to", "namespace": "ns", "svc": "service", "proto": "protocol", "policy": "rule",
}

func init() {
	for alias, field := range aliases {
		fields[alias] = fields[field]
	}
}

// phrase is a text of several words, which a term writes with hyphens.
func phrase(s string, is func(string) bool) bool {
	return s != "" && (is(s) || is(strings.ReplaceAll(s, " ", "-")))
}

func term(field, value string) (func(*flow.Event) bool, error) {
	alternatives := strings.Split(value, ",")
	for _, a := range alternatives {
		switch _, err := strconv.ParseUint(a, 10, 16); {
		case field == "port" && err != nil:
			return nil, fmt.Errorf("filter %q: ports are numbers from 0 to 65535", field+"="+value)
		case field == "verdict" && !slices.Contains(verdictNames, strings.ToLower(a)):
			return nil, fmt.Errorf("filter %q: verdicts are %s", field+"="+value, strings.Join(verdictNames, ", "))
		}
	}
	is, err := oneOf(alternatives)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", field+"="+value, err)
	}
	says := fields[field]
	return func(e *flow.Event) bool { return says(e, is) }, nil
}

var verdictNames = []string{"allow", "allowed", "deny", "denied", "contested", "would-deny", "would-allow", "changed", "enforced"}

// oneOf says whether a word is one of the alternatives, whatever its case.
// Only stars need a regular expression: a hundred thousand rows are asked.
func oneOf(alternatives []string) (func(string) bool, error) {
	if !slices.ContainsFunc(alternatives, func(a string) bool { return strings.Contains(a, "*") }) {
		return func(s string) bool {
			for _, a := range alternatives {
				if s != "" && len(a) == len(s) && strings.EqualFold(a, s) {
					return true
				}
			}
			return false
		}, nil
	}
	patterns := make([]string, len(alternatives))
	for i, a := range alternatives {
		patterns[i] = strings.ReplaceAll(regexp.QuoteMeta(a), `\*`, ".*")
	}
	re, err := regexp.Compile("(?i)^(?:" + strings.Join(patterns, "|") + ")$")
	if err != nil {
		return nil, err
	}
	return func(s string) bool { return s != "" && re.MatchString(s) }, nil
}

// called goes through all the ways to call an end.
func called(p *flow.Peer, is func(string) bool) bool {
	if p == nil {
		return false
	}
	if is(p.Pod) || is(p.Workload) || is(bare(p.Workload)) || is(p.Service) || is(bare(p.Service)) || is(p.Name) || is(p.Namespace) {
		return true
	}
	if p.Namespace != "" && (is(p.Namespace+"/"+p.Pod) || is(p.Namespace+"/"+bare(p.Workload)) || is(p.Namespace+"/"+p.Workload)) {
		return true
	}
	return p.IP.IsValid() && is(p.IP.String())
}

// bare is what stands behind the slash: db of sts/db.
func bare(s string) string {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		return s[i+1:]
	}
	return s
}

func ends(says func(*flow.Peer, func(string) bool) bool) saying {
	return func(e *flow.Event, is func(string) bool) bool {
		return e.Source != nil && says(e.Source, is) || e.Destination != nil && says(e.Destination, is) || e.Backend != nil && says(e.Backend, is)
	}
}

func verdictWords(e *flow.Event, is func(string) bool) bool {
	if is(e.Verdict.String()) || e.Enforced && (is("enforced") || is("denied") || is("deny")) {
		return true
	}
	if e.WouldChange() && (is("changed") || e.Candidate == flow.Deny && is("would-deny") || e.Candidate == flow.Allow && is("would-allow")) {
		return true
	}
	return e.Verdict == flow.Allow && is("allowed") || e.Verdict == flow.Deny && is("denied")
}

func ruleWords(e *flow.Event, is func(string) bool) bool {
	says := func(r *flow.Rule) bool { return is(r.Name) || is(r.Namespace+"/"+r.Name) || is(r.String()) }
	if e.Rule != nil && says(e.Rule) || e.CandidateRule != nil && says(e.CandidateRule) {
		return true
	}
	for _, list := range [2][]flow.Rule{e.IsolatedBy, e.CandidateIsolatedBy} {
		for i := range list {
			if says(&list[i]) {
				return true
			}
		}
	}
	return false
}
