// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"time"

	"charm.land/bubbles/v2/key"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// What an Actions may be able to do beyond its interface. The screen asks by
// type assertion and says so where it is missing.
type (
	// Explainer knows more of a flow's verdict than the kernel told: which
	// rules nearly matched, and what would let it pass.
	Explainer interface {
		Explain(ctx context.Context, row *store.FlowRow) (Explanation, error)
	}
	// Drafter takes the text of one or more policies, as somebody made it of
	// one, as candidates and puts them into dry-run; it says which those are.
	// Text that is no policy is refused with the reason.
	Drafter interface {
		Draft(ctx context.Context, of PolicyID, yaml []byte) ([]PolicyID, error)
	}
	// Recorder writes what is known and what comes from now on to a file,
	// until StopRecord. Recording names the file that is being written, "" if
	// none is.
	Recorder interface {
		Record(ctx context.Context, file string) error
		StopRecord(ctx context.Context) error
		Recording() string
	}
	// Adviser knows what is wrong with policies, and what they cost. It
	// answers from what it found last; a later call knows more.
	Adviser interface {
		Advise(ctx context.Context) map[PolicyID]Advice
	}
	// Seeker goes to another moment of what is shown: of a recording, or of
	// the events that are kept.
	Seeker interface {
		// Span is what can be gone to; ok is false if nothing can.
		Span() (from, to, at time.Time, ok bool)
		// Seek shows the world as it was; a moment at or after the end is now.
		Seek(ctx context.Context, at time.Time) error
	}
	// Narrower has samples that a filter doesn't want left out where they are
	// taken. Counters stay exact. What "" or a filter without anything that
	// can be judged there asks for is everything.
	Narrower interface {
		// Narrow says in words what is left out now, "" if nothing is.
		Narrow(ctx context.Context, filter string, trouble bool) (string, error)
	}
)

// toPolicies is the key of the page where a candidate becomes more than that.
func (e *Env) toPolicies() key.Binding {
	what := "policies, to enforce"
	if e.Actions.Can("enforce") != "" {
		what = "policies"
	}
	return key.NewBinding(key.WithKeys("4"), key.WithHelp("4", what))
}

// toFlows is the key of the page where it is seen what a lease cuts.
func (e *Env) toFlows() key.Binding {
	return key.NewBinding(key.WithKeys("2"), key.WithHelp("2", "flows, to watch"))
}

// Changer is a page whose row the candidate would change. Changing is which
// policy does that, to be looked at first where policies are; false: none does.
type Changer interface {
	Changing() (PolicyID, bool)
}

func changing(e *flow.Event) (id PolicyID, ok bool) {
	rule := e.CandidateRule
	if rule == nil && len(e.CandidateIsolatedBy) > 0 {
		rule = &e.CandidateIsolatedBy[0]
	}
	if rule == nil || !e.WouldChange() {
		return id, false
	}
	return PolicyID{rule.Kind, rule.Namespace, rule.Name}, true
}

// Advice is what an Adviser knows of a policy.
type Advice struct {
	Findings []Finding // the gravest first
	Weight   float64   // share of the limits that it uses up
	Profile  string    // what the weight is made of
	Unknown  string    // why there is no weight
}

// Finding is a mark of the linter.
type Finding struct {
	Severity string // "error", "warning", "note"
	ID       string // of the check
	Line     int    // of the policy's text, from 1; 0: of all of it
	Reason   string
	Fix      string
}

// Explanation is what an Explainer knows. All of it is text for people.
type Explanation struct {
	Misses []Miss // the nearest first
	Fix    string // YAML of a rule that would let the flow pass; empty: none is known
	FixFor string // the policy that Fix belongs into
}

// Miss is a rule that didn't match, and by what.
type Miss struct {
	Rule string // "ingress rule 1 of NetworkPolicy shop/db"
	Why  string // "needs role=frontend, shop/web-0 has role=front-end"
}
