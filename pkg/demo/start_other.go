// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package demo

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/ebpol/kubectl-ebpol/pkg/identity"
)

// Running is the demo made real. It never is, here.
type Running struct{}

// Start says that this needs Linux; the error wraps [ErrNotSupported].
func Start(context.Context, string, *Cast) (*Running, error) {
	return nil, fmt.Errorf("%w: %s has no network namespaces; use Linux", ErrNotSupported, runtime.GOOS)
}

// World is nil here.
func (*Running) World() *identity.World { return nil }

// Notes is nil here.
func (*Running) Notes() []string { return nil }

// NetNS is empty here.
func (*Running) NetNS(string) string { return "" }

// StartOnNode fails here.
func (*Running) StartOnNode(*exec.Cmd) error { return ErrNotSupported }

// Close does nothing here.
func (*Running) Close() error { return nil }
