// SPDX-License-Identifier: Apache-2.0

// Package kernel is the kernel's half of a probe: the loaded flow programs,
// the tables of a ruleset, the table of connections, the events. It knows
// nothing of pods or network namespaces; package probe attaches what is
// loaded here, and gives the addresses to watch.
//
// # Guarantees
//
// [Kernel.Apply] writes nothing of a delta that can't be written whole: it is
// checked, and room is counted, before the first write. If a write fails all
// the same, the generation is 0 afterwards and the next delta must start at 0.
//
// Counters are exact, also of connections that were never announced because
// the ring was full. They end with the connection's close, which is reported
// once, after nothing more came for a while.
//
// An ICMP error about a connection is told at once, and again with all that is
// told of the connection later, as long as it is among the last 1,024.
//
// Of payloads nothing is read unless [Kernel.ReadHeads] asks for it, and then
// only what [Head] says, at most 1,024 bytes of a packet and 2,000 packets a
// second on each CPU; Counts.HeadsLeftOut is how many were more. Heads come
// through [Events], after the event of the connection that they belong to.
//
// Enforcement needs a lease whose end stands in the kernel; nothing here has
// to run for it to end.
//
// One goroutine may call Apply, Watch, Seed and Scan at a time. The rest may be called
// at any time.
package kernel
