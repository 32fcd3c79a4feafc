// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"

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
	// Drafter takes the text of one or more policies as candidates and puts
	// them into dry-run; text that is no policy is refused with the reason.
	Drafter interface {
		Draft(ctx context.Context, yaml []byte) error
	}
	// Recorder writes what comes from now on to a file.
	Recorder interface {
		Record(ctx context.Context, file string) error
	}
)

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
