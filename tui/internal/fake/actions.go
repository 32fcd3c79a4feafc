// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/page"
)

// SetMode implements the screen's actions.
func (w *World) SetMode(_ context.Context, kind flow.RuleKind, namespace, name, mode string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.Calls = append(w.Calls, "mode "+namespace+"/"+name+" "+mode)
	for i, r := range w.policies {
		if r.Kind == kind && r.Namespace == namespace && r.Name == name {
			c := *r
			c.Candidate, c.Enforced = mode != "off", mode == "enforced"
			w.policies[i] = &c
			return nil
		}
	}
	return errors.New("policy \"" + name + "\": not in this session")
}

// Preview lists what would be cut: the flows that the candidate denies.
func (w *World) Preview(context.Context, flow.RuleKind, string, string) ([]*store.FlowRow, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*store.FlowRow
	for _, r := range w.flows {
		if r.Event.Verdict == flow.Allow && r.Event.Candidate == flow.Deny && !r.Closed {
			out = append(out, r)
		}
	}
	return out, w.Refuse
}

// Enforce starts the lease.
func (w *World) Enforce(_ context.Context, total time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.lease = w.now.Add(total)
	w.Calls = append(w.Calls, "enforce "+total.String())
	return nil
}

// Release ends the lease.
func (w *World) Release(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.lease = time.Time{}
	w.Calls = append(w.Calls, "release")
	return nil
}

// Explain knows the near misses of what is denied.
func (w *World) Explain(_ context.Context, row *store.FlowRow) (page.Explanation, error) {
	if row.Event.Verdict != flow.Deny && row.Event.Candidate != flow.Deny {
		return page.Explanation{}, nil
	}
	return page.Explanation{
		Misses: []page.Miss{{Rule: "ingress rule 1 of NetworkPolicy shop/db-allow", Why: "needs app in (orders, web), shop/report-29384-x8v2l has app=report"}},
		Fix:    "- from:\n  - podSelector:\n      matchLabels:\n        app: report\n  ports:\n  - port: 5432\n", FixFor: "NetworkPolicy shop/db-allow, under spec.ingress",
	}, nil
}

// Advise knows what the linter would say.
func (w *World) Advise(context.Context) map[page.PolicyID]page.Advice {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[page.PolicyID]page.Advice{}
	for i, r := range w.policies {
		if r.NotEvaluated != "" {
			continue
		}
		a := page.Advice{Weight: 0.0017 * float64(i*i+1), Profile: "1-1-0-2-0-0-0"}
		if r.Name == "db-allow" {
			a.Findings = []page.Finding{{Severity: "warning", ID: "no-such-peer", Line: 14, Reason: "no pod matches app=cart in namespace shop", Fix: "correct the label, or drop the rule"}}
		}
		out[page.IDOf(r)] = a
	}
	return out
}

// Record notes that it was asked.
func (w *World) Record(_ context.Context, file string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.file = file
	w.Calls = append(w.Calls, "record "+file)
	return nil
}

// StopRecord ends the recording.
func (w *World) StopRecord(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Calls = append(w.Calls, "stop "+w.file)
	w.file = ""
	return nil
}

// Recording is the file that is being written.
func (w *World) Recording() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file
}

// Narrow notes what it was asked, and keeps back what names a port.
func (w *World) Narrow(_ context.Context, filter string, trouble bool) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Narrowed = append(w.Narrowed, filter)
	if trouble {
		return "probes send trouble only", nil
	}
	if strings.Contains(filter, "port=") {
		return "probes send port " + filter[strings.Index(filter, "port=")+5:] + " only", nil
	}
	return "", nil
}

// Span is the last minute.
func (w *World) Span() (from, to, at time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at = w.now
	if !w.past.IsZero() {
		at = w.past
	}
	return Start.Add(-5 * time.Minute), w.now, at, w.Cannot["past"] == ""
}

// Seek notes where to.
func (w *World) Seek(_ context.Context, at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id++
	w.past = at
	w.Calls = append(w.Calls, "seek "+at.Format("15:04:05"))
	return nil
}

// Draft notes that it was asked.
func (w *World) Draft(_ context.Context, of page.PolicyID, yaml []byte) ([]page.PolicyID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Calls = append(w.Calls, "draft "+string(yaml))
	return []page.PolicyID{of}, nil
}

// Can says why something is impossible.
func (w *World) Can(what string) string { return w.Cannot[what] }

// Done is a copy of the calls that changed something.
func (w *World) Done() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.Calls...)
}
