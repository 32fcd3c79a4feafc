// SPDX-License-Identifier: Apache-2.0

package confidence_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/confidence"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/traffic"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const strict = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: strict, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
  - ports: [{port: 9090}]
`

// report is of a pod db in a namespace with a quiet replica and one that no
// probe watches; strict lets web in and would deny who.
func report(t *testing.T, who string) *confidence.Report {
	t.Helper()
	l := traffic.New()
	w := &identity.World{Pods: map[string]*identity.Pod{}}
	for i, name := range []string{"db-0", "db-1", "db-2"} {
		w.Pods["shop/"+name] = &identity.Pod{Namespace: "shop", Name: name, Workload: "sts/db", Node: "n1", IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}}
	}
	l.Know(w)
	index := 0
	rule := &flow.Rule{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "strict", Index: &index}
	event := func(from string, candidate flow.Verdict) *flow.Event {
		e := &flow.Event{
			Type: flow.CloseEvent, Time: start, Direction: flow.Ingress, Protocol: flow.TCP, Verdict: flow.Allow, Candidate: candidate,
			Source:      &flow.Peer{Namespace: "shop", Pod: from, Workload: "deploy/" + from, IP: netip.MustParseAddr("10.0.1.1")},
			Destination: &flow.Peer{Namespace: "shop", Pod: "db-0", Workload: "sts/db", IP: netip.MustParseAddr("10.0.0.0"), Port: 5432},
		}
		if candidate == flow.Allow {
			e.CandidateRule = rule
		} else {
			whole := rule
			e.CandidateIsolatedBy = []flow.Rule{{Kind: whole.Kind, Namespace: whole.Namespace, Name: whole.Name}}
		}
		return e
	}
	l.Event(event("web", flow.Allow))
	if who != "" {
		l.Event(event(who, flow.Deny))
		l.Event(event(who, flow.Deny))
		open := event(who, flow.Deny)
		open.Type = flow.FlowEvent
		l.Open([]*store.FlowRow{{Event: *open, First: start, Last: start.Add(time.Minute)}})
	}
	o, err := policy.Parse([]byte(strict), "strict.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return confidence.Sum(confidence.Input{
		Log: l, Policies: o.Policies, Source: "a test", Time: start.Add(time.Hour), Warnings: []string{"a warning"}, NotEvaluated: []string{"CiliumNetworkPolicy shop/l7"},
		Coverage: &traffic.Coverage{
			Began: start, Ended: start.Add(10 * time.Minute), Nodes: []string{"n1"}, Down: []string{"n2"}, Watched: []string{"shop/db-0", "shop/db-1"}, Lost: 3,
			CronJobs: []traffic.CronJob{{Namespace: "shop", Name: "backup", Schedule: "0 3 * * *"}, {Namespace: "shop", Name: "off", Suspended: true}, {Namespace: "other", Name: "x"}},
		},
	})
}

func write(t *testing.T, r *confidence.Report, format string) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b, format); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWhatIsInDoubtIsSaid(t *testing.T) {
	r := report(t, "intruder")
	if r.Flows != 4 || r.WouldDeny != 3 || r.Cut != 1 || r.Changed() != 3 || r.Pods != 1 || r.Selected != 3 || len(r.Changes) != 1 || r.Changes[0].Flows != 3 {
		t.Errorf("%+v", r)
	}
	text := write(t, r, "text")
	for _, want := range []string{
		"would-deny ingress TCP shop/deploy/intruder -> shop/sts/db:5432: now allow by no policy, then deny by default deny of shop/strict\n  3 flows, 1 of them open at the end, ",
		"watched 1 pod on 1 node for 10m0s: 4 flows judged, 3 would be denied", "shop/strict decided 4 flows, 3 of them newly denied",
		"shop/strict: no flow came for ingress rule 1 (line 8)", "open now: 1 connection would be cut", "incomplete: no probe runs on n2", "incomplete: 3 samples were lost",
		"not watched: 1 of the 3 pods that the policies are for (shop/db-2)", "not seen: no traffic of 1 pod (shop/db-1)", "not seen: 2 of 3 pods of shop/sts/db",
		"CronJobs that did not run: shop/backup (0 3 * * *)\n", "not evaluated: CiliumNetworkPolicy shop/l7", "note: a warning", "not seen either: ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}

// JUnit's numbers must be those of its elements, or readers refuse it.
func TestJUnit(t *testing.T) {
	for who, want := range map[string][3]int{"": {2, 0, 1}, "intruder": {2, 1, 1}, "<a&\"b>\x00\x1b]": {2, 1, 1}} {
		text := write(t, report(t, who), "junit")
		var got struct {
			XMLName  xml.Name `xml:"testsuites"`
			Tests    int      `xml:"tests,attr"`
			Failures int      `xml:"failures,attr"`
			Skipped  int      `xml:"skipped,attr"`
			Suites   []struct {
				Tests int `xml:"tests,attr"`
				Cases []struct {
					Name    string    `xml:"name,attr"`
					Class   string    `xml:"classname,attr"`
					Failure *struct{} `xml:"failure"`
					Skipped *struct{} `xml:"skipped"`
				} `xml:"testcase"`
				Out string `xml:"system-out"`
			} `xml:"testsuite"`
		}
		if err := xml.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%q: %v\n%s", who, err, text)
		}
		var have [3]int
		for _, c := range got.Suites[0].Cases {
			have[0]++
			if c.Failure != nil {
				have[1]++
			}
			if c.Skipped != nil {
				have[2]++
			}
			if c.Name == "" || c.Class == "" {
				t.Errorf("%q: a case without name: %+v", who, c)
			}
		}
		if have != want || [3]int{got.Tests, got.Failures, got.Skipped} != want || got.Suites[0].Tests != want[0] {
			t.Errorf("%q: counts %v and %v, want %v:\n%s", who, have, got, want, text)
		}
		if !strings.Contains(got.Suites[0].Out, "\nnot seen either: ") {
			t.Errorf("%q: system-out %q", who, got.Suites[0].Out)
		}
	}
}

func TestMarkdownCannotBeEscapedFrom(t *testing.T) {
	text := write(t, report(t, "x|y<img src=a>\n@everyone `z`"), "markdown")
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| would-deny") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 8 {
			t.Errorf("columns: %s", line)
		}
	}
	if strings.Contains(text, "<img") || strings.Contains(text, "@everyone") || !strings.Contains(text, "### Network policy dry-run: 3 flows would be denied") {
		t.Error(text)
	}
	if text := write(t, report(t, ""), "markdown"); !strings.Contains(text, "nothing would change") {
		t.Error(text)
	}
}

func TestJSONReadsBack(t *testing.T) {
	var got confidence.Report
	if err := json.Unmarshal([]byte(write(t, report(t, "intruder"), "json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != "summary" || got.Cut != 1 || len(got.CronJobs) != 1 || got.Changes[0].Candidate != "deny" {
		t.Errorf("%+v", got)
	}
}

func TestFormats(t *testing.T) {
	for _, f := range confidence.Formats {
		if write(t, report(t, "intruder"), f) == "" {
			t.Errorf("%s: nothing", f)
		}
	}
	if err := report(t, "").Write(&strings.Builder{}, "pdf"); err == nil || !strings.Contains(err.Error(), fmt.Sprint(confidence.Formats[0])) {
		t.Errorf("got %v", err)
	}
}
