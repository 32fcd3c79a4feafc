// SPDX-License-Identifier: Apache-2.0

// Package traffic sums up what was seen of the traffic: who spoke to whom, on
// which port, how often, from when to when. Suggestions and reports are made
// of it; each connection is counted once, when it is over or when the session
// is.
//
//	log := traffic.New()
//	log.Know(store.World())          // now and then, and once at the end
//	log.Event(&event)                // each event, in order
//	log.Open(snapshot.Flows)         // what is open at the end
//	for _, s := range log.Seen() { … }
//
//	judge := log.Judge(world, policies)
//	end := judge.Ask(s)              // what other policies say about it
//
// A [Judge] asks the reference evaluator of pkg/policy about each flow in the
// world of its time: pods that are gone by now have the addresses that they
// had then.
//
// It is bounded: beyond [MaxSeen] different flows the rest is counted only.
// Not for concurrent use.
package traffic
