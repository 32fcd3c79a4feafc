// SPDX-License-Identifier: Apache-2.0

// Package deploy is the probe pod's life: may we ([Deployer.Preflight]), put
// it on a node and wait until it runs ([Deployer.Open]), speak to it
// ([Probe.Dial]), take it away ([Deployer.Close]), and find what a crash left
// ([Leftovers]).
//
// Nothing here knows what is said to the probe. The pod's contract with
// cmd/ebpol-probe is short:
//   - its main process is `ebpol-probe run` with [Options.Args], NODE_NAME and
//     EBPOL_SESSION in its environment and [SocketDir] writable, all else not;
//   - `ebpol-probe connect`, run in the same container, joins its stdin and
//     stdout to that process, waits until it listens, and ends when either
//     side does;
//   - it ends by itself when nobody speaks to it for a while, frees all it
//     made in the kernel, and leaves its last words on stderr, which the
//     cluster keeps as the container's termination message.
//
// A pod is made by a Job whose time to live is 0 s after its end, so that the
// object is gone by itself too if nobody is left to delete it. Whoever may not
// create jobs gets a bare pod, of which a "Completed" object can stay until
// `kubectl ebpol cleanup`.
package deploy
