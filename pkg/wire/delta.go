// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"math"
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// Bounds of the parts that a Delta is cut into, and of the whole that a
// [DeltaJoiner] puts together.
const (
	partBytes    = MaxFrame / 2
	partItems    = MaxItems / 4
	maxDeltaSize = 4 << 20 // entries; the kernel's tables are smaller
)

// DeltaParts cuts d into messages that fit into frames; all but the last have
// More set. There is at least one.
func DeltaParts(d *ruleset.Delta) []*Delta {
	c := &cutter{from: d.From, generation: d.Generation}
	for i := range d.PutSets {
		cut(c, &c.part().PutSets, setMessage(&d.PutSets[i]))
	}
	for _, p := range d.PutPorts {
		cut(c, &c.part().PutPorts, portMessage(p))
	}
	for _, p := range d.PutPortRanges {
		cut(c, &c.part().PutPortRanges, rangeMessage(p))
	}
	for i := range d.PutMatches {
		cut(c, &c.part().PutMatches, matchMessage(&d.PutMatches[i]))
	}
	for _, p := range d.PutPeers {
		cut(c, &c.part().PutPeers, peerMessage(p))
	}
	for _, s := range d.PutServices {
		cut(c, &c.part().PutServices, serviceMessage(s))
	}
	for _, e := range d.PutEndpoints {
		cut(c, &c.part().PutEndpoints, &RuleEndpoint{Ip: AddrBytes(e.IP), Id: uint32(e.ID), Ingress: uint32(e.Ingress), Egress: uint32(e.Egress)})
	}
	for _, a := range d.DelEndpoints {
		p := c.part()
		p.DelEndpoints = append(p.DelEndpoints, AddrBytes(a))
		c.grown(20)
	}
	for _, s := range d.DelServices {
		cut(c, &c.part().DelServices, serviceMessage(s))
	}
	for _, p := range d.DelPeers {
		cut(c, &c.part().DelPeers, peerMessage(ruleset.Peer{Prefix: p}))
	}
	for i := range d.DelMatches {
		m := d.DelMatches[i]
		cut(c, &c.part().DelMatches, &Match{Set: uint32(m.Set), Peer: uint32(m.Peer), Ports: uint32(m.Ports)})
	}
	for _, p := range d.DelPortRanges {
		cut(c, &c.part().DelPortRanges, rangeMessage(p))
	}
	for _, p := range d.DelPorts {
		cut(c, &c.part().DelPorts, portMessage(p))
	}
	for _, id := range d.DelSets {
		p := c.part()
		p.DelSets = append(p.DelSets, uint32(id))
		c.grown(5)
	}
	c.part()
	c.parts[len(c.parts)-1].More = false
	return c.parts
}

// cutter collects entries and starts a new part when one is full.
type cutter struct {
	from, generation uint64
	parts            []*Delta
	bytes, items     int
}

func (c *cutter) part() *Delta {
	if len(c.parts) == 0 || c.bytes >= partBytes || c.items >= partItems {
		c.parts = append(c.parts, &Delta{From: c.from, Generation: c.generation, More: true})
		c.bytes, c.items = 0, 0
	}
	return c.parts[len(c.parts)-1]
}

func (c *cutter) grown(n int) {
	c.bytes += n
	c.items++
}

// cut appends m to a list of the current part; the entry itself is small.
func cut[M proto.Message](c *cutter, list *[]M, m M) {
	*list = append(*list, m)
	c.grown(proto.Size(m) + 4)
}

func setMessage(s *ruleset.Set) *Set {
	return &Set{
		Id: uint32(s.ID), Always: bitmapWords(s.Always), Deny: bitmapWords(s.Deny), Pass: bitmapWords(s.Pass),
		AdminEnd: uint32(s.AdminEnd), IsolateStart: uint32(s.IsolateStart), BaselineStart: uint32(s.BaselineStart), Ranges: s.Ranges,
		Current: bitmapWords(s.Current), Candidate: bitmapWords(s.Candidate), Enforced: bitmapWords(s.Enforced),
	}
}

func portMessage(p ruleset.Port) *Port {
	return &Port{Set: uint32(p.Set), Protocol: uint32(p.Protocol), Port: uint32(p.Port), Class: uint32(p.Class)}
}

func rangeMessage(p ruleset.PortRange) *PortRange {
	return &PortRange{Set: uint32(p.Set), Protocol: uint32(p.Protocol), Port: uint32(p.Port), Bits: uint32(p.Bits), Class: uint32(p.Class)}
}

