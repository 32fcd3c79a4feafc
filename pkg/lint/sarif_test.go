// SPDX-License-Identifier: Apache-2.0

package lint_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/lint"
)

// What SARIF 2.1.0 and code scanning require: a version, a tool with rules,
// results that name one of them, a message, a level, and locations whose URI is
// one and whose lines begin at 1.
func TestSARIFHoldsWhatReadersRequire(t *testing.T) {
	var b strings.Builder
	findings := []lint.Finding{
		{ID: "dns-hole", Severity: lint.Warning, Kind: "NetworkPolicy", Policy: "shop/a", File: "my policies/a b.yaml", Line: 3, Reason: "r", Fix: "f", Patch: "- to: []"},
		{ID: "invalid", Severity: lint.Error, File: "standard input", Reason: "r", Fix: "f"},
		{ID: "typo", Severity: lint.Note, Kind: "NetworkPolicy", Policy: "shop/c", Reason: "r", Fix: "f"},
		{ID: "typo", Severity: lint.Note, File: "/abs/x.yaml", Line: 1, Reason: "r", Fix: "f"},
		{ID: "typo", Severity: lint.Note, File: "https://127.0.0.1/x.yaml", Line: 1, Reason: "r", Fix: "f"},
	}
	if err := lint.WriteSARIF(&b, findings, "v1"); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Schema  string `json:"$schema"`
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version string
					Rules         []struct {
						ID               string
						ShortDescription struct{ Text string }
					}
				}
			}
			Results []struct {
				RuleID    string
				RuleIndex *int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation *struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine int }
					}
					LogicalLocations []struct{ FullyQualifiedName string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(b.String()), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || !strings.Contains(log.Schema, "sarif") || len(log.Runs) != 1 || len(log.Runs[0].Results) != len(findings) {
		t.Fatalf("%+v", log)
	}
	run := log.Runs[0]
	var ids []string
	for _, r := range run.Tool.Driver.Rules {
		ids = append(ids, r.ID)
		if r.ShortDescription.Text == "" {
			t.Errorf("rule %s says nothing", r.ID)
		}
	}
	if run.Tool.Driver.Name == "" || run.Tool.Driver.Version != "v1" || len(ids) != len(lint.Checks) {
		t.Errorf("driver %+v", run.Tool.Driver)
	}
	uris := []string{"my%20policies/a%20b.yaml", "standard%20input", "", "file:///abs/x.yaml", "https://127.0.0.1/x.yaml"}
	for i, r := range run.Results {
		if !slices.Contains(ids, r.RuleID) || r.RuleIndex != nil && ids[*r.RuleIndex] != r.RuleID || !slices.Contains([]string{"none", "note", "warning", "error"}, r.Level) || r.Message.Text == "" || len(r.Locations) != 1 {
			t.Errorf("result %+v", r)
			continue
		}
		p := r.Locations[0].PhysicalLocation
		if (p == nil) != (uris[i] == "") {
			t.Errorf("result %d: location %+v", i, p)
		}
		if p == nil {
			continue
		}
		if _, err := url.Parse(p.ArtifactLocation.URI); err != nil || p.ArtifactLocation.URI != uris[i] || p.Region != nil && p.Region.StartLine < 1 {
			t.Errorf("result %d: %q %v %+v", i, p.ArtifactLocation.URI, err, p.Region)
		}
	}
}
