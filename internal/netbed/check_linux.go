// SPDX-License-Identifier: Apache-2.0

package netbed

import (
	"fmt"
	"os"
)

// Supported says why namespaces can't be made here, or nil if they can.
func Supported() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root; run with sudo", ErrNotSupported)
	}
	ns, err := New("try")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSupported, err)
	}
	return ns.Close()
}
