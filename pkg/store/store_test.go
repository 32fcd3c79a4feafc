// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func ip4(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// session feeds hand-made frames of one node, a second apart unless told otherwise.
type session struct {
	*Store
	now      time.Time
	outcomes []flow.Event // of the last frame
}

func newSession(limits Limits) *session {
	s := &session{Store: New(Options{Limits: limits, Source: "test"}), now: t0}
	s.world(
		&wire.Pod{Namespace: "shop", Name: "web-1", Uid: "u1", Node: "n1", Ips: [][]byte{ip4("10.0.0.1")}, Workload: "deploy/web", Endpoint: 1, Labels: map[string]string{"app": "web"}},
		&wire.Pod{Namespace: "shop", Name: "db-0", Uid: "u2", Node: "n2", Ips: [][]byte{ip4("10.0.0.2")}, Workload: "sts/db", Endpoint: 2, Labels: map[string]string{"app": "db"}},
	)
	s.rules()
	return s
}

func (s *session) world(pods ...*wire.Pod) []flow.Event {
	return s.frame("", &wire.Frame_World{World: &wire.World{Pods: pods, Services: []*wire.KubeService{
		{Namespace: "shop", Name: "db", Ips: [][]byte{ip4("10.96.0.9")}, Ports: []*wire.ServicePort{{Protocol: 6, Port: 5432}}},
	}}})
}

// rules: set 7 has shop/allow rule 0, then the default denies of shop/allow,
// shop/deny and the candidate's shop/new.
func (s *session) rules() {
	name := func(n string, index int32, only bool) *wire.RuleName {
		return &wire.RuleName{Kind: "NetworkPolicy", Namespace: "shop", Name: n, Index: index, CandidateOnly: only}
	}
	s.frame("", &wire.Frame_RuleNames{RuleNames: &wire.RuleNames{Sets: []*wire.SetNames{{
		Set: 7, Direction: 1, IsolateStart: 1, BaselineStart: 4,
		Bits: []*wire.RuleName{name("allow", 0, false), name("allow", -1, false), name("deny", -1, false), name("new", -1, true)},
	}}}})
}

func (s *session) policies(candidate bool) {
	states := []*wire.PolicyState{
		{Kind: "NetworkPolicy", Namespace: "shop", Name: "allow", Origin: "cluster", Current: true, Candidate: candidate},
		{Kind: "NetworkPolicy", Namespace: "shop", Name: "deny", Origin: "cluster", Current: true},
	}
	if candidate {
		states = append(states, &wire.PolicyState{Kind: "NetworkPolicy", Namespace: "shop", Name: "new", Origin: "new.yaml", Candidate: true})
	}
	s.frame("", &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{Policies: states, HasCandidate: candidate}})
}

func (s *session) frame(node string, body any) []flow.Event {
	f := &wire.Frame{Node: node, TimeNs: s.now.UnixNano()}
	switch b := body.(type) {
	case *wire.Frame_World:
		f.Body = b
	case *wire.Frame_RuleNames:
		f.Body = b
	case *wire.Frame_PolicyStates:
		f.Body = b
	case *wire.Frame_Flows:
		f.Body = b
	case *wire.Frame_Drops:
		f.Body = b
	case *wire.Frame_Heartbeat:
		f.Body = b
	case *wire.Frame_Gap:
		f.Body = b
	case *wire.Frame_LeaseState:
		f.Body = b
	case *wire.Frame_ProbeState:
		f.Body = b
	case *wire.Frame_Hello:
		f.Body = b
	case *wire.Frame_EndpointStates:
		f.Body = b
	case *wire.Frame_Applied:
		f.Body = b
	case *wire.Frame_Answers:
		f.Body = b
	case *wire.Frame_Notice:
		f.Body = b
	default:
		panic(fmt.Sprintf("body %T", body))
	}
	s.now = s.now.Add(time.Second)
	s.outcomes = s.outcomes[:0]
	var rest []flow.Event
	for _, e := range s.Apply(f) {
		if e.Type == flow.OutcomeEvent {
			s.outcomes = append(s.outcomes, e)
		} else {
			rest = append(rest, e)
		}
	}
	return rest
}

func (s *session) flows(list ...*wire.Flow) []flow.Event {
	return s.frame("n2", &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}})
}

