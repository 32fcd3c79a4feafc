// SPDX-License-Identifier: Apache-2.0

// Package explain answers questions about policies without traffic: one
// question with all reasons ([Explain]), or many in a stream ([Batch]).
//
// There is no second meaning here: the reference evaluator of pkg/policy
// answers, or the tables of pkg/policy/compile do, which are compared with it
// all the time; asked with [All], both answer each question and must agree.
package explain
