// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"sync"

	"github.com/gaissmai/bart"
)

type (
	serviceKey struct {
		ip       netip.Addr
		protocol uint8
		port     uint16
	}
	portKey struct {
		set      SetID
		protocol uint8
		port     uint16
	}
	rangeKey struct {
		portKey
		bits uint8
	}
	matchKey struct {
		set   SetID
		peer  ClassID
		ports PortClass
	}
)

// Table is a ruleset made ready to be asked: the same look-ups as the
// kernel's, in plain Go. It doesn't change once made; many may ask at once.
type Table struct {
	pages     *Pages    // if set, they are searched, and nothing else is valid but ranges
	once      sync.Once // before ranges of pages are first asked
	sets      map[SetID]*Set
	endpoints map[netip.Addr]Endpoint
	exact     map[netip.Addr]Peer
	ranges    bart.Table[Peer]
	services  map[serviceKey]Service
	ports     map[portKey]PortClass
	runs      map[rangeKey]PortClass
	matches   map[matchKey]*Match
}

// Table makes the pages ready to be asked, at once: they are searched as they
// are, which takes a little longer for each packet than [NewTable]'s index.
func (p *Pages) Table() *Table { return &Table{pages: p} }

// NewTable indexes a valid ruleset ([Ruleset.Validate]). The table keeps
// pointers into it.
func NewTable(r *Ruleset) *Table {
	t := &Table{
		sets:      make(map[SetID]*Set, len(r.Sets)),
		endpoints: make(map[netip.Addr]Endpoint, len(r.Endpoints)),
		exact:     make(map[netip.Addr]Peer, len(r.Peers)),
		services:  make(map[serviceKey]Service, len(r.Services)),
		ports:     make(map[portKey]PortClass, len(r.Ports)),
		runs:      make(map[rangeKey]PortClass, len(r.PortRanges)),
		matches:   make(map[matchKey]*Match, len(r.Matches)),
	}
	for i := range r.Sets {
		t.sets[r.Sets[i].ID] = &r.Sets[i]
	}
	for _, e := range r.Endpoints {
		t.endpoints[e.IP] = e
	}
	for _, p := range r.Peers {
		if p.Prefix.IsSingleIP() {
			t.exact[p.Prefix.Addr()] = p
		} else {
			t.ranges.Insert(p.Prefix, p)
		}
	}
	for _, s := range r.Services {
		t.services[serviceKey{s.IP, s.Protocol, s.Port}] = s
	}
	for _, p := range r.Ports {
		t.ports[portKey{p.Set, p.Protocol, p.Port}] = p.Class
	}
	for _, p := range r.PortRanges {
		t.runs[rangeKey{portKey{p.Set, p.Protocol, p.Port}, p.Bits}] = p.Class
	}
	for i := range r.Matches {
		m := &r.Matches[i]
		t.matches[matchKey{m.Set, m.Peer, m.Ports}] = m
	}
	return t
}

func (t *Table) set(id SetID) *Set {
	if t.pages != nil {
		return t.pages.Sets.Get(Set{ID: id}, compareSet)
	}
	return t.sets[id]
}

func (t *Table) endpoint(ip netip.Addr) Endpoint {
	if t.pages == nil {
		return t.endpoints[ip]
	}
	e := t.pages.Endpoints.Get(Endpoint{IP: ip}, compareEndpoint)
	if e == nil {
		return Endpoint{}
	}
	return *e
}

func (t *Table) peer(ip netip.Addr) (ClassID, PeerFlags) {
	if t.pages != nil {
		if p := t.pages.Peers.Get(Peer{Prefix: netip.PrefixFrom(ip, ip.BitLen())}, comparePeer); p != nil {
			return p.Class, p.Flags
		}
		t.once.Do(func() {
			for p := range t.pages.Peers.All() {
				if !p.Prefix.IsSingleIP() {
					t.ranges.Insert(p.Prefix, p)
				}
			}
		})
	} else if p, ok := t.exact[ip]; ok {
		return p.Class, p.Flags
	}
	p, _ := t.ranges.Lookup(ip)
	return p.Class, p.Flags
}

func (t *Table) service(k serviceKey) (Service, bool) {
	if t.pages == nil {
		s, ok := t.services[k]
		return s, ok
	}
	s := t.pages.Services.Get(Service{IP: k.ip, Protocol: k.protocol, Port: k.port}, compareService)
	if s == nil {
		return Service{}, false
	}
	return *s, true
}

func (t *Table) portOf(k portKey) (PortClass, bool) {
	if t.pages == nil {
		c, ok := t.ports[k]
		return c, ok
	}
	p := t.pages.Ports.Get(Port{Set: k.set, Protocol: k.protocol, Port: k.port}, comparePort)
	if p == nil {
		return 0, false
	}
	return p.Class, true
}

func (t *Table) run(k rangeKey) (PortClass, bool) {
	if t.pages == nil {
		c, ok := t.runs[k]
		return c, ok
	}
	p := t.pages.PortRanges.Get(PortRange{Set: k.set, Protocol: k.protocol, Port: k.port, Bits: k.bits}, compareRange)
	if p == nil {
		return 0, false
	}
	return p.Class, true
}

func (t *Table) match(k matchKey) *Match {
	if t.pages != nil {
		return t.pages.Matches.Get(Match{Set: k.set, Peer: k.peer, Ports: k.ports}, compareMatch)
	}
	return t.matches[k]
}