// toDB is web's connection to db as db's endpoint sees it.
func toDB(id uint64, change func(*wire.Flow)) *wire.Flow {
	f := &wire.Flow{
		Id: id, Kind: wire.Flow_NEW, Endpoint: 2, Direction: 1, Protocol: 6, LocalIp: ip4("10.0.0.2"), LocalPort: 5432,
		PeerIp: ip4("10.0.0.1"), PeerPort: 40000 + uint32(id), Set: 7, Verdict: 1, Bit: 1, Candidate: 1, CandidateBit: 1, PacketsIn: 1, BytesIn: 60,
	}
	if change != nil {
		change(f)
	}
	return f
}

func TestNamesRuleAndDirection(t *testing.T) {
	s := newSession(Limits{})
	got := s.flows(toDB(1, nil))
	if len(got) != 1 {
		t.Fatalf("%d events", len(got))
	}
	e := got[0]
	if e.Type != flow.FlowEvent || e.Direction != flow.Ingress || e.Subject != "destination" || e.Protocol != flow.TCP || e.Node != "n2" {
		t.Errorf("event %+v", e)
	}
	if e.Source.Pod != "web-1" || e.Source.Workload != "deploy/web" || e.Destination.Pod != "db-0" || e.Destination.Port != 5432 {
		t.Errorf("ends %+v -> %+v", e.Source, e.Destination)
	}
	if e.Verdict != flow.Allow || e.Candidate != flow.NotJudged || e.Rule == nil || e.Rule.String() != "shop/allow rule 0" || e.IsolatedBy != nil {
		t.Errorf("judged %v %v by %v, isolated by %v", e.Verdict, e.Candidate, e.Rule, e.IsolatedBy)
	}
}

func TestDefaultDenyNamesEveryPolicyThatIsolatesInTheMode(t *testing.T) {
	s := newSession(Limits{})
	s.policies(true) // candidate: allow (kept) and new; without deny
	e := s.flows(toDB(1, func(f *wire.Flow) { f.Verdict, f.Bit, f.Candidate, f.CandidateBit = 2, 2, 2, 4 }))[0]
	if got := fmt.Sprint(e.IsolatedBy); got != "[shop/allow shop/deny]" || e.Rule != nil {
		t.Errorf("current: isolated by %s, rule %v", got, e.Rule)
	}
	if got := fmt.Sprint(e.CandidateIsolatedBy); got != "[shop/allow shop/new]" {
		t.Errorf("candidate: isolated by %s", got)
	}
}

func TestCandidateIsSaidOnlyWhileThereIsOne(t *testing.T) {
	s := newSession(Limits{})
	s.policies(true)
	s.flows(toDB(1, func(f *wire.Flow) { f.Candidate, f.CandidateBit = 2, 4 }))
	got := s.Snapshot(Query{Flows: true, Changed: true})
	if got.FlowTotal != 1 || got.Flows[0].Event.Candidate != flow.Deny || !got.Flows[0].Event.WouldChange() {
		t.Fatalf("with a candidate: %+v", got.Flows)
	}
	if w := s.Snapshot(Query{Workloads: true}).Workloads[0]; w.WouldDeny != 1 || w.WouldDrop != 1 {
		t.Errorf("workload %+v", w)
	}
	s.policies(false)
	if got := s.Snapshot(Query{Flows: true, Changed: true}); got.FlowTotal != 0 {
		t.Errorf("without one: %+v", got.Flows[0].Event)
	}
}

func TestTotalsAreExactWhateverIsRepeated(t *testing.T) {
	s := newSession(Limits{})
	s.flows(toDB(1, nil))
	s.flows(&wire.Flow{Id: 1, PacketsIn: 10, PacketsOut: 8, BytesIn: 1000, BytesOut: 800})
	again := s.flows(toDB(1, func(f *wire.Flow) { f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut = 10, 8, 1000, 800 })) // after a resume
	if len(again) != 0 {
		t.Errorf("a repeat made events: %+v", again)
	}
	closed := s.flows(&wire.Flow{Id: 1, Kind: wire.Flow_CLOSE, PacketsIn: 11, PacketsOut: 9, BytesIn: 1060, BytesOut: 860, CloseReason: "fin"})
	if len(closed) != 1 || closed[0].Type != flow.CloseEvent || closed[0].Packets != 20 || closed[0].Bytes != 1920 || closed[0].Verdict != flow.Allow {
		t.Fatalf("close %+v", closed)
	}
	w := s.Snapshot(Query{Workloads: true}).Workloads[0]
	if w.BytesIn != 1060 || w.BytesOut != 860 || w.Flows != 0 || w.Allowed != 1 || w.Name != "sts/db" {
		t.Errorf("workload %+v", w)
	}
	if row := s.Snapshot(Query{Flows: true}).Flows[0]; !row.Closed || row.PacketsIn != 11 || row.PacketsOut != 9 {
		t.Errorf("row %+v", row)
	}
}

