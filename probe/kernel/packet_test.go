// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// The endpoint and its peer, in both families.
var (
	local4, peer4 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.9.9.9")
	local6, peer6 = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd09::9")
)

// isolated denies everything to and from the endpoint by a default deny, but
// what goes to or comes from port 80.
func isolated(generation uint64, set ruleset.SetID) *ruleset.Ruleset {
	s := ruleset.Set{ID: set, IsolateStart: 1, BaselineStart: 2}
	s.Deny.Add(1)
	s.Always.Add(1)
	for _, m := range []*ruleset.Bitmap{&s.Current, &s.Candidate, &s.Enforced} {
		m.Add(0)
		m.Add(1)
	}
	web := ruleset.Match{Set: set, Ports: 1}
	web.Bits.Add(0)
	web.Alt = web.Bits
	r := &ruleset.Ruleset{
		Generation: generation,
		Sets:       []ruleset.Set{s},
		Endpoints:  []ruleset.Endpoint{{IP: local4, ID: 1, Ingress: set, Egress: set}, {IP: local6, ID: 1, Ingress: set, Egress: set}},
		Matches:    []ruleset.Match{web},
	}
	for _, p := range []flow.Protocol{flow.TCP, flow.UDP, flow.SCTP} {
		r.Ports = append(r.Ports, ruleset.Port{Set: set, Protocol: uint8(p), Port: 80, Class: 1})
	}
	r.Sort()
	return r
}

func segment(sport, dport uint16, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	b[12], b[13] = 5<<4, flags
	return b
}

func datagram(sport, dport uint16) []byte {
	b := make([]byte, 12)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	return b
}

func echo(kind byte, id uint16) []byte {
	return []byte{kind, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}
}

const (
	syn, ack, fin, rst = 0x02, 0x10, 0x01, 0x04
)

// ext6 puts extension headers before the payload of an IPv6 frame.
func ext6(src, dst netip.Addr, protocol flow.Protocol, payload []byte, headers ...[]byte) []byte {
	next := []flow.Protocol{}
	var body []byte
	for _, h := range headers {
		next = append(next, flow.Protocol(h[0]))
		body = append(body, h[1:]...)
	}
	next = append(next, protocol)
	f := packet(src, dst, next[0], append(body, payload...))
	at := 14 + 40
	for i, h := range headers {
		f[at] = byte(next[i+1])
		at += len(h) - 1
	}
	return f
}

// A header for ext6: its number, then its bytes; the first is filled in.
func options(number byte, units int) []byte {
	h := make([]byte, 1+8*(units+1))
	h[0], h[2] = number, byte(units)
	return h
}

func fragment6(offset uint16, more bool, id uint32) []byte {
	h := make([]byte, 9)
	h[0] = 44
	v := offset << 3
	if more {
		v |= 1
	}
	binary.BigEndian.PutUint16(h[3:], v)
	binary.BigEndian.PutUint32(h[5:], id)
	return h
}

func fragment4(frame []byte, offset uint16, more bool) []byte {
	v := offset
	if more {
		v |= 0x2000
	}
	binary.BigEndian.PutUint16(frame[14+6:], v)
	return frame
}

// options4 makes the IPv4 header longer.
func options4(frame []byte, words int) []byte {
	f := append(append(append([]byte(nil), frame[:34]...), make([]byte, 4*words)...), frame[34:]...)
	f[14] += byte(words)
	return f
}

func conn(t *testing.T, k *kernel.Kernel, local netip.Addr, protocol flow.Protocol, lport, pport uint16) bpf.FlowConn {
	t.Helper()
	peer := peer4
	if local.Is6() {
		peer = peer6
	}
	c, err := k.Conn(kernel.Existing{Local: local, Peer: peer, LocalPort: lport, PeerPort: pport, Protocol: protocol})
	if err != nil {
		t.Fatalf("no connection %s %d %d: %v", protocol, lport, pport, err)
	}
	return c
}

