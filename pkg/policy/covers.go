// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"
)

// Covers says whether every object that o selects is selected by s, whatever
// its labels. It compares requirements by their text, so that a no may be
// wrong where values overlap ("a in (x,y)" and "a=x"); a yes never is.
func (s Selector) Covers(o Selector) bool {
	if !o.set {
		return true
	}
	if !s.set {
		return false
	}
	for _, want := range s.requirements {
		text := requirementText(want)
		found := false
		for _, has := range o.requirements {
			values := has.ValuesUnsorted()
			exact := string(has.Operator()) == "=" || string(has.Operator()) == "==" || (string(has.Operator()) == "in" && len(values) == 1)
			switch {
			case requirementText(has) == text:
				found = true
			case exact && has.Key() == want.Key():
				found = found || want.Matches(oneLabel{has.Key(), values[0]})
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// oneLabel is an object with a single label.
type oneLabel struct{ key, value string }

// Has implements labels.Labels.
func (l oneLabel) Has(key string) bool { return key == l.key }

// Get implements labels.Labels.
func (l oneLabel) Get(key string) string {
	if key == l.key {
		return l.value
	}
	return ""
}

// Lookup implements labels.Labels.
func (l oneLabel) Lookup(key string) (string, bool) { return l.Get(key), l.Has(key) }

// Wanted are the values of one key of which one is required.
type Wanted struct {
	Key    string
	Values []string // sorted
}

// Wanted lists the requirements that name values, by key.
func (s Selector) Wanted() []Wanted {
	var out []Wanted
	for _, m := range s.Misses(nil) {
		if len(m.Want) > 0 {
			out = append(out, Wanted{m.Key, m.Want})
		}
	}
	return out
}

// Covers says whether every address and port that o matches is matched by r:
// o after r decides nothing. Both must be of the same direction and in
// policies of the same namespace or of none.
func (r *Rule) Covers(o *Rule) bool {
	if !o.AnyPeer && len(o.Peers) == 0 {
		return true // matches nothing
	}
	if !r.AnyPeer && (o.AnyPeer || slices.ContainsFunc(o.Peers, func(p Peer) bool {
		return !slices.ContainsFunc(r.Peers, func(q Peer) bool { return q.covers(&p) })
	})) {
		return false
	}
	if r.AnyPort {
		return true
	}
	return !o.AnyPort && !slices.ContainsFunc(o.Ports, func(p Port) bool {
		return !slices.ContainsFunc(r.Ports, func(q Port) bool { return q.covers(p) })
	})
}

func (p *Peer) covers(o *Peer) bool {
	if p.Kind != o.Kind {
		return false
	}
	switch p.Kind {
	case PodPeer:
		if !p.Pods.Covers(o.Pods) {
			return false
		}
		if p.Namespace != "" || o.Namespace != "" {
			return p.Namespace == o.Namespace || (p.Namespace == "" && p.Namespaces.Empty())
		}
		return p.Namespaces.Covers(o.Namespaces)
	case CIDRPeer:
		if !p.CIDR.Contains(o.CIDR.Addr()) || p.CIDR.Bits() > o.CIDR.Bits() {
			return false
		}
		for _, hole := range p.Except { // must be outside of o, or a hole of o as well
			inHole := slices.ContainsFunc(o.Except, func(e netip.Prefix) bool { return e.Bits() <= hole.Bits() && e.Contains(hole.Addr()) })
			if hole.Overlaps(o.CIDR) && !inHole {
				return false
			}
		}
		return true
	case NodePeer:
		return p.Nodes.Covers(o.Nodes)
	}
	return false
}

func (p Port) covers(o Port) bool {
	if p.Name != "" {
		return o.Name == p.Name && (p.Protocol == 0 || p.Protocol == o.Protocol)
	}
	if o.Name != "" { // may stand for any number
		return p.All() && p.Protocol == o.Protocol
	}
	return p.Protocol == o.Protocol && p.From <= o.From && o.To <= p.To
}
