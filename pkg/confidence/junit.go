// SPDX-License-Identifier: Apache-2.0

package confidence

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/lines"
)

// The parts of JUnit's XML that every reader of it knows.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
		Out        junitText       `xml:"system-out"`
	}
	junitText struct {
		Text string `xml:",cdata"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Skipped *junitMessage `xml:"skipped"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report as JUnit XML: each change is a test that fails,
// each policy that changes nothing one that passes, and each rule that no flow
// came for one that was skipped.
func (r *Report) WriteJUnit(w io.Writer) error {
	s := junitSuite{Name: "network policy dry-run", Time: fmt.Sprintf("%.3f", r.Seconds)}
	if !r.Began.IsZero() {
		s.Timestamp = r.Began.UTC().Format(time.RFC3339)
	}
	for i := range r.Changes {
		c := &r.Changes[i]
		s.Cases = append(s.Cases, junitCase{
			Class: clean(c.decider()), Name: clean(fmt.Sprintf("%s %s %s", c.Direction, c.Protocol, c.ends())), Time: "0",
			Failure: &junitMessage{Message: clean(lines.Why(c.event())), Type: c.word(), Text: clean(c.times())},
		})
		s.Failures++
	}
	for i := range r.Policies {
		p := &r.Policies[i]
		class := clean(p.Kind + " " + p.Key())
		if !p.Removed && p.WouldDeny == 0 {
			s.Cases = append(s.Cases, junitCase{Class: class, Name: "denies nothing that is allowed now", Time: "0"})
		}
		for _, u := range p.Unused() {
			s.Cases = append(s.Cases, junitCase{
				Class: class, Name: rules([]Rule{u}), Time: "0", Skipped: &junitMessage{Message: "no flow came for it in " + r.window()},
			})
			s.Skipped++
		}
	}
	s.Tests = len(s.Cases)
	s.Properties = []junitProperty{
		{"source", clean(r.Source)},
		{"seconds", fmt.Sprintf("%.3f", r.Seconds)},
		{"nodes", fmt.Sprint(r.Nodes)},
		{"pods", fmt.Sprint(r.Pods)},
		{"flows", fmt.Sprint(r.Flows)},
		{"wouldDeny", fmt.Sprint(r.WouldDeny)},
		{"wouldAllow", fmt.Sprint(r.WouldAllow)},
		{"cut", fmt.Sprint(r.Cut)},
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		return err
	}
	s.Out.Text = text.String()
	out := junitSuites{Name: "kubectl ebpol", Tests: s.Tests, Failures: s.Failures, Skipped: s.Skipped, Time: s.Time, Suites: []junitSuite{s}}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// decider is the policy that makes the difference.
func (c *Change) decider() string {
	switch {
	case c.CandidateRule != nil:
		return ruleName(string(c.CandidateRule.Kind), c.CandidateRule.Namespace, c.CandidateRule.Name)
	case len(c.CandidateIsolatedBy) > 0:
		r := c.CandidateIsolatedBy[0]
		return ruleName(string(r.Kind), r.Namespace, r.Name)
	case c.Rule != nil:
		return ruleName(string(c.Rule.Kind), c.Rule.Namespace, c.Rule.Name)
	case len(c.IsolatedBy) > 0:
		r := c.IsolatedBy[0]
		return ruleName(string(r.Kind), r.Namespace, r.Name)
	}
	return "no policy"
}

func ruleName(kind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return kind + " " + name
}
