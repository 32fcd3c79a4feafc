// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

func TestNamesThatThePodAskedFor(t *testing.T) {
	s := newSession(Limits{})
	watchBoth(s)
	answer := func(change func(*wire.Answer)) []flow.Event {
		a := &wire.Answer{TimeNs: 0, Endpoint: 1, Server: ip4("10.96.0.10"), Question: "db.example", Type: 1, Ips: [][]byte{ip4("192.0.2.7")}, Ttl: 30, TookNs: 1e6}
		if change != nil {
			change(a)
		}
		return s.frame("n1", &wire.Frame_Answers{Answers: &wire.Answers{Answers: []*wire.Answer{a}}})
	}
	got := answer(nil)
	if len(got) != 1 || got[0].Type != flow.DNSEvent || got[0].Answer.Question != "db.example" || got[0].Answer.Code != "NOERROR" || got[0].Source.Pod != "web-1" || got[0].AnswerSeconds != 0.001 {
		t.Fatalf("events %+v", got)
	}
	if got := answer(func(a *wire.Answer) { a.Rcode, a.Ips = 3, nil }); got[0].Answer.Code != "NXDOMAIN" {
		t.Errorf("answer %+v", got[0].Answer)
	}
	if got := answer(func(a *wire.Answer) { a.Unanswered, a.Ips = true, nil }); got[0].Answer.Code != "" || !got[0].Answer.Unanswered {
		t.Errorf("answer %+v", got[0].Answer)
	}
	out := func(f *wire.Flow) { f.PeerIp = ip4("192.0.2.7") }
	s.from("n1", fromWeb(1, out))
	if r := s.row(t, "n1", 1); r.Event.Destination.Name != "db.example" {
		t.Errorf("called %q", r.Event.Destination.Name)
	}
	// Another pod didn't ask.
	s.flows(toDB(9, func(f *wire.Flow) { f.Direction, f.PeerIp = 2, ip4("192.0.2.7") }))
	if r := s.row(t, "n2", 9); r.Event.Destination.Name != "" {
		t.Errorf("another pod's name: %q", r.Event.Destination.Name)
	}
	s.now = s.now.Add(time.Hour)
	s.from("n1", fromWeb(2, out))
	if r := s.row(t, "n1", 2); r.Event.Destination.Name != "" {
		t.Errorf("after its time: %q", r.Event.Destination.Name)
	}
}

// TestAnswerComesAfterItsConnection: who answers for a service is found first,
// and the answer is often faster.
func TestAnswerComesAfterItsConnection(t *testing.T) {
	s := newSession(Limits{})
	watchBoth(s)
	answer := func(id uint64) []flow.Event {
		return s.frame("n1", &wire.Frame_Answers{Answers: &wire.Answers{Answers: []*wire.Answer{
			{Endpoint: 1, Flow: id, Server: ip4("10.96.0.10"), Question: "db.example", Type: 1, Ips: [][]byte{ip4("192.0.2.7")}, Ttl: 30},
		}}})
	}
	if got := answer(1); len(got) != 0 {
		t.Fatalf("told before its connection: %+v", got)
	}
	got := s.frame("n1", &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{fromWeb(1, nil)}}})
	if len(got) != 2 || got[0].Type != flow.FlowEvent || got[1].Type != flow.DNSEvent || got[1].Source.Port != got[0].Source.Port || got[1].Verdict != got[0].Verdict || got[1].Answer.Question != "db.example" || got[1].Packets != 0 {
		t.Errorf("events %+v", got)
	}
	if got := answer(1); len(got) != 1 || got[0].Source.Port == 0 {
		t.Errorf("of a connection that is known: %+v", got)
	}
	// News of the connection may have been lost.
	if got := answer(2); len(got) != 0 {
		t.Fatalf("told before its connection: %+v", got)
	}
	s.now = s.now.Add(earlyWait)
	got = s.frame("n1", &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{}})
	if len(got) != 1 || got[0].Type != flow.DNSEvent || got[0].Source.Pod != "web-1" || got[0].Source.Port != 0 {
		t.Errorf("alone: %+v", got)
	}
}

func TestOwnersAreNamedByTheirPodsContainers(t *testing.T) {
	s := newSession(Limits{})
	s.world(&wire.Pod{
		Namespace: "shop", Name: "web-1", Uid: "u1", Node: "n1", Ips: [][]byte{ip4("10.0.0.1")}, Endpoint: 1,
		Containers: []*wire.Container{{Id: "abc", Name: "main"}},
	})
	s.from("n1", fromWeb(1, func(f *wire.Flow) {
		f.Owner = &wire.Owner{Pid: 7, Command: "curl\x1b", Executable: "/usr/bin/curl", Container: "abc"}
		f.Request = &wire.Request{Kind: "http", Host: "db", Method: "GET", Path: "/"}
	}))
	e := s.row(t, "n1", 1).Event
	if e.Owner == nil || *e.Owner != (flow.Owner{PID: 7, Command: "curl", Executable: "/usr/bin/curl", Container: "main"}) {
		t.Errorf("owner %+v", e.Owner)
	}
	if e.Request == nil || e.Request.Host != "db" {
		t.Errorf("request %+v", e.Request)
	}
}

