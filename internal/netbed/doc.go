// SPDX-License-Identifier: Apache-2.0

// Package netbed makes small networks of network namespaces: a node, and pods
// behind it, each with IPv4 and IPv6 on an interface named eth0. Nothing in
// them has a route out of the bed.
//
// Namespaces are anonymous: they have no name below /run/netns and live as
// long as a file descriptor or a process holds them. When this process ends,
// however it ends, the kernel frees all of it.
//
// It needs root on Linux; elsewhere [ErrNotSupported] says so.
package netbed

import "errors"

// ErrNotSupported is wrapped by every error that means "not on this machine",
// so that callers can ask with errors.Is.
var ErrNotSupported = errors.New("network namespaces are not supported here")
