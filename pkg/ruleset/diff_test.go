// SPDX-License-Identifier: Apache-2.0

package ruleset_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	. "github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// drawRuleset makes a valid ruleset whose set with some id is always the same
// set but for its modes.
func drawRuleset(t *rapid.T, generation uint64) *Ruleset {
	r := &Ruleset{Generation: generation}
	small := func(label string, max int) int { return rapid.IntRange(0, max).Draw(t, label) }
	ip := func() netip.Addr {
		if rapid.Bool().Draw(t, "v6") {
			return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(small("host", 9))})
		}
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(small("host", 9))})
	}
	sets := make(map[SetID]bool)
	for id := SetID(1); id <= 4; id++ {
		if !rapid.Bool().Draw(t, "has set") {
			continue
		}
		sets[id] = true
		s := Set{ID: id, AdminEnd: uint16(id), IsolateStart: 100, BaselineStart: 101 + uint16(id), Ranges: id%2 == 0}
		for i := 100; i < int(s.BaselineStart); i++ {
			s.Deny.Add(i)
			s.Always.Add(i)
		}
		s.Candidate.Add(small("bit", Bits-1))
		s.Current.Add(small("bit", Bits-1))
		r.Sets = append(r.Sets, s)
		if s.Ranges {
			n := uint8(small("bits", 16))
			r.PortRanges = append(r.PortRanges, PortRange{Set: id, Protocol: 6, Bits: n, Class: PortClass(small("class", 3))})
		}
		for port := range uint16(3) {
			if rapid.Bool().Draw(t, "has port") {
				r.Ports = append(r.Ports, Port{Set: id, Protocol: 6, Port: port, Class: PortClass(small("class", 3))})
			}
		}
		for c := range ClassID(3) {
			if rapid.Bool().Draw(t, "has match") {
				m := Match{Set: id, Peer: c, Ports: PortClass(small("class", 3)), Open: Modes(small("open modes", 3))}
				m.Bits.Add(small("bit", Bits-1))
				r.Matches = append(r.Matches, m)
			}
		}
	}
	anySet := func() SetID {
		id := SetID(small("set", 4))
		if !sets[id] {
			return 0
		}
		return id
	}
	seen := make(map[netip.Prefix]bool)
	for range small("addresses", 8) {
		a := ip()
		p := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "prefix")).Masked()
		if whole := netip.PrefixFrom(a, a.BitLen()); !seen[whole] {
			seen[whole] = true
			r.Endpoints = append(r.Endpoints, Endpoint{IP: a, ID: EndpointID(1 + small("id", 3)), Ingress: anySet(), Egress: anySet()})
			r.Services = append(r.Services, Service{IP: a, Protocol: 17, Port: 53, Class: ClassID(small("class", 3))})
		}
		if !seen[p] || p.IsSingleIP() {
			if i := len(r.Peers); i == 0 || !hasPeer(r.Peers, p) {
				r.Peers = append(r.Peers, Peer{Prefix: p, Class: ClassID(small("class", 3))})
			}
		}
	}
	r.Sort()
	return r
}

func hasPeer(peers []Peer, p netip.Prefix) bool {
	for _, q := range peers {
		if q.Prefix == p {
			return true
		}
	}
	return false
}

func TestDiffLeadsFromOldToNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, new := drawRuleset(t, 1), drawRuleset(t, 2)
		for _, r := range []*Ruleset{old, new} {
			if err := r.Validate(); err != nil {
				t.Fatalf("generator: %v", err)
			}
		}
		d, err := Diff(old, new)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		got, err := old.Apply(d)
		if err != nil {
			t.Fatal(err)
		}
		if dump(got) != dump(new) || got.Generation != new.Generation {
			t.Fatalf("old:\n%s\nnew:\n%s\ngot:\n%s", dump(old), dump(new), dump(got))
		}
		// Step by step nothing refers to what isn't there.
		for name, part := range steps(d) {
			half, err := old.Apply(part)
			if err != nil {
				t.Fatal(err)
			}
			if err := half.Validate(); err != nil && strings.Contains(err.Error(), "endpoint refers") {
				t.Fatalf("after %s: %v", name, err)
			}
		}
		if again, _ := Diff(new, got); !again.Empty() {
			t.Fatalf("a delta to itself isn't empty: %+v", again)
		}
	})
}

