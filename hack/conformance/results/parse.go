// SPDX-License-Identifier: Apache-2.0

package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Said is what one run of a suite said of one test.
type Said struct {
	Name    string
	Outcome Outcome
	Why     string
	Denies  *bool // nil: the suite doesn't say
	Open    bool  // a connection was made that the test wants denied
}

// opened are the words by which each suite says that a connection was made
// which should have been denied: upstream's, network-policy-api's, and ours
// for cyclonus' cases.
var opened = regexp.MustCompile(`Expected blocked pod connection was instead ALLOWED|Expected connection to fail .* but instead it successfully connected|: expected allowed=false, connected`)

// focus is what the tests of a policy engine have in their names.
const focus = "[Feature:NetworkPolicy]"

// tags are words in brackets, which say nothing of what a test asks for.
var tags = regexp.MustCompile(`\[[^]]*\]`)

// Ginkgo reads a Ginkgo JSON report. Tests that nobody asked for are left out.
func Ginkgo(data []byte) ([]Said, error) {
	var reports []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeText            string
			LeafNodeType            string
			State                   string
			Failure                 struct{ Message string }

			CapturedGinkgoWriterOutput string
		}
	}
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, err
	}
	var out []Said
	for _, r := range reports {
		for _, s := range r.SpecReports {
			if s.LeafNodeType != "It" {
				continue
			}
			full := strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
			said := Said{Name: strings.Join(strings.Fields(tags.ReplaceAllString(full, "")), " "), Outcome: Failed, Why: first(s.Failure.Message)}
			said.Open = opened.MatchString(s.CapturedGinkgoWriterOutput)
			switch s.State {
			case "passed":
				said.Outcome, said.Why = Passed, ""
			case "interrupted", "aborted":
				continue // by whoever ended the run
			case "skipped", "pending":
				if !strings.Contains(full, focus) {
					continue
				}
				said.Outcome = Skipped
			}
			out = append(out, said)
		}
	}
	return out, nil
}

// Test2JSON reads what go tool test2json prints. Only tests without subtests
// count.
func Test2JSON(data []byte) ([]Said, error) {
	var order []string
	said := map[string]*Said{}
	parents := map[string]bool{}
	in := json.NewDecoder(bytes.NewReader(data))
	for {
		var e struct{ Action, Test, Output string }
		switch err := in.Decode(&e); {
		case errors.Is(err, io.EOF):
			var out []Said
			for _, name := range order {
				if s := said[name]; !parents[name] && s.Outcome != "" {
					out = append(out, *s)
				}
			}
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("test2json: %w", err)
		case e.Test == "":
			continue
		}
		s := said[e.Test]
		if s == nil {
			name := e.Test
			if i := strings.IndexByte(name, '/'); i >= 0 {
				name = name[i+1:]
			}
			s = &Said{Name: strings.ReplaceAll(name, "_", " ")}
			said[e.Test], order = s, append(order, e.Test)
			for up := e.Test; strings.Contains(up, "/"); {
				up = up[:strings.LastIndexByte(up, '/')]
				parents[up] = true
			}
		}
		s.add(e.Action, e.Output)
	}
}

func (s *Said) add(action, output string) {
	switch action {
	case "pass":
		s.Outcome, s.Why = Passed, ""
	case "fail":
		s.Outcome = Failed
	case "skip":
		s.Outcome = Skipped
	case "output":
		s.Open = s.Open || opened.MatchString(output)
		_, text, found := strings.Cut(strings.TrimSpace(output), ".go:")
		if !found {
			return
		}
		if _, text, found = strings.Cut(text, ": "); !found {
			return
		}
		if value, is := strings.CutPrefix(text, "denies="); is {
			denies := value == "true"
			s.Denies = &denies
			return
		}
		s.Why = text
	}
}

func first(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
