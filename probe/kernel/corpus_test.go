// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kernel_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/bpf"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// TestCorpus runs every case through the loaded programs. Each step is judged
// beside the next one: once as what the cluster has and once as the dry-run
// that is enforced, so that both verdicts and the fate of the packet are held
// against the reference. Each packet is sent in every shape that it can have
// on a wire, then its replies, the errors about it, and itself cut short at
// every byte.
func TestCorpus(t *testing.T) {
	cases, err := corpus.All()
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t)
	for _, k := range c.kernels {
		if err := k.SetLease(time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	s := &sender{cluster: c}
	for _, file := range cases {
		t.Run(file.Name, func(t *testing.T) {
			before := s.ends
			for i := range file.Steps {
				step, other := &file.Steps[i], beside(file.Steps, i)
				for _, sets := range [][2][]*policy.Policy{{step.Policies, other}, {other, step.Policies}} {
					s.forget(t)
					c.set(t, gen.Generation{World: step.World, Modes: modes(sets[0], sets[1])})
					for j := range step.Packets {
						s.send(t, &step.Packets[j])
					}
				}
			}
			if s.ends == before {
				t.Error("no kernel was asked about any packet of this case")
			}
		})
	}
	t.Logf("%d packets sent at %d ends; %d lengths that the kernel's own harness refuses", s.sent, s.ends, s.refused)
}

// beside is what a step's policies are compared with: those of the next step,
// or none if that has the same.
func beside(steps []corpus.Step, i int) []*policy.Policy {
	next := steps[(i+1)%len(steps)].Policies
	if len(next) == len(steps[i].Policies) && (len(next) == 0 || next[0] == steps[i].Policies[0]) {
		return nil
	}
	return next
}

func modes(current, candidate []*policy.Policy) []compile.PolicyMode {
	var out []compile.PolicyMode
	at := map[*policy.Policy]int{}
	for _, p := range current {
		at[p] = len(out)
		out = append(out, compile.PolicyMode{Policy: p, Current: true})
	}
	for _, p := range candidate {
		i, both := at[p]
		if !both {
			i = len(out)
			out = append(out, compile.PolicyMode{Policy: p})
		}
		out[i].Candidate, out[i].Enforced = true, true
	}
	return out
}

// sender sends packets with ports that nobody had before.
type sender struct {
	*cluster
	port                uint16
	sent, ends, refused int
}

func (s *sender) fresh() uint16 {
	s.port++
	if s.port < 20000 || s.port > 60000 { // clear of every port that a case names
		s.port = 20000
	}
	return s.port
}

func (s *sender) forget(t *testing.T) {
	for _, k := range s.kernels {
		k.ForgetConns(t)
	}
}

// send asks the kernels at both ends.
func (s *sender) send(t *testing.T, p *corpus.Packet) {
	t.Helper()
	kind := byte(0)
	if p.HasICMPType {
		kind = p.ICMPType
	}
	for _, a := range s.cluster.ends(p.Packet) {
		s.ends++
		at := shot{sender: s, t: t, k: s.kernels[a.node], asked: a, line: p.Line, kind: kind}
		if kind >= 130 && kind <= 137 || kind == 143 {
			at.neighbour()
			continue
		}
		if p.HasICMPType && kind != 8 && kind != 128 {
			t.Fatalf("%s: no frame is known for this type of ICMP", p.Line)
		}
		for _, shape := range shapes(a.Local.Is4(), a.Protocol) {
			at.as(shape)
		}
	}
}

// shot is one packet at one end.
type shot struct {
	*sender
	t *testing.T
	k *kernel.Kernel
	asked
	line string
	kind byte // of ICMP, if the case says
}

// want is what becomes of the packet: everything is enforced. Where the
// verdict is contested it is the reading that enforcement takes.
func (x *shot) want() int32 {
	if x.candidate.Verdict == flow.Deny || x.candidate.Verdict == flow.Contested && x.tables[x.node].Judge(x.Packet).Drop {
		return drop
	}
	return next
}

func (x *shot) run(d flow.Direction, frame []byte) int32 {
	x.t.Helper()
	x.sent++
	return run(x.t, x.k, d, frame)
}

// shape is one way to write a packet.
type shape struct {
	name  string
	write func(src, dst netip.Addr, protocol flow.Protocol, l4 []byte) []byte
	later func(src, dst netip.Addr, protocol flow.Protocol) []byte // a fragment that belongs to it; nil: none
}

func shapes(v4 bool, protocol flow.Protocol) []shape {
	plain := shape{name: "plain", write: packet}
	if v4 {
		return []shape{
			plain,
			{name: "options", write: func(s, d netip.Addr, p flow.Protocol, l4 []byte) []byte { return options4(packet(s, d, p, l4), 4) }},
			{
				name: "first fragment",
				write: func(s, d netip.Addr, p flow.Protocol, l4 []byte) []byte {
					return fragment4(packet(s, d, p, l4), 0, true)
				},
				later: func(s, d netip.Addr, p flow.Protocol) []byte {
					return fragment4(packet(s, d, p, make([]byte, 24)), 64, false)
				},
			},
		}
	}
	ext := func(headers ...[]byte) func(s, d netip.Addr, p flow.Protocol, l4 []byte) []byte {
		return func(s, d netip.Addr, p flow.Protocol, l4 []byte) []byte { return ext6(s, d, p, l4, headers...) }
	}
	return []shape{
		plain,
		{name: "hop-by-hop, routing, destination options", write: ext(options(0, 0), options(43, 1), options(60, 0))},
		{name: "authentication", write: ext(append([]byte{51, 0, 4}, make([]byte, 22)...))},
		{name: "atomic fragment", write: ext(fragment6(0, false, 5))},
		{
			name: "first fragment", write: ext(options(0, 0), fragment6(0, true, 6)),
			later: func(s, d netip.Addr, p flow.Protocol) []byte {
				return ext6(s, d, p, make([]byte, 24), options(0, 0), fragment6(64, false, 6))
			},
		},
	}
}

// l4 is the transport header of the packet that opens the connection, or of
// an answer to it; need is how much of it makes a connection.
func (x *shot) l4(from, to uint16, answer bool) (b []byte, need int) {
	switch x.Protocol {
	case flow.TCP:
		flags := byte(syn)
		if answer {
			flags = syn | ack
		}
		return segment(from, to, flags), 14
	case flow.UDP, flow.SCTP:
		return datagram(from, to), 4
	case flow.ICMP, flow.ICMPv6:
		kind := map[bool]byte{true: 8, false: 128}[x.Local.Is4()]
		if answer {
			kind = map[bool]byte{true: 0, false: 129}[x.Local.Is4()]
		}
		return echo(kind, from), 8
	}
	return make([]byte, 12), 0
}

// as sends the packet in one shape, with all that follows it.
func (x *shot) as(sh shape) {
	t := x.t
	t.Helper()
	if !x.hasHeader() {
		x.k.ForgetConns(t) // nothing tells its connections apart
	}
	src, dst, back := x.Peer, x.Local, flow.Egress
	if x.Direction == flow.Egress {
		src, dst, back = x.Local, x.Peer, flow.Ingress
	}
	from, to := x.fresh(), x.Port
	if !x.Protocol.HasPorts() {
		to = from
	}
	l4, need := x.l4(from, to, false)
	frame := sh.write(src, dst, x.Protocol, l4)
	name := fmt.Sprintf("%s, %s, %s on %s", x.line, x.Direction, sh.name, x.node)
	if need += len(frame) - len(l4); !x.hasHeader() {
		need = 14 + x.header() // nobody looks further
	}
	x.cut(name, frame, need)

	if got := x.run(x.Direction, frame); got != x.want() {
		t.Errorf("%s: action %d, but the candidate set says %s", name, got, x.candidate.Verdict)
	}
	conn := x.conn(name, from, to)
	if got, want := flow.Verdict(conn.Judgement.Verdict), verdict(x.current); got != want {
		t.Errorf("%s: current verdict %s, want %s", name, got, want)
	}
	if got, want := flow.Verdict(conn.Judgement.Candidate), verdict(x.candidate); got != want {
		t.Errorf("%s: candidate verdict %s, want %s", name, got, want)
	}
	if x.Local == x.Peer {
		return // its answers look like its questions
	}
	if sh.later != nil {
		if got := x.run(x.Direction, sh.later(src, dst, x.Protocol)); got != x.want() {
			t.Errorf("%s: the fragment after it: action %d, want %d", name, got, x.want())
		}
	}
	answer, _ := x.l4(to, from, true)
	if got := x.run(back, sh.write(dst, src, x.Protocol, answer)); got != x.want() {
		t.Errorf("%s: its reply: action %d, want %d", name, got, x.want())
	}
	way, other := 0, 1
	if x.Direction == flow.Egress {
		way, other = 1, 0
	}
	after := x.conn(name, from, to)
	packets := uint64(1)
	if sh.later != nil {
		packets++
	}
	if after.Id != conn.Id || after.Packets[way] != packets || after.Packets[other] != 1 {
		t.Errorf("%s: fragments and replies aren't counted with it: %v", name, after.Packets)
	}
	x.fails(name, back, frame)
}

// conn is the connection that the kernel tracks for the packet.
func (x *shot) conn(name string, from, to uint16) (c bpf.FlowConn) {
	x.t.Helper()
	c, err := x.k.Conn(x.existing(from, to))
	if err != nil {
		x.t.Fatalf("%s: no connection: %v", name, err)
	}
	return c
}

func (x *shot) existing(from, to uint16) kernel.Existing {
	e := kernel.Existing{Local: x.Local, Peer: x.Peer, LocalPort: to, PeerPort: from, Protocol: x.Protocol}
	if x.Direction == flow.Egress {
		e.LocalPort, e.PeerPort = from, to
	}
	if !x.hasHeader() {
		e.LocalPort, e.PeerPort = 0, 0
	}
	return e
}

// fails sends an ICMP error about the packet back to who sent it, from the
// other end: it belongs to the connection and passes.
func (x *shot) fails(name string, back flow.Direction, frame []byte) {
	x.t.Helper()
	kind, protocol := byte(3), flow.ICMP
	if x.Local.Is6() {
		kind, protocol = 1, flow.ICMPv6
	}
	src, dst := x.Local, x.Peer
	if back == flow.Ingress {
		src, dst = dst, src
	}
	before := x.counts()
	got := x.run(back, packet(src, dst, protocol, append([]byte{kind, 1, 0, 0, 0, 0, 0, 0}, frame[14:]...)))
	if after := x.counts(); got != next || after.Related != before.Related+1 {
		x.t.Errorf("%s: an ICMP error about it: action %d, related %d after %d", name, got, after.Related, before.Related)
	}
}

func (x *shot) counts() kernel.Counts {
	x.t.Helper()
	c, err := x.k.Counts()
	if err != nil {
		x.t.Fatal(err)
	}
	return c
}

// cut ends the frame at every byte before need: it passes, makes no
// connection, and is counted as cut short.
func (x *shot) cut(name string, frame []byte, need int) {
	x.t.Helper()
	before, asked := x.counts(), uint64(0)
	for n := 14; n < need; n++ {
		x.sent++
		got, err := x.k.TestRun(x.Direction, frame[:n])
		if err != nil {
			x.refused++ // see TestCutShortOnADevice
			if n >= 14+x.header() {
				x.t.Errorf("%s: %d bytes are refused: %v", name, n, err)
			}
			continue
		}
		asked++
		if got != next {
			x.t.Errorf("%s: of its %d bytes %d are there: action %d", name, len(frame), n, got)
		}
	}
	if after := x.counts(); after.CutShort != before.CutShort+asked {
		x.t.Errorf("%s: cut short %d times, %d of them counted as such", name, asked, after.CutShort-before.CutShort)
	}
}

// hasHeader says whether the transport header tells connections apart.
func (x *shot) hasHeader() bool {
	return x.Protocol.HasPorts() || x.Protocol == flow.ICMP || x.Protocol == flow.ICMPv6
}

// header is the least length of an IP header, which the harness insists on.
func (x *shot) header() int {
	if x.Local.Is4() {
		return 20
	}
	return 40
}

// neighbour sends what IPv6 can't do without: it passes, and nobody judges it.
func (x *shot) neighbour() {
	x.t.Helper()
	src, dst := x.Peer, x.Local
	if x.Direction == flow.Egress {
		src, dst = x.Local, x.Peer
	}
	for _, hops := range [][][]byte{nil, {options(0, 0)}} {
		before := x.counts()
		got := x.run(x.Direction, ext(src, dst, flow.ICMPv6, append(echo(x.kind, 0), make([]byte, 16)...), hops...))
		if after := x.counts(); got != next || after.Neighbour != before.Neighbour+1 {
			x.t.Errorf("%s: action %d, neighbour packets %d after %d", x.line, got, after.Neighbour, before.Neighbour)
		}
	}
}

func ext(src, dst netip.Addr, protocol flow.Protocol, l4 []byte, headers ...[]byte) []byte {
	if len(headers) == 0 {
		return packet(src, dst, protocol, l4)
	}
	return ext6(src, dst, protocol, l4, headers...)
}