func TestVerdictChangeIsOneEventAndMovesTheCount(t *testing.T) {
	s := newSession(Limits{})
	s.flows(toDB(1, nil))
	change := &wire.Flow{Id: 1, Kind: wire.Flow_VERDICT, Set: 7, Verdict: 2, Bit: 2, Candidate: 2, CandidateBit: 2}
	got := s.flows(change)
	if len(got) != 1 || got[0].Type != flow.VerdictEvent || got[0].Verdict != flow.Deny || len(got[0].IsolatedBy) != 2 {
		t.Fatalf("events %+v", got)
	}
	if len(s.flows(change)) != 0 {
		t.Error("said twice")
	}
	w := s.Snapshot(Query{Workloads: true}).Workloads[0]
	if w.Allowed != 0 || w.Denied != 1 {
		t.Errorf("allowed %d denied %d", w.Allowed, w.Denied)
	}
	snap := s.Snapshot(Query{Flows: true, Trouble: true, Selected: &FlowID{"n2", 1}})
	if snap.FlowTotal != 1 || snap.Selected == nil || snap.Selected.Altered != 1 || len(snap.FlowEvents) != 3 {
		t.Errorf("snapshot %+v", snap)
	}
}

func TestReusedAddressIsNeverTheFormerOwner(t *testing.T) {
	s := newSession(Limits{})
	// A flow comes from web's address, but two seconds later the API says that
	// web was gone by then and that job has the address.
	s.frame("", &wire.Frame_World{World: &wire.World{Gone: []string{"pod shop/web-1"}}})
	e := s.flows(toDB(1, nil))[0]
	if e.Source.Pod != "" || e.Source.IP.String() != "10.0.0.1" {
		t.Errorf("named %+v, want nobody", e.Source)
	}
	s.world(&wire.Pod{Namespace: "shop", Name: "job-x", Uid: "u3", Node: "n1", Ips: [][]byte{ip4("10.0.0.1")}, Workload: "job/x", CreatedNs: s.now.Add(-2 * time.Second).UnixNano()})
	if row := s.Snapshot(Query{Flows: true}).Flows[0]; row.Event.Source.Pod != "job-x" {
		t.Errorf("once known: %+v", row.Event.Source)
	}
}

func TestServiceAndBackend(t *testing.T) {
	s := newSession(Limits{})
	e := s.frame("n1", &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{{
		Id: 5, Kind: wire.Flow_NEW, Endpoint: 1, Direction: 2, Protocol: 6, LocalIp: ip4("10.0.0.1"), LocalPort: 4000, PeerIp: ip4("10.96.0.9"), PeerPort: 5432,
		Verdict: 3, Candidate: 3, Service: true, Alt: 2,
	}}}})[0]
	if e.Destination.Service != "shop/db" || e.Destination.Pod != "" || e.Subject != "source" || !strings.Contains(e.Reason, "enforcement lets it through") {
		t.Errorf("destination %+v reason %q", e.Destination, e.Reason)
	}
	s.frame("n1", &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{{Id: 5, BackendIp: ip4("10.0.0.2"), BackendPort: 5432, PacketsOut: 1}}}})
	if row := s.Snapshot(Query{Flows: true}).Flows[0]; row.Backend == nil || row.Backend.Pod != "db-0" || row.Event.Destination.Service != "shop/db" {
		t.Errorf("row %+v", row)
	}
}

