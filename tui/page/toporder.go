// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// sorting is a row with its id and the rate that it is sorted by.
type sorting struct {
	*store.WorkloadRow

	id   workloadID
	held float64
}

// hold keeps the rate that a row is sorted by until it has changed by a quarter:
// rows don't change places at every tick.
func hold(held, rate float64) float64 {
	if rate < 0.5 { // shown as none
		return 0
	}
	if rate > held*1.25 || rate < held/1.25 {
		return rate
	}
	return held
}

// compareWorkloads puts the most first, names in the order of the alphabet.
func compareWorkloads(a, b sorting, by string) int {
	switch by {
	case "name":
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	case "allowed":
		return cmp.Compare(b.Allowed, a.Allowed)
	case "would":
		return cmp.Compare(b.WouldDeny, a.WouldDeny)
	case "denied":
		return cmp.Compare(b.Denied, a.Denied)
	case "contested":
		return cmp.Compare(b.Contested, a.Contested)
	case "dropped":
		return cmp.Compare(b.Dropped+b.Enforced, a.Dropped+a.Enforced)
	case "flows":
		return cmp.Compare(b.Flows, a.Flows)
	case "in":
		return cmp.Compare(b.BytesIn, a.BytesIn)
	case "out":
		return cmp.Compare(b.BytesOut, a.BytesOut)
	case "pods":
		return cmp.Compare(b.Pods, a.Pods)
	}
	return cmp.Compare(b.held, a.held)
}
