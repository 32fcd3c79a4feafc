// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
	"github.com/ebpol/kubectl-ebpol/tui/page"
)

func (d *driver) filter() string {
	return d.m.page().(page.Filterer).Filter() //nolint:forcetypeassert // the test asks pages that can be filtered
}

// TestTabCompletes commands, aliases, names of the cluster, fields and their
// values.
func TestTabCompletes(t *testing.T) {
	for typed, want := range map[string]string{
		":pol":                 "policies",
		":deplo":               "deploy",
		":pod we":              "pod web-7d9f8b6c5-k2x4p",
		":po we":               "po web-7d9f8b6c5-k2x4p",
		":pod shop/rep":        "pod shop/report-29384-x8v2l",
		":ns de":               "ns default",
		":svc d":               "svc db",
		":node node-b":         "node node-b",
		":deploy or":           "deploy orders",
		":sts d":               "sts db",
		":sort ra":             "sort rate",
		":group na":            "group namespace",
		"/por":                 "port=",
		"/to=db verd":          "to=db verdict=",
		"/verdict=wou":         "verdict=would-deny",
		"/verdict!=wou":        "verdict!=would-deny",
		"/verdict=denied,cont": "verdict=denied,contested",
		"/observed=not":        "observed=not-arrived",
		"/to=d":                "to=db",
		"/from=shop/dep":       "from=shop/deploy/cart",
		"/pod=re":              "pod=report-29384-x8v2l",
		"/ns=sh":               "ns=shop",
		"/rule=db":             "rule=db-allow",
	} {
		d := drive(t, fake.New(), 120, 40, on("flows"))
		d.keys(typed[:1]).typed(typed[1:]).keys("tab")
		if got := d.m.prompt.Value(); got != want {
			t.Errorf("%s and tab is %q, want %q", typed, got, want)
		}
		if d.m.prompt.Error != "" && !strings.HasSuffix(want, "=") {
			t.Errorf("%s: %s", want, d.m.prompt.Error)
		}
	}
	for typed, want := range map[string]string{"/mode=dry": "mode=dry-run", "/pol": "policy=", "/policy=or": "policy=orders-allow", "/kind=net": "kind=NetworkPolicy"} {
		d := drive(t, fake.New(), 120, 40, on("policies"))
		d.keys(typed[:1]).typed(typed[1:]).keys("tab")
		if got := d.m.prompt.Value(); got != want {
			t.Errorf("policies: %s and tab is %q, want %q", typed, got, want)
		}
	}
}

// TestACommandFindsWhoIsMeant by the beginning of a name.
func TestACommandFindsWhoIsMeant(t *testing.T) {
	for _, c := range []struct{ typed, filter, says string }{
		{"pod web-7d9f8b6c5-k2x4p", "pod=web-7d9f8b6c5-k2x4p", ""},
		{"pod web", "pod=shop/web-7d9f8b6c5-k2x4p", ""},
		{"pod WEB", "pod=shop/web-7d9f8b6c5-k2x4p", ""},
		{"pod shop/db", "pod=shop/db-0", ""},
		{"pod web*", "pod=web*", ""},
		{"pod /we.*5432", "we.*5432", ""},
		{"pod shop", "ns=shop", ""},
		{"ns shop", "ns=shop", ""},
		{"ns sh", "ns=shop", ""},
		{"svc db", "service=db", ""},
		{"node node-b", "node=node-b", ""},
		{"node node", "node=node*", "2 nodes begin like that: node-a, node-b."},
		{"deploy web", "workload=deploy/web", ""},
		{"deploy shop/web", "workload=shop/deploy/web", ""},
		{"sts d", "workload=shop/sts/db", ""},
		{"cronjob report", "workload=cronjob/report", ""},
		{"pod wbe-7d9f8b6c5-k2x4p", "", "No pod that was seen is called wbe-7d9f8b6c5-k2x4p. Did you mean web-7d9f8b6c5-k2x4p?"},
		{"sts zzzzzzzz", "", "No StatefulSet that was seen is called zzzzzzzz. Seen so far: shop/db"},
	} {
		d := drive(t, fake.New(), 160, 40, on("top"))
		d.keys(":").typed(c.typed).keys("enter")
		if got := d.filter(); got != c.filter {
			t.Errorf(":%s filters by %q, want %q:\n%s", c.typed, got, c.filter, d.text())
		}
		if c.says != "" {
			d.shows(c.says)
		}
		if c.filter != "" && !strings.Contains(c.typed, "/we") {
			d.hides("Nothing matches")
		}
	}
}

// TestAFieldThatMeansNothingIsRefused, with the fields that do mean something.
func TestAFieldThatMeansNothingIsRefused(t *testing.T) {
	for _, c := range []struct{ page, typed, says string }{
		{"policies", "port=5432", `policies have no port; their fields are ns, policy, mode, kind, from`},
		{"policies", "-l app=db", "policies have no labels of pods here"},
		{"policies", "colour=red", `policies have no field "colour"`},
		{"nodes", "verdict=denied", "nodes have no verdict; their fields are node, probe, hook, kernel"},
		{"nodes", "-l app=db", "nodes have no labels"},
		{"drops", "observed=answered", "drops have no observed; their fields are"},
	} {
		d := drive(t, fake.New(), 200, 40, on(c.page))
		before := d.text()
		d.keys("/").typed(c.typed)
		d.shows(c.says)
		d.keys("enter")
		if d.m.prompt == nil {
			t.Errorf("%s: %q was taken", c.page, c.typed)
		}
		d.keys("esc")
		if got := d.text(); got != before {
			t.Errorf("%s: esc didn't bring the rows back:\n%s", c.page, got)
		}
	}
}

