// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command helper holds what the test cluster needs besides Kubernetes itself:
//
//	helper pki DIR HOST:PORT SAN...   keys, certificates and kubeconfigs
//	helper forward LISTEN NETNS DIAL  a TCP forwarder into a network namespace
//	helper pause                      what a pod sandbox runs
//
// It is static and small because the pause image holds nothing else.
package main

import (
	"errors"
	"fmt"
	"os"
)

var errUsage = errors.New("usage: helper pki DIR HOST:PORT SAN... | forward LISTEN NETNS DIAL | pause")

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "helper:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch name, rest := args[0], args[1:]; {
	case name == "pki" && len(rest) >= 2:
		return pki(rest[0], rest[1], rest[2:])
	case name == "forward" && len(rest) == 3:
		return forward(rest[0], rest[1], rest[2])
	case name == "pause" && len(rest) == 0:
		pause()
		return nil
	}
	return errUsage
}
