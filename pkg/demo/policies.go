// SPDX-License-Identifier: Apache-2.0

package demo

import "embed"

// Policies holds the demo's policy files: "policies/cluster" is what the
// cluster has, "policies/candidate" what its owner is thinking of.
//
//go:embed policies
var Policies embed.FS

// The folders of [Policies].
const (
	ClusterPolicies   = "policies/cluster"
	CandidatePolicies = "policies/candidate"
)