func run(t *testing.T, k *kernel.Kernel, d flow.Direction, frame []byte) int32 {
	t.Helper()
	action, err := k.TestRun(d, frame)
	if err != nil {
		t.Fatal(err)
	}
	return action
}

const (
	next = -1
	drop = 2
)

func TestPacketsOfEveryKind(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	out, in := flow.Egress, flow.Ingress
	for _, c := range []struct {
		name         string
		direction    flow.Direction
		frame        []byte
		local        netip.Addr
		protocol     flow.Protocol
		lport, pport uint16
		opener       flow.Direction
		verdict      flow.Verdict
		flags        bpf.FlowConnFlags
	}{
		{"TCP out, allowed", out, packet(local4, peer4, flow.TCP, segment(1000, 80, syn)), local4, flow.TCP, 1000, 80, out, flow.Allow, 0},
		{"TCP out, denied", out, packet(local4, peer4, flow.TCP, segment(1000, 81, syn)), local4, flow.TCP, 1000, 81, out, flow.Deny, 0},
		{"TCP in", in, packet(peer4, local4, flow.TCP, segment(1000, 80, syn)), local4, flow.TCP, 80, 1000, in, flow.Allow, 0},
		{"TCP in, denied", in, packet(peer6, local6, flow.TCP, segment(1000, 82, syn)), local6, flow.TCP, 82, 1000, in, flow.Deny, 0},
		{"answer to a SYN that wasn't seen", in, packet(peer4, local4, flow.TCP, segment(80, 1001, syn|ack)), local4, flow.TCP, 1001, 80, out, flow.Allow, 0},
		{"mid-stream, one way would allow", in, packet(peer4, local4, flow.TCP, segment(80, 1002, ack)), local4, flow.TCP, 1002, 80, out, flow.Allow, bpf.FlowConnFlagsCONN_OPENER_UNKNOWN},
		{"mid-stream, neither way would", in, packet(peer4, local4, flow.TCP, segment(7000, 1003, ack)), local4, flow.TCP, 1003, 7000, in, flow.Deny, bpf.FlowConnFlagsCONN_OPENER_UNKNOWN},
		{"IPv4 options", out, options4(packet(local4, peer4, flow.TCP, segment(1004, 80, syn)), 3), local4, flow.TCP, 1004, 80, out, flow.Allow, 0},
		{"UDP", out, packet(local4, peer4, flow.UDP, datagram(1000, 80)), local4, flow.UDP, 1000, 80, out, flow.Allow, 0},
		{"UDP in IPv6", in, packet(peer6, local6, flow.UDP, datagram(1000, 53)), local6, flow.UDP, 53, 1000, in, flow.Deny, 0},
		{"SCTP", out, packet(local6, peer6, flow.SCTP, datagram(1000, 80)), local6, flow.SCTP, 1000, 80, out, flow.Allow, 0},
		{"echo request", out, packet(local4, peer4, flow.ICMP, echo(8, 7)), local4, flow.ICMP, 7, 7, out, flow.Contested, 0},
		{"echo reply", in, packet(peer4, local4, flow.ICMP, echo(0, 8)), local4, flow.ICMP, 8, 8, out, flow.Contested, 0},
		{"ICMPv6 echo request", in, packet(peer6, local6, flow.ICMPv6, echo(128, 9)), local6, flow.ICMPv6, 9, 9, in, flow.Contested, 0},
		{"ICMPv6 echo reply", in, packet(peer6, local6, flow.ICMPv6, echo(129, 10)), local6, flow.ICMPv6, 10, 10, out, flow.Contested, 0},
		{"GRE", out, packet(local4, peer4, 47, datagram(0, 0)), local4, 47, 0, 0, out, flow.Contested, 0},
		{"IPv6 hop-by-hop", out, ext6(local6, peer6, flow.TCP, segment(1005, 80, syn), options(0, 0)), local6, flow.TCP, 1005, 80, out, flow.Allow, 0},
		{"IPv6 routing and destination options", out, ext6(local6, peer6, flow.TCP, segment(1006, 80, syn), options(43, 2), options(60, 1)), local6, flow.TCP, 1006, 80, out, flow.Allow, 0},
		{"IPv6 authentication", out, ext6(local6, peer6, flow.TCP, segment(1007, 80, syn), append([]byte{51, 0, 4}, make([]byte, 22)...)), local6, flow.TCP, 1007, 80, out, flow.Allow, 0},
		{"IPv6 atomic fragment", out, ext6(local6, peer6, flow.UDP, datagram(1008, 80), fragment6(0, false, 5)), local6, flow.UDP, 1008, 80, out, flow.Allow, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(t, k, c.direction, c.frame); got != next {
				t.Errorf("without a lease the action is %d", got)
			}
			got := conn(t, k, c.local, c.protocol, c.lport, c.pport)
			if flow.Direction(got.Direction) != c.opener || flow.Verdict(got.Judgement.Verdict) != c.verdict ||
				got.Flags&^uint16(bpf.FlowConnFlagsCONN_ANNOUNCED) != uint16(c.flags) {
				t.Errorf("direction %s, verdict %s, flags %d: want %s, %s, %d", flow.Direction(got.Direction), flow.Verdict(got.Judgement.Verdict), got.Flags, c.opener, c.verdict, c.flags)
			}
			way := map[flow.Direction]int{in: 0, out: 1}[c.direction]
			if got.Packets[way] != 1 || got.Bytes[way] != uint64(len(c.frame)-14) || got.Packets[1-way] != 0 {
				t.Errorf("packets %v, bytes %v of a frame of %d", got.Packets, got.Bytes, len(c.frame))
			}
		})
	}
}

