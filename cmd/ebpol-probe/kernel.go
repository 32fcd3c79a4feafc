// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"

	"github.com/ebpol/kubectl-ebpol/probe"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// newProgram is the program with this process' streams and the real kernel.
func newProgram() *program {
	return &program{
		in: os.Stdin, out: os.Stdout, errOut: os.Stderr,
		open:      func(session string) (serve.Probe, error) { return probe.Open(probe.Options{Session: session}) },
		loadJudge: func() (judger, error) { return kernel.Open(kernel.Options{Conns4: 64, Conns6: 64}) },
		features:  probe.Features,
	}
}
