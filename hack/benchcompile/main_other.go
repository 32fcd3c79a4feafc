// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Benchcompile measures what compiling policies costs; it needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "benchcompile: the kernel's tables are Linux's; run it there")
	os.Exit(1)
}
