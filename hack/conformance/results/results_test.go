// SPDX-License-Identifier: Apache-2.0

package results_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/hack/conformance/results"
)

func TestGinkgo(t *testing.T) {
	got, err := results.Ginkgo([]byte(`[{"SpecReports": [
{"LeafNodeType": "It", "State": "passed", "LeafNodeText": "should allow [Feature:NetworkPolicy]", "ContainerHierarchyTexts": ["[sig-network] Netpol", "UDP"]},
{"LeafNodeType": "It", "State": "failed", "LeafNodeText": "should deny [Feature:NetworkPolicy]", "ContainerHierarchyTexts": ["[sig-network] Netpol"], "Failure": {"Message": "Had 1 wrong\nmore"}, "CapturedGinkgoWriterOutput": "x\nExpected blocked pod connection was instead ALLOWED --- run 'y'\n"},
{"LeafNodeType": "It", "State": "skipped", "LeafNodeText": "over SCTP [Feature:NetworkPolicy]", "ContainerHierarchyTexts": ["[sig-network] Netpol"]},
{"LeafNodeType": "It", "State": "skipped", "LeafNodeText": "nobody asked for it", "ContainerHierarchyTexts": ["[sig-network] Netpol"]},
{"LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"}]}]`))
	want := []results.Said{
		{Name: "Netpol UDP should allow", Outcome: results.Passed},
		{Name: "Netpol should deny", Outcome: results.Failed, Why: "Had 1 wrong", Open: true},
		{Name: "Netpol over SCTP", Outcome: results.Skipped},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %v", got, err)
	}
}

func TestTest2JSON(t *testing.T) {
	got, err := results.Test2JSON([]byte(`{"Action":"run","Test":"TestAll"}
{"Action":"run","Test":"TestAll/A/should_deny"}
{"Action":"output","Test":"TestAll/A/should_deny","Output":"    helper.go:71: it connected\n"}
{"Action":"fail","Test":"TestAll/A/should_deny"}
{"Action":"run","Test":"TestAll/D"}
{"Action":"output","Test":"TestAll/D","Output":"    x_test.go:1: step 1: 1 wrong, of them x/a to y/b TCP 80: expected allowed=false, connected\n"}
{"Action":"fail","Test":"TestAll/D"}
{"Action":"run","Test":"TestAll/E"}
{"Action":"output","Test":"TestAll/E","Output":"    helper.go:71: Expected connection to fail from a/b to 10.0.0.1, but instead it successfully connected.\n"}
{"Action":"fail","Test":"TestAll/E"}
{"Action":"run","Test":"TestAll/B"}
{"Action":"output","Test":"TestAll/B","Output":"    x_test.go:1: denies=true\n"}
{"Action":"pass","Test":"TestAll/B"}
{"Action":"output","Test":"TestAll/C","Output":"    x_test.go:1: no SCTP\n"}
{"Action":"skip","Test":"TestAll/C"}
{"Action":"fail","Test":"TestAll/A"}
{"Action":"fail","Test":"TestAll"}
`))
	denies := true
	want := []results.Said{
		{Name: "A/should deny", Outcome: results.Failed, Why: "it connected"},
		{Name: "D", Outcome: results.Failed, Why: "step 1: 1 wrong, of them x/a to y/b TCP 80: expected allowed=false, connected", Open: true},
		{Name: "E", Outcome: results.Failed, Why: "Expected connection to fail from a/b to 10.0.0.1, but instead it successfully connected.", Open: true},
		{Name: "B", Outcome: results.Passed, Denies: &denies},
		{Name: "C", Outcome: results.Skipped, Why: "no SCTP"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %v", got, err)
	}
}

// A test that fails, one that proves nothing, and one that is listed as open
// and isn't, are problems; all are in the file and come back from it.
func TestProblemsAndFile(t *testing.T) {
	r := &results.Results{Setting: "a cluster.", Tests: []results.Test{
		{Suite: "s", Name: "good", With: results.Passed, Without: results.Failed, Denies: true},
		{Suite: "s", Name: "bad", With: results.Failed, Without: results.Failed, Denies: true, Why: "a reading"},
		{Suite: "s", Name: "empty", With: results.Passed, Without: results.Passed, Denies: true},
		{Suite: "s", Name: "absent", With: results.Passed, Without: results.Absent, Denies: true},
		{Suite: "s", Name: "astray", With: results.Passed, Without: results.Astray, Denies: true},
		{Suite: "s", Name: "listed", With: results.Passed, Without: results.Failed},
		{Suite: "s", Name: "sctp", With: results.Skipped, Without: results.Skipped, Denies: true, Why: "no SCTP"},
	}}
	err := r.Problems()
	for _, name := range []string{"bad", "empty", "absent", "astray", "listed"} {
		if err == nil || !strings.Contains(err.Error(), `"`+name+`"`) {
			t.Errorf("%q is no problem: %v", name, err)
		}
	}
	if strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("more problems than five: %v", err)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	back, err := results.Read(strings.NewReader(b.String()))
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("read back %+v %v", back, err)
	}
	text := back.Markdown()
	for _, want := range []string{"| s | 5 | 1 | 1 | 2 of 4 (1 for another reason) (1 not run) | 0 |", `- s, "bad": a reading`, "- 1 of s: no SCTP."} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
