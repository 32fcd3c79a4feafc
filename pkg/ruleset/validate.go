// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"errors"
	"fmt"
	"net/netip"
)

// Validate checks all that the doc comments of this package promise: order,
// references, ranges. A ruleset from the wire is checked before it is written.
// It reports every fault, at most 20 of them.
func (r *Ruleset) Validate() error {
	v := validator{sets: make(map[SetID]*Set, len(r.Sets))}
	for i := range r.Sets {
		v.set(&r.Sets[i])
	}
	for i, e := range r.Endpoints {
		v.endpoint(e)
		ordered(&v, "endpoints", r.Endpoints, i, compareEndpoint)
		v.known("endpoint", e.Ingress)
		v.known("endpoint", e.Egress)
	}
	for i, p := range r.Peers {
		v.peer(p)
		ordered(&v, "peers", r.Peers, i, comparePeer)
	}
	for i, s := range r.Services {
		v.service(s)
		ordered(&v, "services", r.Services, i, compareService)
	}
	for i, p := range r.Ports {
		v.port(p)
		ordered(&v, "ports", r.Ports, i, comparePort)
		v.known("port", p.Set)
	}
	ranges := make(map[SetID]bool)
	for i, p := range r.PortRanges {
		v.portRange(p)
		ordered(&v, "port ranges", r.PortRanges, i, compareRange)
		v.known("port range", p.Set)
		ranges[p.Set] = true
	}
	for i, m := range r.Matches {
		ordered(&v, "matches", r.Matches, i, compareMatch)
		v.check(m.Set != 0, "match of set 0: set 0 judges nothing")
		v.known("match", m.Set)
	}
	for i, s := range r.Sets {
		ordered(&v, "sets", r.Sets, i, compareSet)
		v.check(s.Ranges == ranges[s.ID], "set %d: ranges is %t, but the opposite is so", s.ID, s.Ranges)
	}
	return errors.Join(v.errs...)
}

// Validate checks what can be checked of a delta alone: each entry in itself,
// not what it refers to.
func (d *Delta) Validate() error {
	v := validator{sets: make(map[SetID]*Set)}
	for i := range d.PutSets {
		v.set(&d.PutSets[i])
	}
	for _, e := range d.PutEndpoints {
		v.endpoint(e)
	}
	for _, p := range d.PutPeers {
		v.peer(p)
	}
	for _, s := range append(d.PutServices[:len(d.PutServices):len(d.PutServices)], d.DelServices...) {
		v.service(s)
	}
	for _, p := range d.PutPorts {
		v.port(p)
	}
	for _, p := range append(d.PutPortRanges[:len(d.PutPortRanges):len(d.PutPortRanges)], d.DelPortRanges...) {
		v.portRange(p)
	}
	for _, p := range d.DelPeers {
		v.peer(Peer{Prefix: p})
	}
	for _, ip := range d.DelEndpoints {
		v.address("endpoint", ip)
	}
	v.check(d.Generation > d.From, "delta from generation %d to %d: generations grow", d.From, d.Generation)
	return errors.Join(v.errs...)
}

const maxFaults = 20

type validator struct {
	sets map[SetID]*Set
	errs []error
}

func (v *validator) check(ok bool, format string, args ...any) {
	if !ok && len(v.errs) < maxFaults {
		v.errs = append(v.errs, fmt.Errorf(format, args...))
	}
}

func ordered[T any](v *validator, what string, s []T, i int, compare func(a, b T) int) {
	v.check(i == 0 || compare(s[i-1], s[i]) < 0, "%s: entry %d is out of order or twice there", what, i)
}

func (v *validator) known(what string, id SetID) {
	v.check(id == 0 || v.sets[id] != nil, "%s refers to set %d, which isn't there", what, id)
}

func (v *validator) address(what string, ip netip.Addr) {
	v.check(ip.IsValid() && !ip.Is4In6() && ip.Zone() == "", "%s: %q is no plain IPv4 or IPv6 address", what, ip)
}

func (v *validator) set(s *Set) {
	v.sets[s.ID] = s
	v.check(s.ID != 0, "set 0: the id stands for no policy at all")
	ok := s.AdminEnd <= s.IsolateStart && s.IsolateStart <= s.BaselineStart && s.BaselineStart <= Bits
	v.check(ok, "set %d: tiers %d, %d, %d are not in order or above %d", s.ID, s.AdminEnd, s.IsolateStart, s.BaselineStart, Bits)
	v.check(!s.Deny.meets(s.Pass), "set %d: a bit both denies and passes", s.ID)
	for i := int(s.AdminEnd); ok && i < int(s.BaselineStart); i++ {
		v.check(!s.Pass.Has(i), "set %d: bit %d passes, but stands in no tier that can", s.ID, i)
		v.check(s.Deny.Has(i) == (i >= int(s.IsolateStart)), "set %d: bit %d: default denies deny and NetworkPolicy rules don't", s.ID, i)
	}
}

func (v *validator) endpoint(e Endpoint) {
	v.address("endpoint", e.IP)
	v.check(e.ID != 0, "endpoint %q: id 0 stands for none", e.IP)
}

func (v *validator) peer(p Peer) {
	v.address("peer", p.Prefix.Addr())
	v.check(p.Prefix.IsValid() && p.Prefix == p.Prefix.Masked(), "peer: %q has bits beyond its prefix", p.Prefix)
}

func (v *validator) service(s Service) { v.address("service", s.IP) }

func (v *validator) port(p Port) {
	v.check(p.Set != 0, "port of set 0: set 0 judges nothing")
	v.check(p.Class != ServicePorts, "set %d port %d: class %d is kept for services", p.Set, p.Port, p.Class)
	v.check(p.Protocol != 0 || p.Port == 0, "set %d port %d: no protocol", p.Set, p.Port)
}

func (v *validator) portRange(p PortRange) {
	v.check(p.Set != 0, "port range of set 0: set 0 judges nothing")
	v.check(p.Class != ServicePorts, "set %d port range %d: class %d is kept for services", p.Set, p.Port, p.Class)
	v.check(p.Bits <= 16 && uint32(p.Port)&(1<<(16-min(p.Bits, 16))-1) == 0, "set %d: port %d/%d has bits beyond its prefix", p.Set, p.Port, p.Bits)
}
