// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Command ebpol-probe runs on a Linux node; elsewhere it says so.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "ebpol-probe: eBPF is a part of Linux: run this on a Linux node, or let kubectl ebpol start it in a pod")
	os.Exit(1)
}