func matchMessage(m *ruleset.Match) *Match {
	return &Match{Set: uint32(m.Set), Peer: uint32(m.Peer), Ports: uint32(m.Ports), Bits: bitmapWords(m.Bits), Alt: bitmapWords(m.Alt), Open: uint32(m.Open)}
}

func peerMessage(p ruleset.Peer) *Peer {
	return &Peer{Ip: AddrBytes(p.Prefix.Addr()), Bits: uint32(p.Prefix.Bits()), Class: uint32(p.Class), Flags: uint32(p.Flags)} //nolint:gosec // bits of a valid prefix are not negative
}

func serviceMessage(s ruleset.Service) *Service {
	return &Service{Ip: AddrBytes(s.IP), Protocol: uint32(s.Protocol), Port: uint32(s.Port), Class: uint32(s.Class)}
}

// DeltaJoiner puts the parts of a Delta together again. The zero value is
// ready. Parts of one connection only: a new connection starts a new joiner.
type DeltaJoiner struct {
	d     *ruleset.Delta
	items int
}

// Add takes the next part. It returns the whole when m was the last part, and
// an error, after which the joiner is empty again, if m is out of range or
// doesn't belong to what came before.
func (j *DeltaJoiner) Add(m *Delta) (*ruleset.Delta, error) {
	if j.d == nil {
		j.d = &ruleset.Delta{From: m.GetFrom(), Generation: m.GetGeneration()}
	}
	err := j.add(m)
	if err != nil {
		*j = DeltaJoiner{}
		return nil, err
	}
	if m.GetMore() {
		return nil, nil
	}
	d := j.d
	*j = DeltaJoiner{}
	return d, nil
}

func (j *DeltaJoiner) add(m *Delta) error {
	d := j.d
	if m.GetFrom() != d.From || m.GetGeneration() != d.Generation {
		return fmt.Errorf("%w: part of generation %d from %d amid generation %d from %d", ErrMalformed, m.GetGeneration(), m.GetFrom(), d.Generation, d.From)
	}
	j.items += len(m.PutSets) + len(m.PutPeers) + len(m.PutServices) + len(m.PutPorts) + len(m.PutPortRanges) + len(m.PutMatches) +
		len(m.PutEndpoints) + len(m.DelMatches) + len(m.DelPortRanges) + len(m.DelPorts) + len(m.DelServices) + len(m.DelPeers) + len(m.DelSets) + len(m.DelEndpoints)
	if j.items > maxDeltaSize {
		return &TooLargeError{"entries of a delta", uint64(j.items), maxDeltaSize} //nolint:gosec // a count
	}
	var r ranges
	d.PutSets = each(&r, d.PutSets, m.PutSets, r.set)
	d.PutPorts = each(&r, d.PutPorts, m.PutPorts, r.portEntry)
	d.PutPortRanges = each(&r, d.PutPortRanges, m.PutPortRanges, r.rangeEntry)
	d.PutMatches = each(&r, d.PutMatches, m.PutMatches, r.match)
	d.PutPeers = each(&r, d.PutPeers, m.PutPeers, r.peer)
	d.PutServices = each(&r, d.PutServices, m.PutServices, r.service)
	d.PutEndpoints = each(&r, d.PutEndpoints, m.PutEndpoints, r.endpoint)
	d.DelEndpoints = each(&r, d.DelEndpoints, m.DelEndpoints, r.addr)
	d.DelServices = each(&r, d.DelServices, m.DelServices, r.service)
	d.DelPeers = each(&r, d.DelPeers, m.DelPeers, func(p *Peer) netip.Prefix { return r.prefix(p.GetIp(), p.GetBits()) })
	d.DelMatches = each(&r, d.DelMatches, m.DelMatches, r.match)
	d.DelPortRanges = each(&r, d.DelPortRanges, m.DelPortRanges, r.rangeEntry)
	d.DelPorts = each(&r, d.DelPorts, m.DelPorts, r.portEntry)
	d.DelSets = each(&r, d.DelSets, m.DelSets, func(id uint32) ruleset.SetID { return ruleset.SetID(id) })
	return r.err
}

func each[M, T any](r *ranges, out []T, in []M, f func(M) T) []T {
	for _, m := range in {
		t := f(m)
		if r.err != nil {
			return out
		}
		out = append(out, t)
	}
	return out
}

// ranges checks that numbers fit; the first that doesn't is remembered.
type ranges struct{ err error }

func (r *ranges) fail(what string, n any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s %v is out of range", ErrMalformed, what, n)
	}
}

