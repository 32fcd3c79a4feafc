// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/ebpol/kubectl-ebpol/hack/conformance/results"
)

const conformanceFile = "test/conformance/results.txt"

// conformance is the table of what `make conformance` wrote last.
func conformance(string) (string, error) {
	f, err := os.Open(conformanceFile)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, err := results.Read(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", conformanceFile, err)
	}
	return r.Markdown(), nil
}
