// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package testkit

import (
	"os"
	"testing"
)

// Main runs the tests; only Linux has what they could leave behind.
func Main(m *testing.M) { os.Exit(m.Run()) }
