// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TCP flags as bits, both ways.
const (
	syn    = tcpSyn
	synAck = tcpSyn | tcpAck
	ack    = tcpAck
)

// watchBoth: web on n1 and db on n2 are watched by live probes.
func watchBoth(s *session) {
	for node, id := range map[string]uint32{"n1": 1, "n2": 2} {
		s.frame(node, &wire.Frame_ProbeState{ProbeState: &wire.ProbeState{Phase: "live"}})
		s.frame(node, &wire.Frame_EndpointStates{EndpointStates: &wire.EndpointStates{States: []*wire.EndpointState{{Id: id, Attached: true, Device: "eth0", Hook: "tcx"}}}})
	}
	s.texts()
}

// texts: shop/allow lets web reach 5432 of db; shop/deny isolates all.
func (s *session) texts(extra ...*wire.PolicyState) {
	list := append([]*wire.PolicyState{
		{Kind: "NetworkPolicy", Namespace: "shop", Name: "allow", Origin: "cluster", Current: true, Yaml: `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]`},
		{Kind: "NetworkPolicy", Namespace: "shop", Name: "deny", Origin: "cluster", Current: true, Yaml: `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}`},
	}, extra...)
	s.frame("", &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{Policies: list}})
}

// fromWeb is web's connection to db as web's endpoint sees it.
func fromWeb(id uint64, change func(*wire.Flow)) *wire.Flow {
	f := &wire.Flow{
		Id: id, Kind: wire.Flow_NEW, Endpoint: 1, Direction: 2, Protocol: 6, LocalIp: ip4("10.0.0.1"), LocalPort: 40000 + uint32(id),
		PeerIp: ip4("10.0.0.2"), PeerPort: 5432, Verdict: 1, PacketsOut: 1, BytesOut: 60, TcpFlagsOut: syn,
	}
	if change != nil {
		change(f)
	}
	return f
}

func (s *session) from(node string, list ...*wire.Flow) {
	s.frame(node, &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}})
}

// pass lets time go by, both nodes being heard of.
func (s *session) pass(seconds int) (told []flow.Event) {
	for range seconds {
		for _, node := range []string{"n1", "n2"} {
			s.now = s.now.Add(-time.Second / 2)
			s.frame(node, &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{}}})
			told = append(told, s.outcomes...)
		}
	}
	return told
}

func (s *session) row(t *testing.T, node string, id uint64) *FlowRow {
	t.Helper()
	r := s.Snapshot(Query{Selected: &FlowID{node, id}}).Selected
	if r == nil {
		t.Fatalf("no row %d of %s", id, node)
	}
	return r
}

func drop(reason, location string, verdict uint32) *wire.Drop {
	return &wire.Drop{
		ReasonName: reason, Location: location, Protocol: 6, Src: ip4("10.0.0.1"), Sport: 40001, Dst: ip4("10.0.0.2"), Dport: 5432, Endpoint: 1, TcpFlags: syn,
		Verdict: verdict, Set: 7, Bit: verdict, // 1: allow's rule, 2: its default deny
	}
}

// within is the same drop in the network namespace of the database's pod.
func within(d *wire.Drop) *wire.Drop {
	d.Within = 2
	return d
}

