// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/netip"
	"slices"
	"time"
)

// Owner is who had an address: exactly one of the three is set.
type Owner struct {
	Pod     *Pod
	Service *Service
	Node    *Node
}

// Known says whether there is an owner at all.
func (o Owner) Known() bool { return o.Pod != nil || o.Service != nil || o.Node != nil }

// same says whether two owners are the same life of the same object.
func (o Owner) same(p Owner) bool {
	switch {
	case o.Pod != nil && p.Pod != nil:
		return o.Pod.Key() == p.Pod.Key() && o.Pod.UID == p.Pod.UID
	case o.Service != nil && p.Service != nil:
		return o.Service.Key() == p.Service.Key()
	case o.Node != nil && p.Node != nil:
		return o.Node.Name == p.Node.Name
	}
	return false
}

// Tenure is the time in which someone had an address.
type Tenure struct {
	Owner
	From time.Time // not before; zero: since ever
	To   time.Time // exclusive; zero: still
}

func (t *Tenure) covers(at time.Time) bool {
	return !at.Before(t.From) && (t.To.IsZero() || at.Before(t.To))
}

// Ledger remembers who had which address when, so that a flow is named by who
// its addresses belonged to when it began. An address that was handed on never
// names its former owner after that, and where two could have had it at the
// time nobody is named. Memory is bounded: the oldest tenures of an address
// are let go first, and addresses long unowned next.
//
// The zero value is ready. It is not for concurrent use.
type Ledger struct {
	world   *World
	byIP    map[netip.Addr][]Tenure
	noIP    map[string]time.Time // pod UID or key -> last seen without an address
	retired []netip.Addr         // in the order in which tenures ended; may repeat
}

const (
	tenuresPerIP = 8
	maxRetired   = 200_000
)

// Update brings the ledger up to a new World that was learned at the given
// time. It returns the addresses whose owner changed. Objects that are the
// same pointers as in the last World are taken as unchanged.
func (l *Ledger) Update(w *World, at time.Time) []netip.Addr {
	if l.byIP == nil {
		l.byIP, l.noIP = map[netip.Addr][]Tenure{}, map[string]time.Time{}
	}
	old := l.world
	if old == nil {
		old = &World{}
	}
	first := l.world == nil
	var changed []netip.Addr
	end := func(ip netip.Addr, o Owner) { changed = l.end(changed, ip, o, at) }
	begin := func(ip netip.Addr, o Owner, from time.Time) { changed = l.begin(changed, ip, o, from) }

	for key, p := range old.Pods {
		if w.Pods[key] != p {
			l.leave(p, w.Pods[key], end)
		}
	}
	for key, p := range w.Pods {
		if old.Pods[key] != p {
			l.enter(p, at, begin)
		}
	}
	for key, s := range old.Services {
		for _, ip := range serviceIPs(s) {
			if n := w.Services[key]; n != s && !slices.Contains(serviceIPs(n), ip) {
				end(ip, Owner{Service: s})
			}
		}
	}
	// What was there when the session began has been there for a time unknown.
	since := at
	if first {
		since = time.Time{}
	}
	for key, s := range w.Services {
		if old.Services[key] != s {
			for _, ip := range serviceIPs(s) {
				begin(ip, Owner{Service: s}, since)
			}
		}
	}
	for key, n := range old.Nodes {
		for _, ip := range n.IPs {
			if is := w.Nodes[key]; is != n && (is == nil || !slices.Contains(is.IPs, ip)) {
				end(ip, Owner{Node: n})
			}
		}
	}
	for key, n := range w.Nodes {
		if old.Nodes[key] != n {
			for _, ip := range n.IPs {
				begin(ip, Owner{Node: n}, since)
			}
		}
	}
	l.world = w
	l.forget()
	return changed
}

