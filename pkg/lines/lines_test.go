// SPDX-License-Identifier: Apache-2.0

package lines

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

func example() *flow.Event {
	two := 2
	return &flow.Event{
		Type: flow.FlowEvent, Time: time.Date(2026, 1, 1, 12, 0, 0, 123456789, time.UTC), Node: "n1", Direction: flow.Ingress, Subject: "destination", Protocol: flow.TCP,
		Source:      &flow.Peer{Namespace: "shop", Pod: "web-1", Workload: "deploy/web", IP: netip.MustParseAddr("10.0.0.1"), Port: 40000},
		Destination: &flow.Peer{Namespace: "shop", Pod: "db-0", Workload: "sts/db", IP: netip.MustParseAddr("fd00::2"), Port: 5432},
		Verdict:     flow.Allow, Candidate: flow.Deny, Rule: &flow.Rule{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "db", Index: &two},
		CandidateIsolatedBy: []flow.Rule{{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "new"}},
	}
}

func TestJSONIsTheDocumentedSchema(t *testing.T) {
	var b strings.Builder
	if err := New(&b, JSON).Print(example()); err != nil {
		t.Fatal(err)
	}
	const want = `{"type":"flow","time":"2026-01-01T12:00:00.123456789Z","node":"n1","direction":"ingress","subject":"destination","protocol":"TCP",` +
		`"source":{"namespace":"shop","pod":"web-1","workload":"deploy/web","ip":"10.0.0.1","port":40000},` +
		`"destination":{"namespace":"shop","pod":"db-0","workload":"sts/db","ip":"fd00::2","port":5432},` +
		`"verdict":"allow","candidate":"deny","rule":{"kind":"NetworkPolicy","namespace":"shop","name":"db","index":2},` +
		`"candidateIsolatedBy":[{"kind":"NetworkPolicy","namespace":"shop","name":"new"}]}` + "\n"
	if b.String() != want {
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
	var any map[string]any
	if err := json.Unmarshal([]byte(b.String()), &any); err != nil {
		t.Error(err)
	}
}

// An echo has a number and no port.
func TestEchoHasNoPort(t *testing.T) {
	e := example()
	e.Protocol = flow.ICMP
	for _, f := range []Format{Short, JSON} {
		var b strings.Builder
		if err := New(&b, f).Print(e); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "40000") || strings.Contains(b.String(), "5432") {
			t.Errorf("a port: %s", b.String())
		}
	}
	if e.Source.Port != 40000 {
		t.Error("the event itself was changed")
	}
}

