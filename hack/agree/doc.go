// SPDX-License-Identifier: Apache-2.0

// Package agree asks others what a policy means and compares their answers
// with pkg/policy's reference evaluator: cyclonus' matcher for NetworkPolicy,
// and a second evaluator, written here from the text of the API types alone,
// for ClusterNetworkPolicy with NetworkPolicy. Policies, pods and packets are
// generated; every disagreement is reported with the policies that show it.
//
// It is a module of its own so that cyclonus stays out of the product's graph:
//
//	cd hack/agree && go test ./...
//	go test -run Cyclonus -worlds 5000 -seed 7 ./...
//
// Where pkg/policy answers "contested", its reading in the specification's own
// words is compared (an ipBlock covers pods, case 11).
package agree