// TestServiceIsJoinedByItsBackend: the source's end names a service, the other
// end the pod behind it.
func TestServiceIsJoinedByItsBackend(t *testing.T) {
	s := newSession(Limits{})
	s.frame("", &wire.Frame_World{World: &wire.World{Services: []*wire.KubeService{{
		Namespace: "shop", Name: "db", Ips: [][]byte{ip4("10.96.0.9")},
		Ports: []*wire.ServicePort{{Protocol: 6, Port: 80, Backends: []*wire.Backend{{Ip: ip4("10.0.0.2"), Port: 5432, Ready: true}}}},
	}}}})
	watchBoth(s)
	toService := func(f *wire.Flow) { f.PeerIp, f.PeerPort = ip4("10.96.0.9"), 80 }
	s.from("n1", fromWeb(1, toService))
	s.now = s.now.Add(-time.Second)
	s.from("n2", toDB(1, nil))
	s.pass(3)
	r := s.row(t, "n1", 1)
	if r.Backend == nil || r.Backend.Pod != "db-0" || r.Event.Observed != flow.Unanswered {
		t.Errorf("backend %+v, %s", r.Backend, r.Event.Observed)
	}
	s.from("n1", fromWeb(2, toService))
	s.pass(7)
	if r := s.row(t, "n1", 2); r.Event.Observed != flow.NotArrived || r.Event.Agreement != flow.AllowedButDropped {
		t.Errorf("%s, %s", r.Event.Observed, r.Event.Agreement)
	}
}

// TestNoFalseAlarm: what is ordinary is no disagreement.
func TestNoFalseAlarm(t *testing.T) {
	s := newSession(Limits{})
	watchBoth(s)
	s.pass(5)
	// An established connection outlives a policy that comes later.
	s.from("n2", toDB(1, func(f *wire.Flow) { f.PacketsOut, f.TcpFlagsIn, f.TcpFlagsOut = 2, syn|ack, synAck }))
	s.pass(3)
	s.from("n2", &wire.Flow{Id: 1, Kind: wire.Flow_VERDICT, Set: 7, Verdict: 2, Bit: 2, PacketsIn: 9, PacketsOut: 9})
	s.pass(6)
	if r := s.row(t, "n2", 1); r.Event.Agreement == flow.DeniedButDelivered {
		t.Error("an established connection")
	}
	// Losing samples means not knowing what arrived.
	s.from("n1", fromWeb(2, nil))
	s.frame("n2", &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{Ring: 7}}})
	if r := s.row(t, "n1", 2); r.Event.Observed == flow.NotArrived {
		t.Error("samples were lost")
	}
	// Policies that nobody here judges may have decided.
	s.texts(&wire.PolicyState{Kind: "CiliumNetworkPolicy", Namespace: "shop", Name: "x", Origin: "cluster", Current: true, NotEvaluated: "Cilium's"})
	s.pass(8)
	s.flows(toDB(3, func(f *wire.Flow) { f.Verdict, f.Bit = 2, 2 }))
	s.pass(6)
	if r := s.row(t, "n2", 3); r.Event.Agreement == flow.DeniedButDelivered {
		t.Error("somebody else's policy may allow it")
	}
}

// What was claimed of an open connection is not taken back when it ends,
// though the rules were young when it began: it was judged again meanwhile.
func TestEndTakesNoClaimBack(t *testing.T) {
	s := newSession(Limits{})
	watchBoth(s)
	s.pass(5)
	s.frame("n2", &wire.Frame_Applied{Applied: &wire.Applied{Generation: 7}})
	s.flows(toDB(1, func(f *wire.Flow) {
		f.Verdict, f.Bit, f.PacketsIn, f.PacketsOut, f.TcpFlagsIn, f.TcpFlagsOut = 2, 2, 3, 2, syn|ack, synAck
	}))
	s.now = s.now.Add(time.Second) // old enough when it ends, and not looked at before
	end := s.flows(&wire.Flow{Id: 1, Kind: wire.Flow_CLOSE, PacketsIn: 3, PacketsOut: 2})
	if len(end) == 0 || end[0].Agreement != flow.DeniedButDelivered {
		t.Fatalf("told at its end: %+v", end)
	}
	for _, e := range append(end[1:], s.pass(4)...) {
		if e.Type == flow.OutcomeEvent {
			t.Errorf("told after its end: %q", e.Agreement)
		}
	}
	if r := s.row(t, "n2", 1); r.Event.Agreement != flow.DeniedButDelivered {
		t.Errorf("after its end: %q", r.Event.Agreement)
	}
}

func TestTimeToIsolation(t *testing.T) {
	s := newSession(Limits{})
	watchBoth(s)
	s.pass(5)
	// shop/deny gets another text; first it isn't enforced, then it is.
	s.texts()
	s.Store.rules.since[policyKey{flow.NetworkPolicy, "shop", "deny"}].live = true
	s.Store.rules.since[policyKey{flow.NetworkPolicy, "shop", "deny"}].at = s.now
	s.now = s.now.Add(300 * time.Millisecond)
	other := func(f *wire.Flow) { f.PeerPort = 5433 }
	s.from("n2", toDB(1, func(f *wire.Flow) { f.LocalPort, f.Verdict, f.Bit = 5433, 2, 3 }))
	s.now = s.now.Add(-500 * time.Millisecond)
	s.from("n1", fromWeb(2, other))
	d := drop("NETFILTER_DROP", "nft_do_chain+0x1", 0)
	d.Sport, d.Dport = 40002, 5433
	s.frame("n1", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{d}}})
	s.pass(8)
	list := s.Snapshot(Query{Nodes: true}).Isolation
	if len(list) != 1 || list[0].Node != "n2" || list[0].After != "policy" || list[0].Count != 1 || list[0].Missed != 0 || list[0].P50Seconds <= 0.3 || list[0].P50Seconds > 1.5 {
		t.Errorf("%+v", list)
	}
}