// leave ends what a pod no longer has.
func (l *Ledger) leave(was, is *Pod, end func(netip.Addr, Owner)) {
	if was.HostNetwork {
		return
	}
	for _, ip := range was.IPs {
		if is == nil || is.UID != was.UID || is.Done || !slices.Contains(is.IPs, ip) {
			end(ip, Owner{Pod: was})
		}
	}
	if is == nil || is.UID != was.UID {
		delete(l.noIP, podLife(was))
	}
}

// enter begins what a pod has newly. It can't have had an address before it
// was last seen without one, nor before it was created.
func (l *Ledger) enter(p *Pod, at time.Time, begin func(netip.Addr, Owner, time.Time)) {
	if p.HostNetwork || p.Done {
		return
	}
	life := podLife(p)
	if len(p.IPs) == 0 {
		l.noIP[life] = at
		return
	}
	from := p.Created
	if seen, ok := l.noIP[life]; ok && seen.After(from) {
		from = seen
	}
	for _, ip := range p.IPs {
		begin(ip, Owner{Pod: p}, from)
	}
}

func podLife(p *Pod) string {
	if p.UID != "" {
		return p.UID
	}
	return p.Key()
}

func (l *Ledger) begin(changed []netip.Addr, ip netip.Addr, o Owner, from time.Time) []netip.Addr {
	list := l.byIP[ip]
	for i := range list {
		if list[i].To.IsZero() && list[i].same(o) {
			list[i].Owner = o // the same life, newer labels
			return changed
		}
	}
	if len(list) >= tenuresPerIP {
		list = letGo(list, 0, from)
	}
	l.byIP[ip] = append(list, Tenure{Owner: o, From: from})
	return append(changed, ip)
}

func (l *Ledger) end(changed []netip.Addr, ip netip.Addr, o Owner, at time.Time) []netip.Addr {
	list := l.byIP[ip]
	for i := range list {
		if list[i].To.IsZero() && list[i].same(o) {
			list[i].To = at
			l.retired = append(l.retired, ip)
			changed = append(changed, ip)
		}
	}
	return changed
}

// letGo removes a tenure. What is left must not seem to have been alone in the
// time that it shared with the one that goes.
func letGo(list []Tenure, i int, now time.Time) []Tenure {
	until := list[i].To
	if until.IsZero() {
		until = now
	}
	list = slices.Delete(list, i, i+1)
	for j := range list {
		if list[j].From.Before(until) {
			list[j].From = until
		}
	}
	return list
}

// forget keeps the number of addresses that belong to nobody any more bounded.
func (l *Ledger) forget() {
	for len(l.retired) > maxRetired {
		ip := l.retired[0]
		l.retired = l.retired[1:]
		list := l.byIP[ip]
		if i := slices.IndexFunc(list, func(t Tenure) bool { return !t.To.IsZero() }); i >= 0 {
			list = letGo(list, i, list[i].To)
		}
		if len(list) == 0 {
			delete(l.byIP, ip)
		} else {
			l.byIP[ip] = list
		}
	}
}

// Who had ip at the time? Nobody known if there was no owner, or if more than
// one could have been it.
func (l *Ledger) Who(ip netip.Addr, at time.Time) Owner {
	var found Owner
	var pods int
	for _, t := range l.byIP[ip] {
		if !t.covers(at) {
			continue
		}
		if t.Pod != nil {
			pods++
		}
		if !found.Known() || t.Pod != nil {
			found = t.Owner // a pod's own address says more than a node's or a service's
		}
	}
	if pods > 1 {
		return Owner{}
	}
	return found
}

// Tenures lists all that is remembered of an address, oldest first.
func (l *Ledger) Tenures(ip netip.Addr) []Tenure { return slices.Clone(l.byIP[ip]) }

// World is the last one that Update was given; nil before.
func (l *Ledger) World() *World { return l.world }

func serviceIPs(s *Service) []netip.Addr {
	if s == nil {
		return nil
	}
	return slices.Concat(s.IPs, s.ExternalIPs)
}
