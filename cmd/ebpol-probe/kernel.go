// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"os"

	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

func newProgram() *program {
	return &program{
		in: os.Stdin, out: os.Stdout, errOut: os.Stderr,
		open:     func() (serve.Probe, error) { return nil, errors.New("no kernel side is linked") },
		features: func() (serve.Facts, bool, error) { return serve.Facts{}, false, errors.New("no kernel side is linked") },
	}
}
