// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/keys"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

// drafts is an Actions that takes candidates.
type drafts struct {
	Actions
	got    string
	of     PolicyID
	made   []PolicyID // nil: of
	refuse error
}

func (d *drafts) Can(string) string { return "" }

func (d *drafts) Draft(_ context.Context, of PolicyID, yaml []byte) ([]PolicyID, error) {
	d.got, d.of = string(yaml), of
	if d.made == nil {
		return []PolicyID{of}, d.refuse
	}
	return d.made, d.refuse
}

func env(a Actions) *Env {
	return &Env{Theme: style.New(style.Options{}), Keys: keys.Default(), Actions: a, EnforceFor: time.Minute}
}

func TestWhatIsSavedInTheEditorBecomesACandidate(t *testing.T) {
	for _, c := range []struct {
		name, saved string
		editor      error
		refuse      error
		made        []PolicyID
		drafted     bool
		says        string
	}{
		{name: "changed", saved: "new", drafted: true, says: "is in dry-run; the cluster is as it was"},
		{name: "unchanged", saved: "old", says: "Nothing was changed"},
		{name: "emptied", saved: " \n", says: "The text was emptied, so nothing was changed. o takes"},
		{name: "refused", saved: "new", refuse: errors.New("line 3: not a policy"), drafted: true, says: "line 3: not a policy; E opens your text again, saved empty it is forgotten"},
		{name: "several faults", saved: "new", refuse: errors.New("first\nsecond\nthird"), drafted: true, says: "first (and 2 more faults); E opens your text again"},
		{name: "renamed", saved: "new", made: []PolicyID{{flow.NetworkPolicy, "shop", "other"}}, drafted: true, says: "shop/other as edited is in dry-run; shop/db, which has another name, is as it was."},
		{name: "two", saved: "new", made: []PolicyID{{flow.NetworkPolicy, "shop", "db"}, {flow.NetworkPolicy, "shop", "two"}}, drafted: true, says: "shop/db and shop/two as edited are in dry-run; the cluster is as it was."},
		{name: "editor failed", saved: "new", editor: errors.New("exit status 1"), says: "The editor failed, so nothing was changed: exit status 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p.yaml")
			if err := os.WriteFile(file, []byte(c.saved), 0o600); err != nil {
				t.Fatal(err)
			}
			d := &drafts{refuse: c.refuse, made: c.made}
			p := NewPolicy(env(d), &store.PolicyRow{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "db", YAML: "old"})
			eff := p.Take(editedMsg{file, "old", c.editor})
			says := eff.Toast
			if eff.Cmd != nil {
				done, ok := eff.Cmd().(DoneMsg)
				if !ok {
					t.Fatal("no DoneMsg")
				}
				says += done.Good
				if done.Err != nil {
					says += done.Err.Error()
				}
			}
			if (d.got == "new") != c.drafted || !strings.Contains(says, c.says) {
				t.Errorf("drafted %q, says %q", d.got, says)
			}
			if text, again := p.env.refused.Load(p.id); again != (c.refuse != nil) || again && text != c.saved {
				t.Errorf("the next edit begins with %q, %t", text, again)
			}
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Error("the temporary file was left behind")
			}
		})
	}
}