func TestOutcomes(t *testing.T) {
	in := func(packets uint64, flags uint32) func(*wire.Flow) {
		return func(f *wire.Flow) { f.PacketsIn, f.TcpFlagsIn = packets, flags }
	}
	arrived := func(f *wire.Flow) { f.TcpFlagsIn = syn }
	for _, c := range []struct {
		name    string
		web     func(*wire.Flow)
		db      func(*wire.Flow) // nil: it never came there
		drop    *wire.Drop
		outcome flow.Outcome
		agrees  flow.Agreement
		because string
		at      uint32 // of the drop: in whose eyes
	}{
		{name: "answered", web: func(f *wire.Flow) { in(3, synAck)(f); f.TcpFlagsOut, f.AnswerNs, f.FirstByteNs = syn|ack, 1000, 2000 }, db: arrived, outcome: flow.Answered, agrees: flow.Agrees},
		{name: "silent server", db: arrived, outcome: flow.Unanswered, agrees: flow.Agrees},
		{name: "refused", web: in(1, tcpRst|ack), db: arrived, outcome: flow.Refused, agrees: flow.Agrees},
		{name: "reset on the way", web: in(1, tcpRst|ack), outcome: flow.Rejected, agrees: flow.AllowedButDropped, because: "something on the way answered"},
		{name: "reset by the application", web: func(f *wire.Flow) { in(5, synAck|tcpRst)(f); f.TcpFlagsOut = syn | ack }, db: arrived, outcome: flow.Reset, agrees: flow.Agrees, because: "by the destination"},
		{name: "reset after both ends had finished", web: func(f *wire.Flow) { in(5, synAck|tcpFin)(f); f.TcpFlagsOut = syn | ack | tcpFin | tcpRst }, db: arrived, outcome: flow.Answered, agrees: flow.Agrees},
		{name: "never arrived", outcome: flow.NotArrived, agrees: flow.AllowedButDropped, because: "never came to shop/db-0"},
		{name: "dropped though both ends allow", drop: drop("NETFILTER_DROP", "nft_do_chain+0x1", 1), outcome: flow.Dropped, agrees: flow.AllowedButDropped, because: "NETFILTER_DROP"},
		{name: "dropped as the far end says", drop: drop("NETFILTER_DROP", "nft_do_chain+0x1", 2), outcome: flow.Dropped, agrees: flow.Agrees},
		{name: "dropped, as the text of the far end's policy says", web: func(f *wire.Flow) { f.PeerPort = 5433 }, drop: func() *wire.Drop {
			d := drop("NETFILTER_DROP", "nft_do_chain+0x1", 0)
			d.Dport = 5433
			return d
		}(), outcome: flow.Dropped, agrees: flow.Agrees},
		{name: "dropped in the far pod, before its socket", db: arrived, drop: within(drop("NETFILTER_DROP", "nft_do_chain+0x1", 0)), outcome: flow.Dropped, agrees: flow.AllowedButDropped, because: "NETFILTER_DROP"},
		{name: "reset in the far pod, by a rule", web: in(1, tcpRst|ack), db: arrived, drop: within(drop("NETFILTER_DROP", "nft_do_chain+0x1", 0)), outcome: flow.Rejected, agrees: flow.AllowedButDropped, because: "a packet that was dropped"},
		{name: "rejected in the far pod, by a rule", web: func(f *wire.Flow) { f.IcmpError = &wire.IcmpError{Type: 3, Code: 3, From: ip4("10.0.0.2")} }, db: arrived, drop: within(drop("NETFILTER_DROP", "nft_do_chain+0x1", 0)), outcome: flow.Rejected, agrees: flow.AllowedButDropped, because: "port unreachable"},
		{name: "nobody listens", db: arrived, drop: within(drop("NO_SOCKET", "tcp_v4_rcv+0x1", 0)), outcome: flow.Refused, agrees: flow.Agrees},
		{name: "rejected", web: func(f *wire.Flow) { f.IcmpError = &wire.IcmpError{Type: 3, Code: 13, From: ip4("192.0.2.1")} }, outcome: flow.Rejected, because: "administratively prohibited from 192.0.2.1"},
		{name: "the answer is lost", db: func(f *wire.Flow) { f.TcpFlagsIn, f.TcpFlagsOut, f.PacketsOut = syn, synAck, 2 }, outcome: flow.HalfOpen, agrees: flow.AllowedButDropped, because: "never came back"},
		{name: "denied, dropped", web: func(f *wire.Flow) { f.Verdict = 2 }, drop: drop("NETFILTER_DROP", "nft_do_chain+0x1", 0), outcome: flow.Dropped, agrees: flow.Agrees},
		{name: "denied, not arrived", web: func(f *wire.Flow) { f.Verdict = 2 }, outcome: flow.NotArrived, agrees: flow.Agrees},
		{name: "denied, delivered", web: func(f *wire.Flow) { f.Verdict = 2 }, db: arrived, outcome: flow.Unanswered, agrees: flow.DeniedButDelivered},
		{name: "contested, delivered", web: func(f *wire.Flow) { f.Verdict = 3; in(1, synAck)(f); f.TcpFlagsOut = syn | ack }, db: arrived, outcome: flow.Answered, agrees: flow.ContestedButSettled},
		{name: "open before the session", web: func(f *wire.Flow) { f.Verdict, f.Preexisting = 2, true; in(4, ack)(f) }, outcome: flow.Answered},
		{name: "opener unknown", web: func(f *wire.Flow) { f.Verdict, f.OpenerUnknown = 2, true; in(4, ack)(f) }, outcome: flow.Answered},
		{name: "not judged", web: func(f *wire.Flow) { f.Verdict = 0 }, db: arrived, outcome: flow.Unanswered},
		{name: "by our lease", web: func(f *wire.Flow) { f.Enforced, f.EnforcedPackets = true, 1 }, outcome: flow.Dropped, because: "EBPOL_LEASE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSession(Limits{})
			watchBoth(s)
			s.pass(5)
			s.from("n1", fromWeb(1, c.web))
			s.now = s.now.Add(-time.Second)
			if c.db != nil {
				s.from("n2", toDB(1, c.db))
			}
			if c.drop != nil {
				s.frame("n1", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{c.drop}}})
			}
			s.pass(8)
			r := s.row(t, "n1", 1)
			if r.Event.Observed != c.outcome || r.Event.Agreement != c.agrees {
				t.Errorf("%q, %q; want %q, %q (%s; %s)", r.Event.Observed, r.Event.Agreement, c.outcome, c.agrees, r.Event.Reason, r.Event.Culprit)
			}
			if !strings.Contains(r.Event.Reason, c.because) {
				t.Errorf("because %q, want %q", r.Event.Reason, c.because)
			}
		})
	}
}