func TestPacketsThatAreNotJudged(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	if err := k.SetLease(time.Minute); err != nil {
		t.Fatal(err)
	}
	related := func(inner []byte, src, dst netip.Addr) []byte {
		kind, protocol := byte(3), flow.ICMP
		if src.Is6() {
			kind, protocol = 1, flow.ICMPv6
		}
		return packet(src, dst, protocol, append([]byte{kind, 1, 0, 0, 0, 0, 0, 0}, inner[14:]...))
	}
	run(t, k, flow.Egress, packet(local4, peer4, flow.TCP, segment(1000, 80, syn)))
	run(t, k, flow.Egress, packet(local6, peer6, flow.UDP, datagram(1000, 80)))
	arp := make([]byte, 60)
	arp[12], arp[13] = 0x08, 0x06
	for _, c := range []struct {
		name      string
		direction flow.Direction
		frame     []byte
		count     func(kernel.Counts) uint64
	}{
		{"ARP", flow.Ingress, arp, func(c kernel.Counts) uint64 { return c.NotIp }},
		{"neighbour solicitation", flow.Ingress, packet(peer6, local6, flow.ICMPv6, append(echo(135, 0), make([]byte, 16)...)), func(c kernel.Counts) uint64 { return c.Neighbour }},
		{"listener report", flow.Egress, packet(local6, peer6, flow.ICMPv6, echo(143, 0)), func(c kernel.Counts) uint64 { return c.Neighbour }},
		{"address of nobody", flow.Egress, packet(peer4, local4, flow.TCP, segment(1, 2, syn)), func(c kernel.Counts) uint64 { return c.Unwatched }},
		{"end of what wasn't seen", flow.Ingress, packet(peer4, local4, flow.TCP, segment(1, 2, rst)), func(c kernel.Counts) uint64 { return c.Unrelated }},
		{"ICMP error of a connection", flow.Ingress, related(packet(local4, peer4, flow.TCP, segment(1000, 80, syn)), netip.MustParseAddr("10.7.7.7"), local4), func(c kernel.Counts) uint64 { return c.Related }},
		{"ICMPv6 error of a connection", flow.Ingress, related(packet(local6, peer6, flow.UDP, datagram(1000, 80)), peer6, local6), func(c kernel.Counts) uint64 { return c.Related }},
		{"ICMP error that goes out", flow.Egress, related(packet(peer4, local4, flow.TCP, segment(80, 1000, ack)), local4, peer4), func(c kernel.Counts) uint64 { return c.Related }},
		{"ICMP error of nothing", flow.Ingress, related(packet(local4, peer4, flow.TCP, segment(1, 2, syn)), peer4, local4), func(c kernel.Counts) uint64 { return c.Unrelated }},
		{"fragment without the first", flow.Ingress, fragment4(packet(peer4, local4, flow.UDP, make([]byte, 40)), 100, false), func(c kernel.Counts) uint64 { return c.FragmentLost }},
		{"too many extension headers", flow.Egress, ext6(local6, peer6, flow.TCP, segment(1, 80, syn), options(60, 0), options(60, 0), options(60, 0), options(60, 0), options(60, 0), options(60, 0), options(60, 0), options(60, 0)), func(c kernel.Counts) uint64 { return c.CutShort }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := k.Counts()
			if err != nil {
				t.Fatal(err)
			}
			if got := run(t, k, c.direction, c.frame); got != next {
				t.Errorf("action %d", got)
			}
			after, err := k.Counts()
			if err != nil {
				t.Fatal(err)
			}
			if c.count(after) != c.count(before)+1 {
				t.Errorf("not counted as such: %+v", after)
			}
		})
	}
}