func TestDropsAreGroupedExplainedAndCounted(t *testing.T) {
	s := newSession(Limits{})
	s.flows(toDB(1, nil))
	drop := func(reason string, weight uint64) *wire.Drop {
		return &wire.Drop{
			ReasonName: reason, Location: "nft_do_chain+0x1a2", Stack: []string{"nf_hook_slow+0x4"}, Device: "eth0", Protocol: 6, Endpoint: 2, Weight: weight,
			Src: ip4("10.0.0.1"), Sport: 40001, Dst: ip4("10.0.0.2"), Dport: 5432, Length: 60,
		}
	}
	got := s.frame("n2", &wire.Frame_Drops{Drops: &wire.Drops{
		Drops: []*wire.Drop{drop("NETFILTER_DROP", 1), drop("NETFILTER_DROP", 3), drop("TCP_OLD_DATA", 1)},
		Counts: []*wire.DropCount{
			{ReasonName: "NETFILTER_DROP", Location: "nft_do_chain+0x1a2", Packets: 9, Endpoint: 2},
			{ReasonName: "TCP_OLD_DATA", Location: "nft_do_chain+0x1a2", Packets: 1, Endpoint: 2},
		},
	}})
	if len(got) != 3 || got[0].Type != flow.DropEvent || got[0].Direction != flow.Ingress || got[0].Source.Pod != "web-1" || got[0].Verdict != flow.Allow {
		t.Fatalf("events %+v", got)
	}
	snap := s.Snapshot(Query{Drops: true, Flows: true, Workloads: true})
	if snap.DropTotal != 1 || snap.Drops[0].Count != 9 || snap.Drops[0].Sampled || snap.Drops[0].Culprit != "netfilter (nftables)" || snap.Drops[0].Sentence == "" {
		t.Errorf("drops %+v", snap.Drops[0])
	}
	if with := s.Snapshot(Query{Drops: true, Benign: true}); with.DropTotal != 2 {
		t.Errorf("benign ones are %d with the others", with.DropTotal)
	}
	if snap.Flows[0].Drops != 5 || snap.Workloads[0].Dropped != 9 {
		t.Errorf("flow %d, workload %d", snap.Flows[0].Drops, snap.Workloads[0].Dropped)
	}
}

func TestDropCountsSharedByTwoGroupsAreNotGuessed(t *testing.T) {
	s := newSession(Limits{})
	one := &wire.Drop{ReasonName: "NO_SOCKET", Location: "tcp_v4_rcv+1", Protocol: 6, Endpoint: 2, Src: ip4("10.0.0.1"), Dst: ip4("10.0.0.2")}
	two := &wire.Drop{ReasonName: "NO_SOCKET", Location: "tcp_v4_rcv+1", Protocol: 6, Endpoint: 2, Src: ip4("192.0.2.1"), Dst: ip4("10.0.0.2")}
	s.frame("n2", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{one, two}, Counts: []*wire.DropCount{{ReasonName: "NO_SOCKET", Location: "tcp_v4_rcv+1", Packets: 10, Endpoint: 2}}}})
	for _, d := range s.Snapshot(Query{Drops: true}).Drops {
		if d.Count != 1 || !d.Sampled {
			t.Errorf("%+v", d)
		}
	}
}

func TestLossIsSaidOncePerNodeAndWhile(t *testing.T) {
	s := newSession(Limits{})
	beat := func(ring uint64) int {
		return len(s.frame("n2", &wire.Frame_Heartbeat{Heartbeat: &wire.Heartbeat{Loss: &wire.Loss{Ring: ring}}}))
	}
	said := 0
	for i := range 20 {
		said += beat(uint64(i) * 1000)
	}
	if said < 2 || said > 5 {
		t.Errorf("%d loss events in 20 s", said)
	}
	if h := s.Snapshot(Query{Nodes: true}).Health; h.Loss.Ring != 19000 {
		t.Errorf("loss %+v", h.Loss)
	}
}

func TestGapLeaseAndProbeState(t *testing.T) {
	s := newSession(Limits{})
	e := s.frame("n1", &wire.Frame_Gap{Gap: &wire.Gap{CutNs: int64(4 * time.Second), Reason: "stream cut"}})
	if len(e) != 1 || e[0].Type != flow.GapEvent || e[0].Reason != "stream cut" {
		t.Errorf("gap %+v", e)
	}
	s.frame("n2", &wire.Frame_ProbeState{ProbeState: &wire.ProbeState{Phase: "creating"}})
	s.frame("n2", &wire.Frame_Notice{Notice: &wire.Notice{Text: "of the node"}})
	s.frame("n1", &wire.Frame_ProbeState{ProbeState: &wire.ProbeState{Phase: "live"}})
	s.frame("n1", &wire.Frame_LeaseState{LeaseState: &wire.LeaseState{Active: true, LeftNs: int64(10 * time.Second), TotalLeftNs: int64(time.Minute)}})
	s.frame("", &wire.Frame_Notice{Notice: &wire.Notice{Level: wire.Notice_WARN, Text: "of the session\x1b[2J"}})
	snap := s.Snapshot(Query{Nodes: true})
	h := snap.Health
	if h.Notice != "of the session[2J" || h.Notices != 1 || snap.Nodes[1].Message != "of the node" {
		t.Errorf("notices: %q, %d, %q", h.Notice, h.Notices, snap.Nodes[1].Message)
	}
	if h.NodesLive != 1 || h.NodesTotal != 2 || !h.Enforcing || h.LeaseLeft != 9*time.Second || h.EnforceLeft != 59*time.Second || h.Gaps != 1 {
		t.Errorf("health %+v", h)
	}
}

