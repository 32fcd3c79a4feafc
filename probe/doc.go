// SPDX-License-Identifier: Apache-2.0

// Package probe is what runs on a node: it finds the pods' network namespaces
// by their addresses, attaches the programs of probe/kernel there, seeds them
// with what was open before, traces drops, and tells a [serve.Sink] what it
// sees. [Open] gives a [serve.Probe]; probe/serve puts it on the wire.
//
// # Guarantees
//
// Observing changes no packet's fate. Enforcement needs a lease that runs out
// in the kernel by itself.
//
// Whatever is attached goes with the process: TCX links do by themselves. On
// kernels below 6.6 filters stay after a kill; the next Open removes them, by
// their name.
//
// No network namespace is kept alive: a pod that ends takes its namespace with
// it, and its connections are closed as "pod gone".
//
// A feature that the kernel lacks is left out and named by [Features]; only
// without the flow programs is there no probe.
package probe
