// SPDX-License-Identifier: Apache-2.0

package ruleset

import "net/netip"

// Delta brings tables from one generation to the next. A probe applies the
// lists in exactly the order of the fields and bumps the epoch last; nothing
// refers to an entry before it is there or after it is gone:
//
//  1. PutSets, PutPorts, PutPortRanges, PutMatches: entries nobody refers to
//     yet, and new modes of sets that exist.
//  2. PutPeers, PutServices: addresses move to their new classes. Every live
//     set, old or new, has its matches for them since step 1.
//  3. PutEndpoints: each pod moves to its new sets, one atomic write each.
//  4. DelEndpoints, DelServices, DelPeers, DelMatches, DelPortRanges,
//     DelPorts, DelSets: what nobody refers to any more.
type Delta struct {
	From       uint64 // generation that it starts at; 0: from nothing, whatever is there
	Generation uint64

	PutSets       []Set
	PutPorts      []Port
	PutPortRanges []PortRange
	PutMatches    []Match
	PutPeers      []Peer
	PutServices   []Service
	PutEndpoints  []Endpoint

	DelEndpoints  []netip.Addr
	DelServices   []Service // by address, protocol and port
	DelPeers      []netip.Prefix
	DelMatches    []Match // by set, peer and ports
	DelPortRanges []PortRange
	DelPorts      []Port
	DelSets       []SetID
}
