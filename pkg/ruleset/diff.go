// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// The orders of the slices: by key, as the kernel's maps are keyed.

func compareSet(a, b Set) int           { return cmp.Compare(a.ID, b.ID) }
func compareEndpoint(a, b Endpoint) int { return a.IP.Compare(b.IP) }
func comparePeer(a, b Peer) int         { return comparePrefix(a.Prefix, b.Prefix) }

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareService(a, b Service) int {
	return cmp.Or(a.IP.Compare(b.IP), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func comparePort(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func compareRange(a, b PortRange) int {
	return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Bits, b.Bits))
}

func compareMatch(a, b Match) int {
	return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Ports, b.Ports))
}

// Sort brings every slice into the order that Validate asks for.
func (r *Ruleset) Sort() {
	slices.SortFunc(r.Sets, compareSet)
	slices.SortFunc(r.Endpoints, compareEndpoint)
	slices.SortFunc(r.Peers, comparePeer)
	slices.SortFunc(r.Services, compareService)
	slices.SortFunc(r.Ports, comparePort)
	slices.SortFunc(r.PortRanges, compareRange)
	slices.SortFunc(r.Matches, compareMatch)
}

// Diff says how to get from old to new, both valid. An old of nil is nothing
// at all: the delta then starts at generation 0 and replaces whatever is
// there. It fails if a set that both have changed in more than its modes.
func Diff(old, new *Ruleset) (*Delta, error) {
	if old == nil {
		old = &Ruleset{}
	}
	for _, s := range new.Sets {
		i, known := slices.BinarySearchFunc(old.Sets, s, compareSet)
		if known && old.Sets[i].lasting() != s.lasting() {
			return nil, changedSet(s.ID)
		}
	}
	d := &Delta{From: old.Generation, Generation: new.Generation}
	var sets []Set
	d.PutSets, sets = diff(old.Sets, new.Sets, compareSet)
	d.PutPorts, d.DelPorts = diff(old.Ports, new.Ports, comparePort)
	d.PutPortRanges, d.DelPortRanges = diff(old.PortRanges, new.PortRanges, compareRange)
	d.PutMatches, d.DelMatches = diff(old.Matches, new.Matches, compareMatch)
	d.PutServices, d.DelServices = diff(old.Services, new.Services, compareService)
	var peers []Peer
	d.PutPeers, peers = diff(old.Peers, new.Peers, comparePeer)
	var endpoints []Endpoint
	d.PutEndpoints, endpoints = diff(old.Endpoints, new.Endpoints, compareEndpoint)
	d.del(sets, peers, endpoints)
	return d, nil
}

// lasting is the set without what may change.
func (s Set) lasting() Set {
	s.Current, s.Candidate, s.Enforced = Bitmap{}, Bitmap{}, Bitmap{}
	return s
}

func diff[T comparable](old, new []T, compare func(a, b T) int) (put, del []T) {
	for len(old) > 0 || len(new) > 0 {
		var order int
		switch {
		case len(old) == 0:
			order = 1
		case len(new) == 0:
			order = -1
		default:
			order = compare(old[0], new[0])
		}
		switch {
		case order < 0:
			del = append(del, old[0])
			old = old[1:]
		case order > 0:
			put = append(put, new[0])
			new = new[1:]
		default:
			if old[0] != new[0] {
				put = append(put, new[0])
			}
			old, new = old[1:], new[1:]
		}
	}
	return put, del
}

// Empty says that nothing but the generation changes.
func (d *Delta) Empty() bool {
	return len(d.PutSets)+len(d.PutPorts)+len(d.PutPortRanges)+len(d.PutMatches)+len(d.PutPeers)+len(d.PutServices)+len(d.PutEndpoints)+
		len(d.DelEndpoints)+len(d.DelServices)+len(d.DelPeers)+len(d.DelMatches)+len(d.DelPortRanges)+len(d.DelPorts)+len(d.DelSets) == 0
}

// Apply gives the ruleset that d makes of r; r stays as it is. It fails if d
// starts at another generation; one that starts at 0 always applies.
func (r *Ruleset) Apply(d *Delta) (*Ruleset, error) {
	if d.From == 0 {
		r = &Ruleset{}
	}
	if d.From != r.Generation {
		return nil, fmt.Errorf("delta starts at generation %d, the ruleset is at %d: send it whole, from 0", d.From, r.Generation)
	}
	dropSet := func(s Set) bool { return slices.Contains(d.DelSets, s.ID) }
	dropPeer := func(p Peer) bool {
		_, found := slices.BinarySearchFunc(d.DelPeers, p.Prefix, comparePrefix)
		return found
	}
	dropEndpoint := func(e Endpoint) bool { return slices.Contains(d.DelEndpoints, e.IP) }
	n := &Ruleset{
		Generation: d.Generation,
		Sets:       merge(slices.DeleteFunc(slices.Clone(r.Sets), dropSet), d.PutSets, nil, compareSet),
		Endpoints:  merge(slices.DeleteFunc(slices.Clone(r.Endpoints), dropEndpoint), d.PutEndpoints, nil, compareEndpoint),
		Peers:      merge(slices.DeleteFunc(slices.Clone(r.Peers), dropPeer), d.PutPeers, nil, comparePeer),
		Services:   merge(r.Services, d.PutServices, d.DelServices, compareService),
		Ports:      merge(r.Ports, d.PutPorts, d.DelPorts, comparePort),
		PortRanges: merge(r.PortRanges, d.PutPortRanges, d.DelPortRanges, compareRange),
		Matches:    merge(r.Matches, d.PutMatches, d.DelMatches, compareMatch),
	}
	return n, nil
}

// merge expects each slice in order.
func merge[T any](old, put, del []T, compare func(a, b T) int) []T {
	out := make([]T, 0, len(old)+len(put))
	for _, v := range old {
		for len(put) > 0 && compare(put[0], v) < 0 {
			out, put = append(out, put[0]), put[1:]
		}
		for len(del) > 0 && compare(del[0], v) < 0 {
			del = del[1:]
		}
		switch {
		case len(put) > 0 && compare(put[0], v) == 0:
			out, put = append(out, put[0]), put[1:]
		case len(del) > 0 && compare(del[0], v) == 0:
		default:
			out = append(out, v)
		}
	}
	return append(out, put...)
}
