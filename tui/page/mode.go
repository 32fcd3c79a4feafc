// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/part"
	"github.com/ebpol/kubectl-ebpol/tui/style"
)

func rank(r *store.PolicyRow) int {
	switch r.Mode() {
	case store.ModeEnforced:
		return 3
	case store.ModeDryRun, store.ModeLeftOut:
		return 2
	case store.ModeCurrent:
		return 1
	}
	return 0
}

// mode is the policy's mode as people read it.
func (e *Env) mode(r *store.PolicyRow) style.Word {
	th := e.Theme
	mode := e.modeNow(r)
	w := style.Word{Symbol: th.Off, Text: mode, Paint: th.Dim}
	switch mode {
	case store.ModeNotJudged:
		w.Symbol = th.Unsure
	case store.ModeEnforced:
		w.Symbol, w.Paint = th.No, th.Denied
	case store.ModeCurrent:
		w.Symbol, w.Paint = th.On, th.Text
	case store.ModeLeftOut, store.ModeDryRun:
		w.Symbol, w.Paint = th.Would, th.WouldDeny
	}
	return w
}

// modeNow: without a candidate set nothing is left out of it.
func (e *Env) modeNow(r *store.PolicyRow) string {
	if m := r.Mode(); m != store.ModeLeftOut || e.Health.HasCandidate {
		return m
	}
	return store.ModeCurrent
}

// modeKey handles the keys that change a policy's mode; the list and the
// policy's own page share them.
func (e *Env) modeKey(msg tea.KeyPressMsg, r *store.PolicyRow) (Effect, bool) {
	k := e.Keys
	switch {
	case key.Matches(msg, k.Toggle):
		switch {
		case r.Enforced:
			return e.setMode(r, "off"), true
		case r.Candidate:
			return e.wantEnforce(r), true
		}
		return e.setMode(r, "dry-run"), true
	case key.Matches(msg, k.Off):
		return e.setMode(r, "off"), true
	case key.Matches(msg, k.DryRun):
		return e.setMode(r, "dry-run"), true
	case key.Matches(msg, k.Enforce):
		return e.wantEnforce(r), true
	}
	return Effect{}, false
}

// modeFooter is the mode's keys that would do something to this policy now.
func (e *Env) modeFooter(r *store.PolicyRow) []key.Binding {
	if r.NotEvaluated != "" || e.Actions.Can("mode") != "" {
		return nil
	}
	k := e.Keys
	named := func(desc string, keys ...key.Binding) key.Binding {
		var names, all []string
		for _, b := range keys {
			names, all = append(names, b.Help().Key), append(all, b.Keys()...)
		}
		return key.NewBinding(key.WithKeys(all...), key.WithHelp(strings.Join(names, "/"), desc))
	}
	enforce := "enforce" + e.Theme.Ellipsis
	var out []key.Binding
	switch mode := e.modeNow(r); {
	case r.Enforced:
		out = []key.Binding{named("stop enforcing", k.Toggle, k.Off), named("dry-run only", k.DryRun), named("extend"+e.Theme.Ellipsis, k.Enforce)}
	case mode == store.ModeDryRun:
		out = []key.Binding{named(enforce, k.Toggle, k.Enforce), named("off", k.Off)}
	case mode == store.ModeLeftOut:
		out = []key.Binding{named("put back", k.Toggle, k.DryRun)}
	case mode == store.ModeCurrent && r.Replaces():
		out = []key.Binding{named("try the file's text", k.Toggle, k.DryRun)}
	case mode == store.ModeCurrent && r.Candidate:
		out = []key.Binding{named(enforce, k.Toggle, k.Enforce), named("leave out", k.Off)}
	case mode == store.ModeCurrent:
		out = []key.Binding{named(enforce, k.Enforce), named("leave out", k.Off)}
	default:
		out = []key.Binding{named("dry-run", k.Toggle, k.DryRun), named(enforce, k.Enforce)}
	}
	if e.Actions.Can("enforce") == "" {
		return out
	}
	return slices.DeleteFunc(out, func(b key.Binding) bool { return b.Help().Desc == enforce })
}

func (e *Env) setMode(r *store.PolicyRow, mode string) Effect {
	name := part.Clean(slash(r.Namespace, r.Name))
	if r.NotEvaluated != "" {
		return Effect{Toast: name + " can't be judged: " + part.Clean(r.NotEvaluated), Bad: true}
	}
	if why := e.Actions.Can("mode"); why != "" {
		return Effect{Toast: part.Clean(why), Bad: true}
	}
	good := name + " is in dry-run: flows it would change are marked " + e.Theme.Would + ", nothing is cut."
	if mode == "off" {
		good = name + " is off."
	}
	return Effect{Cmd: act(good, func(ctx context.Context) error {
		return e.Actions.SetMode(ctx, r.Kind, r.Namespace, r.Name, mode)
	})}
}

// previewMsg says what enforcing a policy would cut.
type previewMsg struct {
	policy *store.PolicyRow
	flows  []*store.FlowRow
	err    error
}

// wantEnforce asks what would be cut before it asks the person.
func (e *Env) wantEnforce(r *store.PolicyRow) Effect {
	if r.NotEvaluated != "" {
		return Effect{Toast: part.Clean(slash(r.Namespace, r.Name)) + " can't be enforced: " + part.Clean(r.NotEvaluated), Bad: true}
	}
	if why := e.Actions.Can("enforce"); why != "" {
		return Effect{Toast: part.Clean(why), Bad: true}
	}
	return Effect{Toast: "Looking up which live connections it would cut" + e.Theme.Ellipsis, Cmd: func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		flows, err := e.Actions.Preview(ctx, r.Kind, r.Namespace, r.Name)
		return previewMsg{r, flows, err}
	}}
}

func (e *Env) previewed(msg tea.Msg) Effect {
	m, ok := msg.(previewMsg)
	if !ok {
		return Effect{}
	}
	if m.err != nil {
		return Effect{Toast: part.Clean(m.err.Error()), Bad: true}
	}
	return Effect{Push: NewConfirm(e, m.policy, m.flows)}
}

// times is how often something happened: once for each connection and each of
// its ends that is judged.
func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return part.Of(n, "time")
}

// policySentence says what the mode means for this policy right now.
func (e *Env) policySentence(r *store.PolicyRow) string {
	pods := pods(r.Selected)
	switch e.modeNow(r) {
	case store.ModeNotJudged:
		return "Shown, but not judged: " + part.Clean(r.NotEvaluated)
	case store.ModeEnforced:
		return "Its denials are dropped while the lease runs, for " + pods + ". When this program ends, by whatever cause, traffic is free again within seconds."
	case store.ModeCurrent:
		switch {
		case r.Replaces():
			return "In the cluster; the file's text of it is not tried. d tries that in its place."
		case r.Selected == 0:
			return "In the cluster, but it selects no pod: it does nothing."
		}
		return "In the cluster, selects " + pods + ". o leaves it out of the candidate, to see what it holds back."
	case store.ModeLeftOut:
		return "In the cluster, but left out of the candidate: rows marked show what would change without it. d puts it back."
	case store.ModeDryRun:
		s := "Only tried"
		if r.Replaces() {
			s += " in place of the cluster's"
		}
		s += ": selects " + pods
		if r.WouldDeny > 0 {
			return s + ", would have denied " + times(r.WouldDeny) + " so far, cuts nothing. e enforces under a lease, after listing what that would cut."
		}
		return s + ", would have denied nothing so far. Traffic that is rare (batch jobs) may not have happened yet."
	}
	return "Not part of anything. d tries it on the live traffic and cuts nothing."
}
