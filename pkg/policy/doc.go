// SPDX-License-Identifier: Apache-2.0

// Package policy is the meaning of a policy in plain Go: one model for every
// API that is evaluated, the parsers and importers that fill it, and the
// reference evaluator that every other engine must agree with.
//
//	objs, errs := policy.Parse(bytes, "file.yaml")   // YAML or JSON, strict, with line and field of each error
//	p, err := policy.FromNetworkPolicy(&np)          // an object from the API
//	e := policy.NewEvaluator(world, policies)        // world: who has which address
//	result := e.Evaluate(policy.Packet{…})           // both ends, with reasons
//
// The evaluator is written to be read beside the specification, not to be
// fast: pkg/policy/compile makes the tables that are.
//
// # Contested
//
// Where the specification lets implementations differ, a verdict is contested
// if, and only if, the readings differ for that very packet. A [Reading] is
// one way to settle each open question; the evaluator asks under all of them
// and compares. Enforcement takes the reading of the specification's text or,
// where there is none, the one that allows.
package policy
