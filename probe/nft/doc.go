// SPDX-License-Identifier: Apache-2.0

// Package nft says which netfilter rules packets meet: it marks a few of the
// packets of given addresses for the kernel's own tracing, reads what the
// kernel tells of them, and finds the text of the rules.
//
// # Guarantees
//
// Marking never changes a packet's fate: every chain of ours accepts, and runs
// before all others. It is bounded: only packets that open a connection or
// belong to none, at most [Rate] a second of each kind, and a network namespace
// whose rules make more than [maxSteps] messages a second isn't traced any
// longer.
//
// The table belongs to a socket of this process, so it goes with it, however
// that ends. Below Linux 5.12 it is found by its name and removed by the next
// [Open].
package nft
