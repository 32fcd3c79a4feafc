// SPDX-License-Identifier: Apache-2.0

// Package matrix asks for every pair of workloads, and each port that the
// destination is known by, what policies say: by one set of policies or by two.
//
//	m, err := matrix.Build(matrix.Input{World: world, Current: current, Candidate: candidate})
//	m = m.Changed()                // only what differs
//	matrix.WriteTable(w, m)        // also WriteDOT, WriteSVG
//
// Answers are those of pkg/policy's reference evaluator. A workload whose pods
// are answered differently is [Mixed], and so is a pair whose answer depends on
// the IP family.
package matrix