func TestRuleLines(t *testing.T) {
	in := func(i int) store.RuleAt { return store.RuleAt{Direction: flow.Ingress, Index: i} }
	out := func(i int) store.RuleAt { return store.RuleAt{Direction: flow.Egress, Index: i} }
	for _, c := range []struct {
		name, yaml string
		want       map[int]store.RuleAt
	}{
		{"empty", "", map[int]store.RuleAt{}},
		{"not YAML", "\t{", map[int]store.RuleAt{}},
		{"no spec", "kind: NetworkPolicy\n", map[int]store.RuleAt{}},
		{"no types", "spec:\n  podSelector: {}\n", map[int]store.RuleAt{1: in(-1)}},
		{"no types, rules", "spec:\n  ingress:\n  - {}\n  - {}\n", map[int]store.RuleAt{2: in(-1), 3: in(0), 4: in(1)}},
		{"both", "spec:\n  policyTypes: [Ingress,\n    Egress]\n  egress:\n  - ports:\n    - port: 53\n  - {}\n", map[int]store.RuleAt{2: in(-1), 3: out(-1), 5: out(0), 7: out(1)}},
		{"flow style keeps one mark a line", "spec: {ingress: [{}, {}]}\n", map[int]store.RuleAt{1: in(0)}},
		{"rules that are no list", "spec:\n  ingress: 5\n", map[int]store.RuleAt{2: in(-1)}},
	} {
		if got := ruleLines(c.yaml); !maps.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzRuleLines(f *testing.F) {
	f.Add("spec:\n  ingress:\n  - {}\n")
	f.Add("&a [*a, *a]")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u0085") + strings.Count(text, "\u2028") + strings.Count(text, "\u2029") + 1
		for line := range ruleLines(text) {
			if line < 1 || line > lines {
				t.Fatalf("line %d of %d in %q", line, lines, text)
			}
		}
	})
}

func TestTheStoryNamesTheReasonInWords(t *testing.T) {
	two := 2
	db := &flow.Peer{Namespace: "shop", Pod: "db-0", Workload: "sts/db"}
	web := &flow.Peer{Namespace: "shop", Pod: "web-1", Workload: "deploy/web"}
	deny := []flow.Rule{{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "a"}, {Kind: flow.NetworkPolicy, Namespace: "shop", Name: "b"}}
	e := func(change func(*flow.Event)) flow.Event {
		e := flow.Event{Direction: flow.Ingress, Protocol: flow.TCP, Source: web, Destination: db, Verdict: flow.Allow}
		change(&e)
		return e
	}
	for _, c := range []struct {
		event flow.Event
		row   *store.FlowRow
		want  string
	}{
		{e(func(*flow.Event) {}), nil, "Allowed: no policy isolates shop/sts/db for ingress."},
		{e(func(e *flow.Event) {
			e.Rule = &flow.Rule{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "a", Index: &two}
		}), nil, "Allowed by ingress rule 2 of NetworkPolicy shop/a."},
		{e(func(e *flow.Event) { e.Verdict, e.IsolatedBy = flow.Deny, deny }), nil, "Denied: shop/a and shop/b isolate shop/sts/db for ingress, and no rule lets shop/deploy/web in on tcp."},
		{e(func(e *flow.Event) { e.Candidate, e.CandidateIsolatedBy = flow.Deny, deny[:1] }), nil, "Allowed: no policy isolates shop/sts/db for ingress. The candidate would change that to denied: shop/a isolates shop/sts/db for ingress, and no rule lets shop/deploy/web in on tcp."},
		{e(func(e *flow.Event) { e.Enforced, e.Candidate, e.CandidateIsolatedBy = true, flow.Deny, deny[:1] }), nil, "Cut by this session's lease, denied: shop/a isolates shop/sts/db for ingress, and no rule lets shop/deploy/web in on tcp."},
		{e(func(e *flow.Event) { e.Verdict, e.Reason = flow.Contested, "ipBlock matches a pod" }), nil, "Contested: the specification lets implementations differ here: ipBlock matches a pod."},
		{e(func(e *flow.Event) { e.Verdict = flow.NotJudged }), nil, "Not judged: policies don't cover this traffic."},
		{e(func(*flow.Event) {}), &store.FlowRow{Faults: 3, Leased: 3}, "Allowed: no policy isolates shop/sts/db for ingress. This session's lease, which is over, dropped 3 packets of it."},
		{e(func(*flow.Event) {}), &store.FlowRow{Faults: 3}, "Allowed: no policy isolates shop/sts/db for ingress. Policies allow it, yet the kernel dropped 3 of its packets: page 3, drops, says who did."},
	} {
		if got := strings.Join(story(&c.event, c.row), " "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