func TestFragmentsFollowTheFirst(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	for _, c := range []struct {
		name         string
		local        netip.Addr
		first, later []byte
	}{
		{
			"IPv4", local4, fragment4(packet(peer4, local4, flow.UDP, datagram(1000, 80)), 0, true),
			fragment4(packet(peer4, local4, flow.UDP, make([]byte, 40)), 100, false),
		},
		{
			"IPv6", local6, ext6(peer6, local6, flow.UDP, datagram(1000, 80), fragment6(0, true, 77)),
			ext6(peer6, local6, flow.UDP, make([]byte, 40), fragment6(100, false, 77)),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, k, flow.Ingress, c.first)
			run(t, k, flow.Ingress, c.later)
			got := conn(t, k, c.local, flow.UDP, 80, 1000)
			if got.Packets[0] != 2 || got.Bytes[0] != uint64(len(c.first)+len(c.later)-28) {
				t.Errorf("packets %v, bytes %v", got.Packets, got.Bytes)
			}
		})
	}
}

// TestCutShortAnywhere ends packets at each byte: they pass, and nothing but
// whole headers makes a connection.
func TestCutShortAnywhere(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	if err := k.SetLease(time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		need  int // bytes that make it whole
	}{
		{"TCP", packet(local4, peer4, flow.TCP, segment(1, 81, syn)), 14 + 20 + 14},
		{"TCP with options", options4(packet(local4, peer4, flow.TCP, segment(2, 81, syn)), 5), 14 + 40 + 14},
		{"UDP in IPv6", packet(local6, peer6, flow.UDP, datagram(3, 81)), 14 + 40 + 4},
		{"extension headers", ext6(local6, peer6, flow.TCP, segment(4, 81, syn), options(0, 1), options(43, 0)), 14 + 40 + 24 + 14},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := 14; n <= len(c.frame); n++ {
				want := int32(next)
				if n >= c.need {
					want = drop
				}
				// The kernel's test harness wants a whole IP header for some types.
				got, err := k.TestRun(flow.Egress, c.frame[:n])
				if err != nil {
					continue
				}
				if got != want {
					t.Errorf("%d bytes of %d: action %d, want %d", n, len(c.frame), got, want)
				}
			}
		})
	}
}

