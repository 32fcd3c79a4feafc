// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"os"
	"strings"
)

// setName makes the process show up as its workload: the kernel reports the
// name of whoever opened a socket.
func setName(pod string) {
	name, _, _ := strings.Cut(pod, "-")
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0) // looks only
}
