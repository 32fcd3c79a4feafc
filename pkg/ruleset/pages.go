// SPDX-License-Identifier: Apache-2.0

package ruleset

import "fmt"

// Pages is a [Ruleset] whose tables share with those of other generations
// what didn't change. It doesn't change once made.
type Pages struct {
	Generation uint64
	Sets       List[Set]
	Endpoints  List[Endpoint]
	Peers      List[Peer]
	Services   List[Service]
	Ports      List[Port]
	PortRanges List[PortRange]
	Matches    List[Match]
}

// The orders of a [Ruleset]'s slices, for whoever edits a [List].
var (
	CompareSets       = compareSet
	CompareEndpoints  = compareEndpoint
	ComparePeers      = comparePeer
	CompareServices   = compareService
	ComparePorts      = comparePort
	ComparePortRanges = compareRange
	CompareMatches    = compareMatch
)

// Pages is a ruleset that is in order as pages; it keeps the slices.
func (r *Ruleset) Pages() *Pages {
	return &Pages{
		Generation: r.Generation, Sets: NewList(r.Sets), Endpoints: NewList(r.Endpoints), Peers: NewList(r.Peers), Services: NewList(r.Services),
		Ports: NewList(r.Ports), PortRanges: NewList(r.PortRanges), Matches: NewList(r.Matches),
	}
}

// Ruleset is a copy of all of it.
func (p *Pages) Ruleset() *Ruleset {
	return &Ruleset{
		Generation: p.Generation, Sets: p.Sets.Slice(), Endpoints: p.Endpoints.Slice(), Peers: p.Peers.Slice(), Services: p.Services.Slice(),
		Ports: p.Ports.Slice(), PortRanges: p.PortRanges.Slice(), Matches: p.Matches.Slice(),
	}
}

// DiffPages is [Diff] of pages: it costs what differs, and little more.
func DiffPages(old, new *Pages) (*Delta, error) {
	if old == nil {
		old = &Pages{}
	}
	d := &Delta{From: old.Generation, Generation: new.Generation}
	var sets []Set
	d.PutSets, sets = diffLists(old.Sets, new.Sets, compareSet)
	for _, s := range d.PutSets {
		if was := old.Sets.Get(s, compareSet); was != nil && was.lasting() != s.lasting() {
			return nil, changedSet(s.ID)
		}
	}
	d.PutPorts, d.DelPorts = diffLists(old.Ports, new.Ports, comparePort)
	d.PutPortRanges, d.DelPortRanges = diffLists(old.PortRanges, new.PortRanges, compareRange)
	d.PutMatches, d.DelMatches = diffLists(old.Matches, new.Matches, compareMatch)
	d.PutServices, d.DelServices = diffLists(old.Services, new.Services, compareService)
	var peers []Peer
	d.PutPeers, peers = diffLists(old.Peers, new.Peers, comparePeer)
	var endpoints []Endpoint
	d.PutEndpoints, endpoints = diffLists(old.Endpoints, new.Endpoints, compareEndpoint)
	d.del(sets, peers, endpoints)
	return d, nil
}

func changedSet(id SetID) error {
	return fmt.Errorf("set %d changed in more than its modes: give what changed a new id", id)
}

func (d *Delta) del(sets []Set, peers []Peer, endpoints []Endpoint) {
	for _, s := range sets {
		d.DelSets = append(d.DelSets, s.ID)
	}
	for _, p := range peers {
		d.DelPeers = append(d.DelPeers, p.Prefix)
	}
	for _, e := range endpoints {
		d.DelEndpoints = append(d.DelEndpoints, e.IP)
	}
}
