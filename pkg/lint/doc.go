// SPDX-License-Identifier: Apache-2.0

// Package lint finds what is probably not meant in a set of policies, without
// traffic: from a World and the policies of a cluster or of files.
//
//	findings := lint.Run(lint.Input{World: world, Policies: policies})
//
// Every finding names one of [Checks], a policy, its line or field, the reason
// in a sentence, and what to do. What a policy means is asked of pkg/policy's
// reference evaluator, so that nothing here can disagree with it.
//
// Findings are sorted by file, line, policy and check: the same input gives
// the same output.
package lint
