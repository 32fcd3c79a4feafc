// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// pause holds a pod's namespaces open, reaps what is handed to it as process
// 1 of a shared PID namespace, and goes when it is told to.
func pause() {
	sig := make(chan os.Signal, 8)
	signal.Notify(sig, unix.SIGINT, unix.SIGTERM, unix.SIGCHLD)
	for s := range sig {
		if s != unix.SIGCHLD {
			return
		}
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
