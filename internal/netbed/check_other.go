// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package netbed

import (
	"fmt"
	"runtime"
)

// Supported says why namespaces can't be made here, or nil if they can.
func Supported() error {
	return fmt.Errorf("%w: %s has none; use Linux", ErrNotSupported, runtime.GOOS)
}