// steps are the states that a kernel passes through, cut where the order of
// Delta turns from one kind of table to the next.
func steps(d *Delta) map[string]*Delta {
	entries := &Delta{From: d.From, Generation: d.Generation, PutSets: d.PutSets, PutPorts: d.PutPorts, PutPortRanges: d.PutPortRanges, PutMatches: d.PutMatches}
	peers := *entries
	peers.PutPeers, peers.PutServices = d.PutPeers, d.PutServices
	moved := peers
	moved.PutEndpoints = d.PutEndpoints
	gone := moved
	gone.DelEndpoints = d.DelEndpoints
	return map[string]*Delta{"entries": entries, "peers": &peers, "endpoints": &moved, "endpoints gone": &gone}
}

func dump(r *Ruleset) string {
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil {
		panic(err)
	}
	return b.String()
}

func TestDiffFromNothingIsWhole(t *testing.T) {
	r := world()
	d, err := Diff(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if d.From != 0 {
		t.Errorf("from generation %d, want 0", d.From)
	}
	got, err := (&Ruleset{Generation: 77}).Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("got\n%s", dump(got))
	}
	if _, err := r.Apply(&Delta{From: 3, Generation: 4}); err == nil || !strings.Contains(err.Error(), "send it whole") {
		t.Errorf("a delta from another generation: %v", err)
	}
}

func TestDiffRefusesAChangedSet(t *testing.T) {
	old, new := world(), world()
	new.Generation = 2
	new.Sets[0].Always.Add(101)
	if _, err := Diff(old, new); err == nil || !strings.Contains(err.Error(), "set 7") {
		t.Errorf("error is %v", err)
	}
	new = world()
	new.Sets[0].Candidate = Bitmap{}
	d, err := Diff(old, new)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.PutSets) != 1 || len(d.PutMatches)+len(d.PutEndpoints) != 0 {
		t.Errorf("a toggle writes %+v", d)
	}
}

func TestValidateNamesTheFault(t *testing.T) {
	for want, spoil := range map[string]func(*Ruleset){
		"set 9, which isn't there":    func(r *Ruleset) { r.Endpoints[0].Ingress = 9 },
		"endpoints: entry 1 is out":   func(r *Ruleset) { r.Endpoints[1] = r.Endpoints[0] },
		"tiers 5, 3, 101":             func(r *Ruleset) { r.Sets[0].AdminEnd, r.Sets[0].IsolateStart = 5, 3 },
		"both denies and passes":      func(r *Ruleset) { r.Sets[0].Pass.Add(0) },
		"bit 50 passes":               func(r *Ruleset) { r.Sets[0].Pass.Add(50) },
		"bits beyond its prefix":      func(r *Ruleset) { r.PortRanges[0].Port++ },
		"is no plain IPv4 or IPv6":    func(r *Ruleset) { r.Services[1].IP = netip.MustParseAddr("::ffff:10.96.0.2") },
		"class 65535 is kept":         func(r *Ruleset) { r.Ports[0].Class = ServicePorts },
		"ranges is true, but the opp": func(r *Ruleset) { r.PortRanges = nil },
		"id 0 stands for none":        func(r *Ruleset) { r.Endpoints[0].ID = 0 },
	} {
		r := world()
		spoil(r)
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}

func TestDumpIsOneLineAnEntry(t *testing.T) {
	got := dump(&Ruleset{
		Generation: 5,
		PortRanges: []PortRange{{Set: 1, Protocol: 6, Port: 8192, Bits: 3, Class: 2}},
		Matches:    []Match{{Set: 1, Peer: 2, Ports: 3, Bits: bitmap(0, 1, 2, 255)}},
	})
	want := "ports set=1 6/8192-16383 class=2\nmatch set=1 peer=2 ports=3 bits=0-2,255 alt=-\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