func TestAnotherProbeProcessStartsItsNumbersAgain(t *testing.T) {
	s := newSession(Limits{})
	s.frame("n2", &wire.Frame_Hello{Hello: &wire.Hello{Instance: "a"}})
	s.flows(toDB(1, nil))
	closed := s.frame("n2", &wire.Frame_Hello{Hello: &wire.Hello{Instance: "b"}})
	if len(closed) != 1 || closed[0].Type != flow.CloseEvent {
		t.Errorf("events %+v", closed)
	}
	if got := s.flows(toDB(1, nil)); len(got) != 1 || got[0].Type != flow.FlowEvent {
		t.Errorf("the new process' first flow: %+v", got)
	}
}

func TestBoundsLetClosedRowsGoFirst(t *testing.T) {
	s := newSession(Limits{Flows: 10, Events: 5})
	for i := range uint64(10) {
		s.flows(toDB(i+1, nil))
	}
	s.flows(&wire.Flow{Id: 9, Kind: wire.Flow_CLOSE})
	s.flows(toDB(11, nil))
	snap := s.Snapshot(Query{Flows: true, Timeline: true})
	if snap.FlowTotal != 10 || snap.Health.LetGo != 0 || len(snap.Timeline) != 5 {
		t.Errorf("total %d, let go %d, timeline %d", snap.FlowTotal, snap.Health.LetGo, len(snap.Timeline))
	}
	for i := range uint64(5000) {
		s.flows(toDB(i+100, nil))
	}
	snap = s.Snapshot(Query{Flows: true, Workloads: true})
	if snap.FlowTotal != 10 || snap.Health.LetGo != 5000 || len(s.open.rows) > 2100 || s.joins.exact.rows.n != 10 {
		t.Errorf("total %d, let go %d, queue %d, tuples %d", snap.FlowTotal, snap.Health.LetGo, len(s.open.rows), s.joins.exact.rows.n)
	}
	if w := snap.Workloads[0]; w.Allowed != 5011 || w.Flows != 10 {
		t.Errorf("totals outlive rows: %+v", w)
	}
}

func TestPolicyHits(t *testing.T) {
	s := newSession(Limits{})
	s.policies(true)
	s.flows(toDB(1, func(f *wire.Flow) { f.Candidate, f.CandidateBit = 2, 4 }), toDB(2, nil))
	for _, p := range s.Snapshot(Query{Policies: true}).Policies {
		switch p.Name {
		case "allow":
			if p.RuleHits[RuleAt{flow.Ingress, 0}] != 2 {
				t.Errorf("allow %+v", p.RuleHits)
			}
		case "new":
			if p.RuleHits[RuleAt{flow.Ingress, -1}] != 1 || p.WouldDeny != 1 {
				t.Errorf("new %+v", p)
			}
		}
	}
}

// TestHitsAreOfThePresentText: a policy that was edited has other rules behind the
// same numbers. One that is told again, or turned off and on, keeps what it has.
func TestHitsAreOfThePresentText(t *testing.T) {
	s := newSession(Limits{})
	tell := func(text string, on bool) {
		s.frame("", &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{HasCandidate: on, Policies: []*wire.PolicyState{
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "allow", Origin: "cluster", Current: true, Candidate: true, Yaml: "same"},
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "new", Origin: "new.yaml", Candidate: on, Yaml: text},
		}}})
	}
	check := func(when string, hits, would uint64) {
		t.Helper()
		for _, p := range s.Snapshot(Query{Policies: true}).Policies {
			switch {
			case p.Name == "new" && (p.Hits != hits || p.WouldDeny != would || p.RuleHits[RuleAt{flow.Ingress, -1}] != hits):
				t.Errorf("%s: %d hits, %d would be denied: %+v", when, p.Hits, p.WouldDeny, p.RuleHits)
			case p.Name == "allow" && p.Hits == 0:
				t.Errorf("%s: another policy's hits are gone", when)
			}
		}
	}
	s.policies(true)
	tell("one", true)
	s.flows(toDB(1, func(f *wire.Flow) { f.Candidate, f.CandidateBit = 2, 4 }))
	tell("one", true)
	tell("one", false)
	tell("one", true)
	check("told again", 1, 1)
	tell("two", true)
	check("edited", 0, 0)
	s.flows(toDB(2, func(f *wire.Flow) { f.Candidate, f.CandidateBit = 2, 4 }))
	check("after that", 1, 1)
}

