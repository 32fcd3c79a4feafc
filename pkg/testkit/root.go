// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/ebpol/kubectl-ebpol/internal/netbed"
)

// ErrNotSupported marks an error that means "not on this machine".
var ErrNotSupported = errors.New("not supported here")

// RootTests says whether tests that need root must run.
func RootTests() bool { return os.Getenv("EBPOL_ROOT_TESTS") != "" }

// NeedsRoot skips the test if network namespaces can't be made here, unless
// root tests were asked for: then it fails it.
func NeedsRoot(t testing.TB) {
	t.Helper()
	SkipIfNotSupported(t, netbed.Supported())
}

// SkipIfNotSupported does nothing for nil, skips the test if err wraps
// [ErrNotSupported], [netbed.ErrNotSupported] or [errors.ErrUnsupported], and
// fails it for any other error. Where root tests were asked for, only
// [errors.ErrUnsupported] (a feature that the kernel lacks) may skip.
func SkipIfNotSupported(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errors.ErrUnsupported):
		t.Skip(err)
	case errors.Is(err, ErrNotSupported), errors.Is(err, netbed.ErrNotSupported):
		if RootTests() {
			t.Fatal(fmt.Errorf("EBPOL_ROOT_TESTS is set, but: %w", err))
		}
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}