func TestLine(t *testing.T) {
	got := string(appendLine(nil, example(), false))
	for _, want := range []string{"would-deny", "ingress TCP", "shop/web-1:40000", "-> shop/db-0:5432", "now allow by shop/db rule 2, then deny by default deny of shop/new"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	wide := string(appendLine(nil, example(), true))
	if !strings.HasPrefix(wide, got) || !strings.Contains(wide, "to=[fd00::2]:5432") || !strings.Contains(wide, "node=n1") {
		t.Errorf("wide %q", wide)
	}
}

func TestLinesCannotMoveTheCursor(t *testing.T) {
	e := example()
	e.Source.Pod = "x\x1b[2J\r\nfake"
	e.Type, e.Reason, e.Note = flow.DropEvent, "A\x07", "b\u009b"
	got := string(appendLine(nil, e, true))
	if strings.ContainsAny(got, "\x1b\r\n\x07\u009b") {
		t.Errorf("%q", got)
	}
	for _, p := range []*flow.Peer{nil, {}, {IP: netip.MustParseAddr("10.0.0.9")}, {Service: "a/b", Port: 53}, {Name: "n1"}} {
		if Name(p) == "" {
			t.Errorf("%+v has no name", p)
		}
	}
}

func TestWords(t *testing.T) {
	for want, e := range map[string]flow.Event{
		"allowed":     {Type: flow.FlowEvent, Verdict: flow.Allow, Candidate: flow.Allow},
		"would-deny":  {Type: flow.FlowEvent, Verdict: flow.Allow, Candidate: flow.Deny},
		"would-allow": {Type: flow.FlowEvent, Verdict: flow.Deny, Candidate: flow.Allow},
		"denied":      {Type: flow.FlowEvent, Verdict: flow.Deny, Candidate: flow.Deny},
		"enforced":    {Type: flow.FlowEvent, Verdict: flow.Allow, Candidate: flow.Deny, Enforced: true},
		"contested":   {Type: flow.FlowEvent, Verdict: flow.Contested},
		"dropped":     {Type: flow.DropEvent, Verdict: flow.Allow},
		"-":           {Type: flow.FlowEvent},
	} {
		if got := Word(&e); got != want {
			t.Errorf("%+v: %q, want %q", e, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 1 << 30: "1.0 GiB", 1<<64 - 1: "16.0 EiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

func outcomeExample() *flow.Event {
	e := example()
	e.Type, e.Verdict, e.Candidate, e.CandidateIsolatedBy = flow.OutcomeEvent, flow.Deny, flow.NotJudged, nil
	e.Rule, e.IsolatedBy = nil, []flow.Rule{{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "deny"}}
	e.Observed, e.Agreement = flow.Answered, flow.DeniedButDelivered
	e.Owner = &flow.Owner{PID: 812, Command: "curl", Executable: "/usr/bin/curl", Container: strings.Repeat("ab", 32)}
	e.Request = &flow.Request{Kind: "http", Host: "db", Method: "GET", Path: "/cart"}
	e.AnswerSeconds, e.FirstByteSeconds, e.Retransmits = 0.001, 0.0025, 2
	e.Note = "not enforced: shop/deny in effect for 3s"
	return e
}

func TestOutcomesInJSONAreTheDocumentedSchema(t *testing.T) {
	var b strings.Builder
	if err := New(&b, JSON).Print(outcomeExample()); err != nil {
		t.Fatal(err)
	}
	const want = `"verdict":"deny","isolatedBy":[{"kind":"NetworkPolicy","namespace":"shop","name":"deny"}],` +
		`"observed":"answered","agreement":"denied by policy but delivered",` +
		`"owner":{"pid":812,"command":"curl","executable":"/usr/bin/curl","container":"abababababababababababababababababababababababababababababababab"},` +
		`"request":{"kind":"http","host":"db","method":"GET","path":"/cart"},"answerSeconds":0.001,"firstByteSeconds":0.0025,"retransmits":2,` +
		`"note":"not enforced: shop/deny in effect for 3s"}` + "\n"
	if !strings.HasSuffix(b.String(), want) {
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
}

func TestOutcomeLines(t *testing.T) {
	print := func(f Format, e *flow.Event) string {
		var b strings.Builder
		if err := New(&b, f).Print(e); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	e := outcomeExample()
	if got := print(Short, e); !strings.Contains(got, "answered: denied by policy but delivered; not enforced: shop/deny") {
		t.Errorf("short %q", got)
	}
	wide := print(Wide, e)
	for _, want := range []string{"owner=curl (pid 812, /usr/bin/curl, container abababababab)", "request=GET db/cart", "answered-after=1ms", "first-byte-after=2.5ms", "retransmits=2"} {
		if !strings.Contains(wide, want) {
			t.Errorf("%q lacks %q", wide, want)
		}
	}
	e.Agreement = flow.Agrees
	if print(Short, e) != "" || print(Wide, e) == "" {
		t.Error("what is as expected is for the wide form only")
	}
	e.Type, e.Answer = flow.DNSEvent, &flow.Answer{Question: "db.example", Type: "AAAA", Code: "NXDOMAIN"}
	if got := print(Short, e); !strings.Contains(got, "AAAA db.example: NXDOMAIN") {
		t.Errorf("dns %q", got)
	}
}
