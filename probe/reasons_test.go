// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

// TestEveryReasonIsExplained: none of this kernel's reasons is left to be
// looked up in its sources.
func TestEveryReasonIsExplained(t *testing.T) {
	names, _, err := reasons(system{}, btf.NewCache()) // an older kernel has none to explain
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		switch name {
		case "NOT_DROPPED_YET", "CONSUMED", "NOT_SPECIFIED", "MAX", "SUBSYS_MASK":
			continue // no reasons
		}
		if e := (store.Cause{Reason: name}).Explain(); e.Culprit == "kernel" {
			t.Errorf("%s: %s", name, e.Sentence)
		}
	}
}