func TestVerdictBelongsToTheConnection(t *testing.T) {
	k := open(t, kernel.Options{})
	r := isolated(1, 1)
	load(t, k, r)
	if err := k.SetLease(time.Minute); err != nil {
		t.Fatal(err)
	}
	opens := packet(local4, peer4, flow.TCP, segment(1000, 80, syn))
	answers := packet(peer4, local4, flow.TCP, segment(80, 1000, syn|ack))
	carries := packet(peer4, local4, flow.TCP, segment(80, 1000, ack))
	for _, c := range []struct {
		d flow.Direction
		f []byte
	}{{flow.Egress, opens}, {flow.Ingress, answers}, {flow.Ingress, carries}, {flow.Egress, packet(local4, peer4, flow.TCP, segment(1000, 80, ack))}} {
		if got := run(t, k, c.d, c.f); got != next { // to port 1000 nothing may come in but replies
			t.Errorf("%s: action %d", c.d, got)
		}
	}
	if c := conn(t, k, local4, flow.TCP, 1000, 80); c.Packets != [2]uint64{2, 2} {
		t.Errorf("packets %v", c.Packets)
	}

	// A change judges it again without a packet, and its replies with it.
	loadWithout(t, k, r)
	if err := k.JudgeAgain(); err != nil {
		t.Fatal(err)
	}
	if c := conn(t, k, local4, flow.TCP, 1000, 80); flow.Verdict(c.Judgement.Verdict) != flow.Deny || c.Judgement.Set != 2 {
		t.Errorf("after the change: %+v", c.Judgement)
	}
	if got := run(t, k, flow.Ingress, carries); got != drop {
		t.Errorf("a reply of a denied connection: action %d", got)
	}
	c := conn(t, k, local4, flow.TCP, 1000, 80)
	if c.Dropped != 1 || c.Packets[0] != 3 {
		t.Errorf("dropped %d of %v", c.Dropped, c.Packets)
	}
	if n, err := k.Counts(); err != nil || n.EnforcedPackets != 1 {
		t.Errorf("%d packets enforced, %v", n.EnforcedPackets, err)
	}

	// No lease, no drop: it ends by itself.
	if err := k.SetLease(time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	if got := run(t, k, flow.Ingress, carries); got != next {
		t.Errorf("after the lease: action %d", got)
	}
}

// TestFirstPacketDropped: what is told of a connection whose first packet the
// lease drops says so, and the packet is counted once.
func TestFirstPacketDropped(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	if err := k.SetLease(time.Minute); err != nil {
		t.Fatal(err)
	}
	opens := packet(local4, peer4, flow.TCP, segment(1000, 81, syn))
	for i := range uint64(2) {
		if got := run(t, k, flow.Egress, opens); got != drop {
			t.Errorf("packet %d: action %d", i+1, got)
		}
		if c := conn(t, k, local4, flow.TCP, 1000, 81); c.Dropped != i+1 || c.Packets != [2]uint64{0, i + 1} {
			t.Errorf("after packet %d: dropped %d of %v", i+1, c.Dropped, c.Packets)
		}
	}
	if n, err := k.Counts(); err != nil || n.EnforcedPackets != 2 {
		t.Errorf("%d packets enforced, %v", n.EnforcedPackets, err)
	}
	_, records := read(t, k, 0)
	if len(records) != 3 || records[0].Kind != kernel.New || records[0].Conn.Dropped != 1 || records[1].Kind != kernel.Dropped {
		t.Errorf("%+v", records)
	}
}

func TestClosedConnectionOpensAnew(t *testing.T) {
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	opens := packet(local4, peer4, flow.TCP, segment(1000, 80, syn))
	run(t, k, flow.Egress, opens)
	first := conn(t, k, local4, flow.TCP, 1000, 80)
	run(t, k, flow.Egress, packet(local4, peer4, flow.TCP, segment(1000, 80, fin|ack)))
	run(t, k, flow.Egress, opens)
	if c := conn(t, k, local4, flow.TCP, 1000, 80); c.Id != first.Id {
		t.Error("closed by one side only, and already another")
	}
	run(t, k, flow.Ingress, packet(peer4, local4, flow.TCP, segment(80, 1000, fin|ack)))
	run(t, k, flow.Egress, opens)
	c := conn(t, k, local4, flow.TCP, 1000, 80)
	if c.Id == first.Id || c.Packets != [2]uint64{0, 1} || c.TcpFlags != [2]uint8{0, syn} {
		t.Errorf("%+v", c)
	}
}

// TestTableFull counts what can't be tracked, and judges it all the same.
func TestTableFull(t *testing.T) {
	k := open(t, kernel.Options{Conns4: 2, Seats: 1})
	load(t, k, isolated(1, 1))
	if err := k.SetLease(time.Minute); err != nil {
		t.Fatal(err)
	}
	const flows = 64
	for i := range uint16(flows) {
		want := int32(next)
		if i%2 == 1 {
			want = drop
		}
		if got := run(t, k, flow.Egress, packet(local4, peer4, flow.TCP, segment(1000+i, 80+i%2, syn))); got != want {
			t.Errorf("flow %d: action %d, want %d", i, got, want)
		}
	}
	c, err := k.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if c.TableFull == 0 || c.UntrackedPackets != c.TableFull || c.UntrackedBytes != 40*c.TableFull || c.EnforcedPackets != flows/2 {
		t.Errorf("%+v", c)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	k := open(t, kernel.Options{Matches: 4})
	load(t, k, isolated(1, 1))
	big := isolated(2, 2)
	for i := range 8 {
		m := ruleset.Match{Set: 2, Peer: ruleset.ClassID(1 + i), Ports: 1}
		big.Matches = append(big.Matches, m)
	}
	d, err := ruleset.Diff(isolated(1, 1), big)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(d); err == nil {
		t.Error("more than the table holds was written")
	}
	if k.Generation() != 1 {
		t.Errorf("generation %d", k.Generation())
	}
	got, err := k.Judge(ruleset.Packet{Direction: flow.Egress, Protocol: flow.TCP, Local: local4, Peer: peer4, Port: 80})
	if err != nil || got.Set != 1 || got.Current.Verdict != flow.Allow {
		t.Errorf("the old ruleset judges no more: %+v, %v", got, err)
	}
	if err := k.Apply(&ruleset.Delta{From: 7, Generation: 8}); err == nil {
		t.Error("a delta from another generation was taken")
	}
}

// A node holds so many addresses. One more is refused in a sentence that says
// what to do, and those from before are judged as before.
func TestMorePodAddressesThanFit(t *testing.T) {
	const most = 2048
	k := open(t, kernel.Options{})
	load(t, k, isolated(1, 1))
	big, ids := isolated(2, 2), map[netip.Addr]ruleset.EndpointID{}
	for i := range most + 1 {
		ip := netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)})
		ids[ip] = ruleset.EndpointID(100 + i)
		big.Endpoints = append(big.Endpoints, ruleset.Endpoint{IP: ip, ID: ids[ip], Ingress: 2, Egress: 2})
	}
	big.Sort()
	d, err := ruleset.Diff(isolated(1, 1), big)
	if err != nil {
		t.Fatal(err)
	}
	const sentence = "pod addresses are more than the 2048 that a node holds: select fewer pods for this session"
	if err := k.Apply(d); err == nil || !strings.Contains(err.Error(), sentence) {
		t.Errorf("applying: %v", err)
	}
	if err := k.Watch(ids); err == nil || !strings.Contains(err.Error(), sentence) {
		t.Errorf("watching: %v", err)
	}
	got, err := k.Judge(ruleset.Packet{Direction: flow.Egress, Protocol: flow.TCP, Local: local4, Peer: peer4, Port: 80})
	if err != nil || k.Generation() != 1 || got.Set != 1 || got.Current.Verdict != flow.Allow {
		t.Errorf("generation %d judges %+v, %v", k.Generation(), got, err)
	}
}

// loadWithout goes from one ruleset to that of the same pods in which nothing
// matches, and so all is denied that isn't a reply.
func loadWithout(t *testing.T, k *kernel.Kernel, from *ruleset.Ruleset) {
	t.Helper()
	to := isolated(2, 2)
	to.Matches = nil
	d, err := ruleset.Diff(from, to)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(d); err != nil {
		t.Fatal(err)
	}
}
