// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strconv"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// sums are kept up to date as rows change, so that a snapshot of who talks to
// whom among a hundred thousand connections looks at the pairs alone.
type sums struct {
	groups    map[string]*groupName
	named     []*groupName // by place; nil: free
	unnamed   []int32      // the free places
	pairs     map[pairKey]*pair
	list      []pairEntry // all pairs, in no order
	unsure    []*pair     // whose newest row is to be found
	meets     meets
	ports     map[string]*account // by destination port: "tcp/5432"
	numbered  map[Port]*account   // the same, without putting the name together
	externals map[string]*account // by who is neither pod nor service: a name or an address
	ticks     int                 // seconds so far
	bytes     uint64              // since the last of them
	rate      float64             // all pairs' together, of the last of them
	fades     int                 // until then some connection has a rate
}

// maxSums bounds the ports and the external names; what comes later is summed
// up under one name.
const (
	maxSums = 20_000
	others  = "(others)"
)

func (m *sums) init() {
	*m = sums{groups: map[string]*groupName{}, pairs: map[pairKey]*pair{}, meets: meets{of: map[meetKey]*meet{}}, ports: map[string]*account{}, numbered: map[Port]*account{}, externals: map[string]*account{}}
}

// summed is what a row has added to the sums so far.
type summed struct {
	pair                     *pair
	in, out, packets, faults uint64
	verdict, candidate       flow.Verdict
	enforced, open           bool
	taken                    uint32 // the last view that took it: see pair.taken
	port, external           *account
	localWho, peerWho        *who
	prev, next               *row // of the pair's rows
}

// sum brings the sums up to the row's present state.
func (s *Store) sum(r *row) {
	c := &r.sum
	in, out, packets, faults := r.bytesIn-c.in, r.bytesOut-c.out, r.packetsIn+r.packetsOut-c.packets, r.faults+r.enforcedPackets-c.faults
	now := s.lately(r, in+out)
	if c.pair == nil || c.localWho != r.localWho || c.peerWho != r.peerWho || c.verdict != r.verdict ||
		c.candidate != r.candidate || c.enforced != r.enforced {
		s.place(r)
		s.rows.stands(r)
		s.rows.reworded(r)
	}
	c.in, c.out, c.packets, c.faults = r.bytesIn, r.bytesOut, r.packetsIn+r.packetsOut, r.faults+r.enforcedPackets
	p := c.pair
	p.more(in+out, packets, faults, r.last.time())
	if faults > 0 {
		p.meet.faults += faults
		s.sums.list[p.at].plight.faults = true
		s.rows.stands(r)
	}
	p.catchUp(s.sums.ticks)
	p.tickBytes += now
	if in+out > 0 {
		s.sums.bytes += now
		s.sums.fades = s.sums.ticks + fading
	}
	share := p.shareOf(c.taken)
	if share != nil {
		share.more(in+out, packets, faults, r.last.time())
		share.catchUp(s.sums.ticks)
		share.tickBytes += now
	}
	for _, a := range [2]*account{c.port, c.external} {
		if a != nil {
			a.bytesIn += in
			a.bytesOut += out
			a.tickBytes += now
			a.dropped += faults
		}
	}
	if open := !r.done; open != c.open {
		by := -1
		if open {
			by = 1
		}
		c.open = open
		p.Open += by
		if share != nil {
			share.Open += by
		}
		for _, a := range [2]*account{c.port, c.external} {
			if a != nil {
				a.flows += int64(by)
			}
		}
	}
}

// place puts a row among those that it belongs to by now.
func (s *Store) place(r *row) {
	c := &r.sum
	again := c.pair != nil
	if again {
		s.takeOut(r)
	}
	if !again || c.peerWho != r.peerWho {
		s.account(r)
	}
	for _, a := range [2]*account{c.port, c.external} {
		if a == nil {
			continue
		}
		if again {
			a.verdicts(c.verdict, c.candidate, -1)
		}
		a.verdicts(r.verdict, r.candidate, +1)
	}
	c.localWho, c.peerWho, c.verdict, c.candidate, c.enforced = r.localWho, r.peerWho, r.verdict, r.candidate, r.enforced
	k := pairKey{
		local: s.sums.group(r.localWho, r.local), peer: s.sums.group(r.peerWho, r.peer), port: r.port(), protocol: r.protocol,
		direction: r.direction, verdict: r.verdict, candidate: r.candidate, enforced: r.enforced,
	}
	p := s.sums.pairs[k]
	if p == nil {
		p = &pair{key: k, ticks: s.sums.ticks, PairRow: PairRow{ID: k.id(), First: r.first, Last: r.last.time()}}
		s.sums.pairs[k] = p
		p.meet = s.sums.meet(k)
		p.meet.sees(Port{k.protocol, k.port})
		s.sums.enlist(p)
		k.local.refs++
		k.peer.refs++
	}
	p.put(r)
	c.pair = p
	s.sums.answers(r)
	p.Flows++
	p.meet.flows++
	p.meet.faults += c.faults
	s.sums.list[p.at].plight.faults = p.Faults > 0
	p.Bytes += c.in + c.out
	p.Packets += c.packets
	p.Faults += c.faults
	if c.open {
		p.Open++
	}
	if r.first.Before(p.First) {
		p.First = r.first
	}
}

