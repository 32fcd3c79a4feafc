// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Input is all that an output depends on.
type Input struct {
	Generation uint64 // of every ruleset of the output; the caller lets it grow
	World      *identity.World
	Policies   []PolicyMode
	// Endpoints gives the endpoint of each pod address that is to be judged.
	// A pod address that isn't there is a peer only. Nil: every pod that is
	// not on the host network and not done, numbered in the order of addresses
	// from 1 (for tests and for answers without traffic).
	Endpoints map[netip.Addr]ruleset.EndpointID
	// Pods says which of them changed, if the caller knows. Nil, or a difference
	// to another World than that of the generation before: all are looked at.
	Pods *identity.PodDiff
}

// PolicyMode is one version of a policy and the sets of policies it is in.
// Two entries with the same content count as one that is in both's sets.
type PolicyMode struct {
	Policy    *policy.Policy
	Current   bool // the cluster has it
	Candidate bool // the dry-run has it
	Enforced  bool // its denials are dropped while the lease runs; valid only with Candidate
}

// Names says what the bits of a set stand for.
type Names struct {
	Set           ruleset.SetID
	Direction     flow.Direction
	IsolateStart  int // bits [IsolateStart, BaselineStart) are default denies
	BaselineStart int
	Bits          []Name // by bit
}

// Name is what one bit stands for.
type Name struct {
	// Rule has no Index if the bit is a default deny, or if the set had too
	// many rules and those of the policy share one bit.
	Rule flow.Rule
	// Policies is how many policies share the bit. 1, or more if even one bit
	// for each policy was too much: Rule is then the first of them.
	Policies      int
	CandidateOnly bool // no version of it is in the current set
	Policy        *policy.Policy
}