// TestPoliciesAndNodesAreFilteredByTheirFields, words and their opposites.
func TestPoliciesAndNodesAreFilteredByTheirFields(t *testing.T) {
	for _, c := range []struct {
		page, typed string
		want        int
	}{
		{"policies", "ns=shop", 6},
		{"policies", "ns!=shop", 0},
		{"policies", "mode=dry-run", 1},
		{"policies", "mode=dry-run,off", 2},
		{"policies", "policy=orders*", 2},
		{"policies", "policy=shop/l7", 1},
		{"policies", "orders mode=current", 1},
		{"policies", "!orders", 4},
		{"policies", "kind=CiliumNetworkPolicy", 1},
		{"policies", "from=db.yaml", 1},
		{"nodes", "node=node-b", 1},
		{"nodes", "node-[ab]", 2},
		{"nodes", "!node-a", 1},
		{"nodes", "node!=node-a", 1},
	} {
		d := drive(t, fake.New(), 120, 40, on(c.page))
		d.keys("/").typed(c.typed)
		if d.m.prompt.Error != "" {
			t.Errorf("%s: %q: %s", c.page, c.typed, d.m.prompt.Error)
		}
		d.keys("enter")
		if _, total := d.m.page().(page.Counter).Position(); total != c.want { //nolint:forcetypeassert // a list
			t.Errorf("%s: %q leaves %d rows, want %d", c.page, c.typed, total, c.want)
		}
	}
}

// TestASortKeepsTheCursorsRow, however far away it comes to be.
func TestASortKeepsTheCursorsRow(t *testing.T) {
	w := fake.Many(500)
	d := drive(t, w, 120, 24, on("connections"))
	w.Add(&store.FlowRow{ID: store.FlowID{Node: "node-a", ID: 1_000_000}, Event: flow.Event{Verdict: flow.Deny, Source: &flow.Peer{Name: "newcomer"}}})
	d.tick()
	d.keys("g", "down", "up") // chosen, not just the first
	for _, k := range []string{"I", "I", "S", "S", "V", "I"} {
		d.keys(k)
		d.tick()
		for l := range strings.SplitSeq(d.text(), "\n") {
			if strings.HasPrefix(l, "▸") && !strings.Contains(l, "newcomer") {
				t.Errorf("after %s the cursor is on another row:\n%s", k, d.text())
			}
		}
		if !strings.Contains(d.text(), "▸") {
			t.Errorf("after %s there is no cursor:\n%s", k, d.text())
		}
	}
}

// TestWhyAFilterIsRefusedIsReadable in full, in a window of the usual size.
func TestWhyAFilterIsRefusedIsReadable(t *testing.T) {
	d := drive(t, fake.New(), 80, 24, on("policies"))
	d.keys("/").typed("port=5432")
	said := strings.Join(strings.Fields(d.text()), " ")
	if want := `policies have no port; their fields are ns, policy, mode, kind, from. The pages of flows know it (key 2)`; !strings.Contains(said, want) {
		t.Errorf("the screen doesn't say %q:\n%s", want, d.text())
	}
	d.shows("/port=5432", "esc cancel")
	d.fits(80, 24)
	d.size(40, 10)
	d.fits(40, 10)
	d.shows("/port=5432")
}

// TestTabCompletesLabels: keys, and the values that pods have for them.
func TestTabCompletesLabels(t *testing.T) {
	of := func(_, pod string) map[string]string { return map[string]string{"app": pod} }
	labels := func() []string {
		return []string{"app=db", "app=web", "app.kubernetes.io/name=web", "tier=backend", "tier=", "x=\u202eevil", "y=a b"}
	}
	for typed, want := range map[string]string{
		"-l ap":                   "-l app=",
		"-l ti":                   "-l tier=",
		"-l !ti":                  "-l !tier",
		"-l app=w":                "-l app=web",
		"-l app==w":               "-l app==web",
		"-l app!=d":               "-l app!=db",
		"-l app.":                 "-l app.kubernetes.io/name=",
		"-l tier=backend,app=d":   "-l tier=backend,app=db",
		"-l app in (w":            "-l app in (web",
		"-l app in (web, d":       "-l app in (web, db",
		"-l tier=x,app notin (we": "-l tier=x,app notin (web",
		"-l app in (web),ti":      "-l app in (web),tier=",
		"-l x=":                   "-l x=",
		"-l y":                    "-l y",
		"-l (":                    "-l (",
		"-l":                      "-l",
	} {
		d := drive(t, fake.New(), 120, 40, func(o *Options) {
			o.StartPage, o.PodLabels = "flows", labels
			o.Parse = func(s string) (func(*flow.Event) bool, error) { return store.ParseFilter(s, of) }
		})
		d.keys("/").typed(typed).keys("tab")
		if got := d.m.prompt.Value(); got != want {
			t.Errorf("/%s and tab is %q, want %q", typed, got, want)
		}
	}
}
