// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func open(t testing.TB, o kernel.Options) *kernel.Kernel {
	t.Helper()
	testkit.NeedsRoot(t)
	k, err := kernel.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// drawWorld makes a valid ruleset of few numbers, so that packets meet rules.
// Sets have ids from the given one on: a set never changes under its id.
func drawWorld(t *rapid.T, generation uint64, firstSet ruleset.SetID) *ruleset.Ruleset {
	r := &ruleset.Ruleset{Generation: generation}
	number := func(label string, max int) int { return rapid.IntRange(0, max).Draw(t, label) }
	bits := func(label string, from, to int) (b ruleset.Bitmap) {
		for range number(label+" count", 4) {
			if to > from {
				b.Add(from + number(label, to-from-1))
			}
		}
		return b
	}
	join := func(all ...ruleset.Bitmap) (b ruleset.Bitmap) {
		for _, o := range all {
			for i := range b {
				b[i] |= o[i]
			}
		}
		return b
	}
	minus := func(a, b ruleset.Bitmap) ruleset.Bitmap {
		for i := range a {
			a[i] &^= b[i]
		}
		return a
	}
	protocols := []uint8{1, 6, 17, 58, 132, 47}
	protocol := func() uint8 { return rapid.SampledFrom(protocols).Draw(t, "protocol") }
	sets := number("sets", 3)
	for i := range sets {
		s := ruleset.Set{ID: firstSet + ruleset.SetID(i)}
		s.AdminEnd = uint16(number("admin end", 130))
		s.IsolateStart = s.AdminEnd + uint16(number("rules", 70))
		s.BaselineStart = s.IsolateStart + uint16(number("isolate", 5))
		admin, base := bits("admin deny", 0, int(s.AdminEnd)), bits("baseline deny", int(s.BaselineStart), ruleset.Bits)
		var isolate ruleset.Bitmap
		for b := s.IsolateStart; b < s.BaselineStart; b++ {
			isolate.Add(int(b))
		}
		s.Deny = join(admin, base, isolate)
		s.Pass = minus(join(bits("admin pass", 0, int(s.AdminEnd)), bits("baseline pass", int(s.BaselineStart), ruleset.Bits)), s.Deny)
		s.Always = join(isolate, bits("always", 0, ruleset.Bits))
		mode := func() ruleset.Bitmap {
			if rapid.Bool().Draw(t, "whole mode") {
				return ruleset.Bitmap{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
			}
			return join(bits("mode", 0, ruleset.Bits), isolate)
		}
		s.Current = mode()
		s.Candidate = s.Current
		if rapid.Bool().Draw(t, "has candidate") {
			s.Candidate = mode()
		}
		if rapid.Bool().Draw(t, "has enforced") {
			s.Enforced = mode()
		}
		for n := range number("ranges", 3) {
			wide := uint8(number("bits", 16))
			port := uint16(number("range", 3)) << 12 >> (16 - wide) << (16 - wide)
			p := ruleset.PortRange{Set: s.ID, Protocol: protocol(), Port: port, Bits: wide, Class: ruleset.PortClass(n)}
			if !anyOf(r.PortRanges, func(q ruleset.PortRange) bool {
				return q.Set == p.Set && q.Protocol == p.Protocol && q.Port == p.Port && q.Bits == p.Bits
			}) {
				r.PortRanges = append(r.PortRanges, p)
				s.Ranges = true
			}
		}
		for range number("ports", 6) {
			p := ruleset.Port{Set: s.ID, Protocol: protocol(), Port: uint16(number("port", 3)) << 12, Class: ruleset.PortClass(number("class", 3))}
			if rapid.Bool().Draw(t, "everything else") {
				p.Protocol, p.Port = 0, 0
			}
			if !anyOf(r.Ports, func(q ruleset.Port) bool { return q.Set == p.Set && q.Protocol == p.Protocol && q.Port == p.Port }) {
				r.Ports = append(r.Ports, p)
			}
		}
		for peer := range ruleset.ClassID(4) {
			for _, ports := range []ruleset.PortClass{0, 1, 2, 3, ruleset.ServicePorts} {
				if rapid.Bool().Draw(t, "no match") {
					continue
				}
				m := ruleset.Match{Set: s.ID, Peer: peer, Ports: ports, Bits: bits("bits", 0, ruleset.Bits), Open: ruleset.Modes(number("open modes", 3))}
				m.Alt = m.Bits
				if rapid.IntRange(0, 3).Draw(t, "other reading") == 0 {
					m.Alt = bits("alt", 0, ruleset.Bits)
				}
				r.Matches = append(r.Matches, m)
			}
		}
		r.Sets = append(r.Sets, s)
	}
	set := func() ruleset.SetID {
		if n := number("which set", sets); n > 0 {
			return firstSet + ruleset.SetID(n-1)
		}
		return 0
	}
	for i, ip := range addresses {
		if i < 2 || rapid.Bool().Draw(t, "endpoint") {
			r.Endpoints = append(r.Endpoints, ruleset.Endpoint{IP: ip, ID: ruleset.EndpointID(i + 1), Ingress: set(), Egress: set()})
		}
		for _, bits := range []int{0, ip.BitLen() - 3, ip.BitLen()} {
			p := ruleset.Peer{Prefix: netip.PrefixFrom(ip, bits).Masked(), Class: ruleset.ClassID(number("class", 3)), Flags: ruleset.PeerFlags(number("flags", 7))}
			if rapid.Bool().Draw(t, "peer") && !anyOf(r.Peers, func(q ruleset.Peer) bool { return q.Prefix == p.Prefix }) {
				r.Peers = append(r.Peers, p)
			}
		}
		if rapid.Bool().Draw(t, "service") {
			r.Services = append(r.Services, ruleset.Service{
				IP: ip, Protocol: protocol(), Port: uint16(number("port", 3)) << 12, Class: ruleset.ClassID(number("class", 3)),
			})
		}
	}
	r.Sort()
	return r
}

func anyOf[T any](list []T, f func(T) bool) bool {
	for _, v := range list {
		if f(v) {
			return true
		}
	}
	return false
}

var addresses = []netip.Addr{
	netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.0.0.2"),
	netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::ffff"),
}

// TestKernelEqualsTable goes from one ruleset to another and compares the
// program's answers with the table's on the way.
func TestKernelEqualsTable(t *testing.T) {
	k := open(t, kernel.Options{})
	generation, set := uint64(0), ruleset.SetID(1)
	rapid.Check(t, func(t *rapid.T) {
		var old *ruleset.Ruleset
		for range 2 {
			generation++
			r := drawWorld(t, generation, set)
			set += ruleset.SetID(len(r.Sets))
			if err := r.Validate(); err != nil {
				t.Fatalf("generator: %v", err)
			}
			d, err := ruleset.Diff(old, r)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Apply(d); err != nil {
				t.Fatal(err)
			}
			old = r
			table := ruleset.NewTable(r)
			for range 20 {
				p := drawPacket(t, r)
				want := table.Judge(p)
				for _, how := range []string{"looked up", "remembered"} {
					got, err := k.Judge(p)
					if err != nil {
						t.Fatal(err)
					}
					if got != want {
						var text strings.Builder
						_, _ = r.WriteTo(&text)
						t.Fatalf("%+v, %s\nkernel %+v\ntable  %+v\n%s", p, how, got, want, text.String())
					}
				}
			}
		}
	})
}

func drawPacket(t *rapid.T, r *ruleset.Ruleset) ruleset.Packet {
	p := ruleset.Packet{
		Direction: rapid.SampledFrom([]flow.Direction{flow.Ingress, flow.Egress}).Draw(t, "direction"),
		Local:     rapid.SampledFrom(r.Endpoints).Draw(t, "local").IP,
		Protocol:  flow.Protocol(rapid.SampledFrom([]uint8{1, 6, 17, 58, 132, 47}).Draw(t, "protocol")),
	}
	for p.Peer = rapid.SampledFrom(addresses).Draw(t, "peer"); p.Peer.Is4() != p.Local.Is4(); {
		p.Peer = rapid.SampledFrom(addresses).Draw(t, "peer")
	}
	if p.Protocol.HasPorts() {
		p.Port = uint16(rapid.IntRange(0, 3).Draw(t, "port")) << 12
	}
	return p
}
