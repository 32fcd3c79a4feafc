// SPDX-License-Identifier: Apache-2.0

// Package conformance runs suites that others wrote on a cluster of which
// kubectl ebpol is the only policy engine: the ClusterNetworkPolicy suite of
// sigs.k8s.io/network-policy-api, and the cases that cyclonus generates, judged
// by cyclonus' matcher. hack/conformance.sh builds, runs and counts them, along
// with upstream's NetworkPolicy tests.
package conformance
