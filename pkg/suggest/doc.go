// SPDX-License-Identifier: Apache-2.0

// Package suggest writes least-privilege NetworkPolicies from flows that were
// seen: for each workload one policy that isolates it both ways and allows
// what it did, and nothing else.
//
//	p, err := suggest.From(suggest.Input{Log: log, Current: policies, Target: match, Coverage: c})
//	p.WriteYAML(os.Stdout)
//
// Pods are named by labels that outlive a rollout, services by the pods behind
// them and the ports that those listen on, DNS by what serves it in this
// cluster, and what lies outside by its addresses, one by one. Every rule
// carries the flows that it is there for.
//
// The text itself is parsed again and asked about the same flows, by the
// reference evaluator: a proposal that denies a flow it was made of is an
// error, not a proposal. What no NetworkPolicy can say, and what has not been
// seen, is told with it.
package suggest
