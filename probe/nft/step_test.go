// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
)

func message(t testing.TB, attrs ...netlink.Attribute) []byte {
	t.Helper()
	b, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{2, 0, 0, 0}, b...)
}

func TestParseStep(t *testing.T) {
	verdict, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: verdictCode, Data: []byte{0xff, 0xff, 0xff, 0xfd}}, {Type: verdictChain, Data: []byte("pods\x00")}})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: verdictCode, Data: []byte{0, 100, 0, 3}}})
	if err != nil {
		t.Fatal(err)
	}
	ip := []byte{0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	fragment := append([]byte{}, ip...)
	fragment[7] = 9
	tcp := []byte{0x80, 1, 0, 80}
	packet := Packet{Protocol: 6, Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("10.0.0.2"), SourcePort: 0x8001, DestinationPort: 80}
	whole := packet
	packet.SourcePort, packet.DestinationPort = 0, 0
	head := []netlink.Attribute{
		{Type: attrTable, Data: []byte("t\x00")},
		{Type: attrChain, Data: []byte("c\x00")},
		{Type: attrID, Data: []byte{0, 0, 0, 7}},
	}
	with := func(more ...netlink.Attribute) []byte { return message(t, append(head[:3:3], more...)...) }
	for name, c := range map[string]struct {
		in   []byte
		want Step
	}{
		"jump": {
			with(netlink.Attribute{Type: attrType, Data: []byte{0, 0, 0, 3}}, netlink.Attribute{Type: attrVerdict, Data: verdict}, netlink.Attribute{Type: attrHandle, Data: []byte{0, 0, 0, 0, 0, 0, 0, 5}},
				netlink.Attribute{Type: attrNetwork, Data: ip}, netlink.Attribute{Type: attrTransport, Data: tcp}, netlink.Attribute{Type: attrIn, Data: []byte{0, 0, 0, 3}}),
			Step{Trace: 7, Family: 2, Table: "t", Chain: "c", Handle: 5, Verdict: "jump pods", In: 3, Packet: whole},
		},
		"queue": {
			with(netlink.Attribute{Type: attrType, Data: []byte{0, 0, 0, 3}}, netlink.Attribute{Type: attrVerdict, Data: queue}),
			Step{Trace: 7, Family: 2, Table: "t", Chain: "c", Verdict: "queue 100", Ended: true},
		},
		"policy": {
			with(netlink.Attribute{Type: attrType, Data: []byte{0, 0, 0, 1}}, netlink.Attribute{Type: attrPolicy, Data: []byte{0, 0, 0, 0}}),
			Step{Trace: 7, Family: 2, Table: "t", Chain: "c", Verdict: "drop", Ended: true},
		},
		"end of a chain": {
			with(netlink.Attribute{Type: attrType, Data: []byte{0, 0, 0, 3}}),
			Step{Trace: 7, Family: 2, Table: "t", Chain: "c", Returned: true},
		},
		"fragment": {
			with(netlink.Attribute{Type: attrType, Data: []byte{0, 0, 0, 2}}, netlink.Attribute{Type: attrNetwork, Data: fragment}, netlink.Attribute{Type: attrTransport, Data: tcp}),
			Step{Trace: 7, Family: 2, Table: "t", Chain: "c", Returned: true, Packet: packet},
		},
	} {
		got, err := ParseStep(c.in)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, error %v, want %+v", name, got, err, c.want)
		}
	}
}

// FuzzParseStep: whatever comes, nothing worse than an error.
func FuzzParseStep(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 7, 0, 0, 0, 0, 1})
	f.Add(message(f, netlink.Attribute{Type: attrNetwork, Data: make([]byte, 40)}, netlink.Attribute{Type: attrVerdict, Data: []byte{8, 0, 1, 0, 0, 0, 0, 0}}))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ParseStep(b) })
}