func (r *ranges) u16(what string, n uint32) uint16 {
	if n > math.MaxUint16 {
		r.fail(what, n)
	}
	return uint16(n) //nolint:gosec // checked above
}

func (r *ranges) u8(what string, n uint32) uint8 {
	if n > math.MaxUint8 {
		r.fail(what, n)
	}
	return uint8(n) //nolint:gosec // checked above
}

func (r *ranges) bitmap(words []uint64) ruleset.Bitmap {
	b, err := bitmapOf(words)
	if err != nil && r.err == nil {
		r.err = err
	}
	return b
}

func (r *ranges) addr(b []byte) netip.Addr {
	a, ok := Addr(b)
	if !ok {
		r.fail("address of bytes", len(b))
	}
	return a
}

func (r *ranges) prefix(b []byte, bits uint32) netip.Prefix {
	a := r.addr(b)
	if bits > uint32(a.BitLen()) { //nolint:gosec // 0, 32 or 128
		r.fail("prefix length", bits)
		return netip.Prefix{}
	}
	p := netip.PrefixFrom(a, int(bits))
	if p.Masked() != p {
		r.fail("prefix with bits set after its length", p)
	}
	return p
}

func (r *ranges) bit(what string, n uint32) uint16 {
	if n > ruleset.Bits {
		r.fail(what, n)
	}
	return uint16(n) //nolint:gosec // checked above
}

func (r *ranges) set(m *Set) ruleset.Set {
	if m.GetId() == 0 {
		r.fail("set", 0)
	}
	return ruleset.Set{
		ID: ruleset.SetID(m.GetId()), Always: r.bitmap(m.Always), Deny: r.bitmap(m.Deny), Pass: r.bitmap(m.Pass),
		AdminEnd: r.bit("admin end", m.GetAdminEnd()), IsolateStart: r.bit("isolate start", m.GetIsolateStart()), BaselineStart: r.bit("baseline start", m.GetBaselineStart()),
		Ranges: m.GetRanges(), Current: r.bitmap(m.Current), Candidate: r.bitmap(m.Candidate), Enforced: r.bitmap(m.Enforced),
	}
}

func (r *ranges) portEntry(m *Port) ruleset.Port {
	return ruleset.Port{
		Set: ruleset.SetID(m.GetSet()), Protocol: r.u8("protocol", m.GetProtocol()), Port: r.u16("port", m.GetPort()),
		Class: ruleset.PortClass(r.u16("port class", m.GetClass())),
	}
}

func (r *ranges) rangeEntry(m *PortRange) ruleset.PortRange {
	p := ruleset.PortRange{
		Set: ruleset.SetID(m.GetSet()), Protocol: r.u8("protocol", m.GetProtocol()), Port: r.u16("port", m.GetPort()),
		Bits: r.u8("range bits", m.GetBits()), Class: ruleset.PortClass(r.u16("port class", m.GetClass())),
	}
	if p.Bits > 16 || p.Port&(1<<(16-min(p.Bits, 16))-1) != 0 {
		r.fail("port range", m)
	}
	return p
}

func (r *ranges) match(m *Match) ruleset.Match {
	return ruleset.Match{
		Set: ruleset.SetID(m.GetSet()), Peer: ruleset.ClassID(m.GetPeer()), Ports: ruleset.PortClass(r.u16("port class", m.GetPorts())),
		Bits: r.bitmap(m.Bits), Alt: r.bitmap(m.Alt), Open: ruleset.Modes(r.u8("open modes", m.GetOpen())),
	}
}

func (r *ranges) peer(m *Peer) ruleset.Peer {
	return ruleset.Peer{Prefix: r.prefix(m.GetIp(), m.GetBits()), Class: ruleset.ClassID(m.GetClass()), Flags: ruleset.PeerFlags(r.u8("peer flags", m.GetFlags()))}
}

func (r *ranges) service(m *Service) ruleset.Service {
	return ruleset.Service{
		IP: r.addr(m.GetIp()), Protocol: r.u8("protocol", m.GetProtocol()), Port: r.u16("port", m.GetPort()),
		Class: ruleset.ClassID(m.GetClass()),
	}
}

func (r *ranges) endpoint(m *RuleEndpoint) ruleset.Endpoint {
	return ruleset.Endpoint{IP: r.addr(m.GetIp()), ID: ruleset.EndpointID(m.GetId()), Ingress: ruleset.SetID(m.GetIngress()), Egress: ruleset.SetID(m.GetEgress())}
}
