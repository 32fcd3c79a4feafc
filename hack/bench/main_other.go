// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Bench measures what observing costs; it needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: network namespaces are Linux's; run it there")
	os.Exit(1)
}