// account finds the port and the external name that a row counts for.
func (s *Store) account(r *row) {
	c := &r.sum
	for _, a := range [2]*account{c.port, c.external} {
		if a != nil { // it was taken for somebody else
			a.bytesIn -= c.in
			a.bytesOut -= c.out
			a.dropped -= c.faults
			a.verdicts(c.verdict, c.candidate, -1)
			if c.open {
				a.flows--
			}
		}
	}
	had := c.port != nil || c.external != nil
	c.port, c.external = nil, nil
	w := r.peerWho
	if s.countedThere(r) {
		return
	}
	c.port = s.sums.portAccount(Port{r.protocol, r.port()})
	if w.pod == "" && w.service == "" && w.node == "" {
		name := w.name
		if name == "" {
			name = r.peer.Addr().String()
		}
		c.external = accountIn(s.sums.externals, name)
	}
	for _, a := range [2]*account{c.port, c.external} {
		if a != nil && had {
			a.bytesIn += c.in
			a.bytesOut += c.out
			a.dropped += c.faults
			if c.open {
				a.flows++
			}
			a.verdicts(c.verdict, c.candidate, +1) // place takes it over into what it is now
		}
	}
}

// countedThere says that the row's other end is watched as well, so that the
// connection is counted where it arrives.
func (s *Store) countedThere(r *row) bool {
	w := r.peerWho
	switch {
	case r.direction != flow.Egress:
		return false
	case w.pod != "":
		return s.names.decoder.Endpoint(w.namespace+"/"+w.pod) != 0
	case w.service != "":
		world := s.names.ledger.World()
		if world == nil || world.Services[w.service] == nil {
			return false
		}
		for _, p := range world.Services[w.service].Ports {
			for _, b := range p.Backends {
				o := s.names.of(b.IP, r.since)
				return o.pod != "" && s.names.decoder.Endpoint(o.namespace+"/"+o.pod) != 0
			}
		}
	}
	return false
}

// portAccount is what a destination port sums up to.
func (m *sums) portAccount(p Port) *account {
	a := m.numbered[p]
	if a == nil {
		a = accountIn(m.ports, strings.ToLower(p.Protocol.String())+portSuffix(p.Port))
		m.numbered[p] = a
	}
	return a
}

func portSuffix(port uint16) string {
	if port == 0 {
		return ""
	}
	return "/" + strconv.Itoa(int(port))
}

func accountIn(m map[string]*account, name string) *account {
	a := m[name]
	if a == nil {
		if len(m) >= maxSums && name != others {
			return accountIn(m, others)
		}
		a = &account{who: &who{name: name}}
		m[name] = a
	}
	return a
}

// verdicts adds a flow's verdict, or takes it out again.
func (p *account) verdicts(v, candidate flow.Verdict, by int64) {
	switch v {
	case flow.Allow:
		p.allowed += by
	case flow.Deny:
		p.denied += by
	case flow.Contested:
		p.contested += by
	}
	if wouldDeny(v, candidate) {
		p.wouldDeny += by
	}
}

// leave takes a row that is let go out of the pairs. Ports and external names
// keep its totals.
func (s *Store) leave(r *row) {
	c := &r.sum
	if c.pair == nil {
		return
	}
	s.takeOut(r)
	for _, a := range [2]*account{c.port, c.external} {
		if a != nil && c.open {
			a.flows--
		}
	}
	r.sum = summed{}
}

func (s *Store) takeOut(r *row) {
	m, c := &s.sums, &r.sum
	p := c.pair
	m.take(p, r)
	s.leftBy(r)
	p.Flows--
	p.meet.flows--
	p.meet.faults -= c.faults
	m.list[p.at].plight.faults = p.Faults > 0
	p.Bytes -= c.in + c.out
	p.Packets -= c.packets
	p.Faults -= c.faults
	if c.open {
		p.Open--
	}
	if p.Flows > 0 {
		return
	}
	delete(m.pairs, p.key)
	if p.meet.flows == 0 {
		if g := p.meet.answering; g != nil {
			m.release(g)
		}
		m.meets.drop(p.meet)
	}
	m.strike(p)
	m.release(p.key.local)
	m.release(p.key.peer)
}

// tick closes n seconds. Pairs may be as many as connections: each does its own
// when something comes of it or is asked. It says whether that has changed any
// of the ports and external names, and any rate of a connection or a pair.
func (m *sums) tick(n int) (accounts, rates bool) {
	for _, list := range [2]map[string]*account{m.ports, m.externals} {
		for _, a := range list {
			accounts = a.tick(n) || accounts
		}
	}
	rates = m.rate >= 1 || m.ticks < m.fades
	m.ticks += n
	m.rate, m.bytes = fadedRate(m.rate, m.bytes, n), 0
	return accounts, rates
}

// fading is after how many seconds without news no connection has a rate for
// sure: see rateOf.
const fading = 5
