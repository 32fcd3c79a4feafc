// SPDX-License-Identifier: Apache-2.0

// Package confidence sums up a dry-run, and says how far the answer can be
// relied on: how long was watched, which pods, nodes and rules saw traffic, and
// what may run at other times.
//
//	r := confidence.Sum(confidence.Input{Log: log, Coverage: c, Policies: policies, …})
//	r.WriteMarkdown(os.Stdout)   // or WriteText, WriteJUnit, WriteJSON
package confidence