// TestDropToldBeforeItsConnection: the node that dropped a packet is heard of
// before the one that sent it.
func TestDropToldBeforeItsConnection(t *testing.T) {
	for _, c := range []struct {
		name   string
		wait   int
		port   uint32
		db     bool // it had come to db's node, whose row took the drop
		struck bool
	}{
		{name: "in the same second", struck: true},
		{name: "in the same second, the other end known", db: true, struck: true},
		{name: "of another connection", port: 49999},
		{name: "long ago", wait: 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSession(Limits{})
			watchBoth(s)
			s.pass(5)
			d := drop("NETFILTER_DROP", "nft_do_chain+0x1", 0)
			if c.port != 0 {
				d.Sport = c.port
			}
			if c.db {
				s.from("n2", toDB(1, func(f *wire.Flow) { f.TcpFlagsIn = syn }))
				s.now = s.now.Add(-time.Second)
				d = within(d)
			}
			s.frame("n2", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{d}}})
			s.now = s.now.Add(-time.Second)
			s.pass(c.wait)
			s.from("n1", fromWeb(1, func(f *wire.Flow) { f.FirstNs = int64(c.wait) * int64(time.Second) }))
			s.pass(8)
			r := s.row(t, "n1", 1)
			want, drops, culprit := flow.NotArrived, uint64(0), "not known"
			if c.struck {
				want, drops, culprit = flow.Dropped, 1, "netfilter"
			}
			if r.Event.Observed != want || r.Drops != drops || !strings.Contains(r.Event.Culprit, culprit) {
				t.Errorf("%q by %q, %d drops; want %q by %q, %d", r.Event.Observed, r.Event.Culprit, r.Drops, want, culprit, drops)
			}
			if list := s.strikes; c.wait > 0 && len(list) != 0 {
				t.Errorf("%d drops are still remembered", len(list))
			}
		})
	}
}
