// SPDX-License-Identifier: Apache-2.0

//go:build unix

package explain_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