func TestHostileFramesAreBounded(t *testing.T) {
	s := newSession(Limits{})
	for _, f := range []*wire.Flow{
		{},
		{Id: 1, Kind: wire.Flow_CLOSE},
		{Id: 2, Endpoint: 9, Direction: 9, LocalIp: []byte{1}, PeerIp: nil},
		toDB(3, func(f *wire.Flow) { f.Set, f.Bit, f.Verdict = 999, 4_000_000_000, 77 }),
		toDB(4, func(f *wire.Flow) { f.Bit = 200 }),
	} {
		s.flows(f)
	}
	s.frame("n1", &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{{ReasonName: "\x1b[2J", Location: "x\n", Src: []byte{1, 2, 3}}}}})
	d := s.Snapshot(Query{Drops: true}).Drops[0]
	if d.Event.Reason != "[2J" || d.Event.Location != "x" {
		t.Errorf("reason %q", d.Event.Reason)
	}
}

func TestFileStandsInThePlaceOfTheClustersPolicy(t *testing.T) {
	s := newSession(Limits{})
	s.frame("", &wire.Frame_RuleNames{RuleNames: &wire.RuleNames{Sets: []*wire.SetNames{{
		Set: 8, Direction: 1, IsolateStart: 0, BaselineStart: 2, Bits: []*wire.RuleName{
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "x", Index: -1},
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "x", Index: -1, CandidateOnly: true},
		},
	}}}})
	state := func(candidate bool) {
		// in two parts
		s.frame("", &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{More: true, Policies: []*wire.PolicyState{{Kind: "NetworkPolicy", Namespace: "shop", Name: "y", Origin: "cluster", Current: true, Candidate: true}}}})
		s.frame("", &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{HasCandidate: candidate, Policies: []*wire.PolicyState{{Kind: "NetworkPolicy", Namespace: "shop", Name: "x", Origin: "x.yaml", Current: true, Candidate: candidate}}}})
	}
	state(true)
	r := &s.Store.rules
	if !r.in(r.sets[8].bits[1], true) || r.in(r.sets[8].bits[0], true) || !r.in(r.sets[8].bits[0], false) || r.in(r.sets[8].bits[1], false) {
		t.Error("with the file in use")
	}
	state(false)
	if r.in(r.sets[8].bits[1], true) || !r.in(r.sets[8].bits[0], true) || len(r.policies) != 2 {
		t.Error("with the file off")
	}
}

func TestANodeWhoseClockIsWrongStillNamesItsPeers(t *testing.T) {
	for _, skew := range []time.Duration{-40 * time.Second, 40 * time.Second} {
		s := newSession(Limits{})
		at := func(when time.Time, f *wire.Frame) []flow.Event {
			f.Node, f.TimeNs = "n2", when.UnixNano()
			return s.Apply(f)
		}
		now := s.now
		at(now.Add(skew), &wire.Frame{Body: &wire.Frame_Hello{Hello: &wire.Hello{Instance: "a"}}})
		at(now, &wire.Frame{Body: &wire.Frame_ProbeState{ProbeState: &wire.ProbeState{Phase: "live"}}})
		s.world(&wire.Pod{Namespace: "shop", Name: "late", Uid: "9", Node: "n1", Ips: [][]byte{ip4("10.0.0.9")}, CreatedNs: now.UnixNano()})
		got := at(now.Add(2*time.Second+skew), &wire.Frame{Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{
			toDB(1, func(f *wire.Flow) { f.PeerIp = ip4("10.0.0.9") }),
		}}}})
		if len(got) != 1 || got[0].Source.Pod != "late" {
			t.Errorf("skew %s: %+v", skew, got[0].Source)
		}
	}
}
