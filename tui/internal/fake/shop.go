// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
)

func pod(name, workload, ip, node string, port uint16) *flow.Peer {
	return &flow.Peer{Namespace: "shop", Pod: name, Workload: workload, IP: netip.MustParseAddr(ip), Node: node, Port: port}
}

func web(port uint16) *flow.Peer {
	return pod("web-7d9f8b6c5-k2x4p", "deploy/web", "10.244.1.4", "node-a", port)
}

func cart(port uint16) *flow.Peer {
	return pod("cart-5c8d7f9b4-zq7wm", "deploy/cart", "10.244.1.7", "node-a", port)
}

func orders(port uint16) *flow.Peer {
	return pod("orders-6b7c9d8f5-m4t8n", "deploy/orders", "10.244.2.9", "node-b", port)
}
func db(port uint16) *flow.Peer { return pod("db-0", "sts/db", "10.244.2.3", "node-b", port) }
func batch(port uint16) *flow.Peer {
	return pod("report-29384-x8v2l", "cronjob/report", "10.244.2.17", "node-b", port)
}

func intruder(port uint16) *flow.Peer {
	p := pod("shell-6f5d4c3b2-9hjkl", "deploy/shell", "10.244.1.66", "node-a", port)
	p.Namespace = "default"
	return p
}

func service(name, ip string, port uint16) *flow.Peer {
	return &flow.Peer{Service: name, IP: netip.MustParseAddr(ip), Port: port}
}

func rule(name string, index int) *flow.Rule {
	r := &flow.Rule{Kind: flow.NetworkPolicy, Namespace: "shop", Name: name}
	if index >= 0 {
		r.Index = &index
	}
	return r
}

func shopFlows() []*store.FlowRow {
	isolated := []flow.Rule{*rule("db-allow", -1), *rule("default-deny", -1)}
	ago := func(d time.Duration) time.Time { return Start.Add(-d) }
	row := func(n uint64, e flow.Event, age time.Duration, rate float64, in, out uint64) *store.FlowRow {
		e.Type, e.Time, e.Node, e.Subject = flow.FlowEvent, ago(age), e.Destination.Node, e.Direction.Subject()
		if e.Node == "" {
			e.Node = e.Source.Node
		}
		e.Packets, e.Bytes = (in+out)/700+2, in+out
		return &store.FlowRow{
			ID: store.FlowID{Node: e.Node, ID: n}, Event: e, First: ago(age), Last: Start, Rate: rate,
			BytesIn: in, BytesOut: out, PacketsIn: in/700 + 1, PacketsOut: out/700 + 1, TCPFlags: 0x1a,
		}
	}
	denied := row(1, flow.Event{Direction: flow.Ingress, Protocol: flow.TCP, Source: intruder(50122), Destination: db(5432), Verdict: flow.Deny, Candidate: flow.Deny, IsolatedBy: isolated, CandidateIsolatedBy: isolated}, 41*time.Second, 0, 240, 0)
	denied.Drops, denied.Faults = 7, 7
	denied.Event.Observed, denied.Event.Agreement, denied.Event.Reason = flow.Dropped, flow.Agrees, "NETFILTER_DROP"
	denied.Event.Culprit, denied.Event.NftRule = "kube-network-policies", &flow.NftRule{Family: "inet", Table: "kube-network-policies", Chain: "postrouting", Handle: 17, Verdict: "queue 100", Text: "ct state new queue num 100 bypass", Engine: "kube-network-policies"}
	report := row(2, flow.Event{Direction: flow.Ingress, Protocol: flow.TCP, Source: batch(41904), Destination: db(5432), Verdict: flow.Allow, Candidate: flow.Deny, CandidateIsolatedBy: isolated[:1]}, 3*time.Minute, 81_300, 920_110, 12_443_190)
	svc := row(3, flow.Event{Direction: flow.Egress, Protocol: flow.TCP, Source: cart(39218), Destination: service("shop/db", "10.96.0.31", 5432), Verdict: flow.Allow, Candidate: flow.Allow, Rule: rule("cart-egress", 0), CandidateRule: rule("cart-egress", 0)}, 14*time.Minute, 24_700, 3_201_000, 18_990_400)
	svc.Backend = db(5432)
	svc.Preexisting = true
	dns := row(4, flow.Event{Direction: flow.Egress, Protocol: flow.UDP, Source: orders(53311), Destination: service("kube-system/kube-dns", "10.96.0.10", 53), Verdict: flow.Allow, Candidate: flow.Deny, CandidateIsolatedBy: []flow.Rule{*rule("orders-egress", -1)}}, 12*time.Second, 310, 1_260, 2_110)
	contested := row(5, flow.Event{Direction: flow.Ingress, Protocol: flow.ICMP, Source: web(0), Destination: cart(0), Verdict: flow.Contested, Candidate: flow.Contested, Reason: "ICMP is not covered by NetworkPolicy v1; some engines drop it (case 36)"}, 9*time.Minute, 98, 50_400, 50_400)
	opened := row(6, flow.Event{Direction: flow.Ingress, Protocol: flow.TCP, Source: orders(44120), Destination: cart(8080), Verdict: flow.Deny, Candidate: flow.Allow, IsolatedBy: []flow.Rule{*rule("default-deny", -1)}, CandidateRule: rule("cart-allow", 1)}, 70*time.Second, 0, 480, 0)
	opened.Drops, opened.Faults = 12, 12
	lost := row(7, flow.Event{Direction: flow.Ingress, Protocol: flow.TCP, Source: web(40112), Destination: orders(8080), Verdict: flow.Allow, Candidate: flow.Allow, Rule: rule("orders-allow", 0), CandidateRule: rule("orders-allow", 0)}, 26*time.Minute, 1_510_000, 88_120_900, 301_112_004)
	lost.Drops, lost.Faults = 3, 3
	lost.Event.Observed, lost.Event.Agreement, lost.Event.Reason, lost.Event.Culprit = flow.Dropped, flow.AllowedButDropped, "IP_RPFILTER", "reverse path filter"
	lost.Event.AnswerSeconds, lost.Event.FirstByteSeconds, lost.Event.Retransmits = 0.00041, 0.0123, 3
	lost.Event.Owner = &flow.Owner{PID: 41_233, Command: "orders", Executable: "/app/orders", Container: "orders"}
	lost.Event.Request = &flow.Request{Kind: "http", Host: "orders.shop", Method: "GET", Path: "/v1/orders"}
	front := row(8, flow.Event{
		Direction: flow.Ingress, Protocol: flow.TCP,
		Source: &flow.Peer{IP: netip.MustParseAddr("203.0.113.77"), Port: 51200}, Destination: web(443), Verdict: flow.Allow, Candidate: flow.Allow,
	}, 44*time.Second, 220_400, 610_000, 9_120_000)
	front.Event.Observed, front.Event.Agreement, front.Event.Request = flow.Answered, flow.Agrees, &flow.Request{Kind: "tls", Host: "shop.example.com"}
	report.Event.Observed, report.Event.Agreement, report.Event.AnswerSeconds, report.Event.FirstByteSeconds = flow.Answered, flow.Agrees, 0.00021, 0.0014
	report.Event.Owner = &flow.Owner{PID: 40_117, Command: "postgres", Executable: "/usr/lib/postgresql/17/bin/postgres", Container: "db"}
	six := row(9, flow.Event{
		Direction: flow.Egress, Protocol: flow.TCP, Source: orders(60123),
		Destination: &flow.Peer{IP: netip.MustParseAddr("2001:db8:14::7"), Port: 443, Name: "payments.example.com"}, Verdict: flow.Allow, Candidate: flow.Allow, Rule: rule("orders-egress", 1), CandidateRule: rule("orders-egress", 1),
	}, 2*time.Hour, 12_000, 5_220_000, 2_110_000)
	done := row(10, flow.Event{Direction: flow.Ingress, Protocol: flow.TCP, Source: web(40101), Destination: cart(8080), Verdict: flow.Allow, Candidate: flow.Allow, Rule: rule("cart-allow", 0), CandidateRule: rule("cart-allow", 0)}, 31*time.Minute, 0, 12_100, 48_220)
	done.Closed, done.Last = true, ago(28*time.Minute)
	return []*store.FlowRow{denied, opened, report, dns, contested, lost, svc, front, six, done}
}

func shopDrops() []*store.DropRow {
	d := func(n uint64, culprit, sentence, reason, location string, e flow.Event) *store.DropRow {
		e.Type, e.Node, e.Reason, e.Location, e.Protocol = flow.DropEvent, "node-b", reason, location, flow.TCP
		e.Time = Start.Add(-3 * time.Second)
		return &store.DropRow{Event: e, Culprit: culprit, Sentence: sentence, Count: n, First: Start.Add(-5 * time.Minute), Last: e.Time}
	}
	a := d(1204, "netfilter: kube-network-policies", "The cluster's policy engine dropped it: shop/default-deny isolates sts/db and nothing lets deploy/shell in. If it should pass, add an ingress rule to shop/db-allow.",
		"NETFILTER_DROP", "nft_do_chain+0x41c", flow.Event{Source: intruder(50122), Destination: db(5432), Device: "eth0"})
	a.Event.Stack = []string{"nft_do_chain+0x41c", "nft_do_chain_inet+0x8a", "nf_hook_slow+0x3f", "ip_forward+0x3f1"}
	b := d(31, "no socket", "Nobody listens on this port of the pod. Check the service's targetPort against the container's port.",
		"NO_SOCKET", "tcp_v4_rcv+0x61", flow.Event{Source: web(40990), Destination: cart(8081)})
	c := d(3, "reverse path filter", "The reply would leave by another interface than the packet came in by. Check net.ipv4.conf.*.rp_filter and the node's routes.",
		"IP_RPFILTER", "ip_route_input_slow+0x120", flow.Event{Source: web(40112), Destination: orders(8080)})
	c.Sampled = true
	z := d(88, "TCP", "A late packet of a connection that both ends have closed.", "TCP_OLD_DATA", "tcp_rcv_established+0x77", flow.Event{Source: cart(39218), Destination: db(5432)})
	z.Benign = true
	return []*store.DropRow{a, b, c, z}
}

func shopWorkloads() []*store.WorkloadRow {
	wave := func(seed, most uint64) []uint64 {
		out := make([]uint64, 120)
		x := seed
		for i := range out {
			x = x*6364136223846793005 + 1442695040888963407
			out[i] = most/4 + (x>>33)%(most/2+1) + most/4*uint64(i/40)
		}
		return out
	}
	return []*store.WorkloadRow{
		{Namespace: "shop", Name: "deploy/web", Pods: 3, Nodes: []string{"node-a", "node-b"}, Flows: 41, BytesIn: 610_000_000, BytesOut: 9_120_000_000, Rate: 2_210_400, Allowed: 18_204, Contested: 1, History: wave(1, 2_210_400)},
		{Namespace: "shop", Name: "deploy/orders", Pods: 2, Nodes: []string{"node-b"}, Flows: 18, BytesIn: 88_120_900, BytesOut: 301_112_004, Rate: 1_510_000, Allowed: 9_114, WouldDeny: 212, Dropped: 3, History: wave(2, 1_510_000)},
		{Namespace: "shop", Name: "sts/db", Pods: 1, Nodes: []string{"node-b"}, Flows: 12, BytesIn: 4_121_110, BytesOut: 31_433_590, Rate: 106_000, Allowed: 2_120, WouldDeny: 14, Denied: 7, Dropped: 1204, WouldDrop: 1, History: wave(3, 106_000)},
		{Namespace: "shop", Name: "deploy/cart", Pods: 2, Nodes: []string{"node-a"}, Flows: 9, BytesIn: 3_201_000, BytesOut: 18_990_400, Rate: 24_700, Allowed: 3_904, Denied: 12, Contested: 1, Dropped: 31, History: wave(4, 24_700)},
		{Namespace: "shop", Name: "cronjob/report", Pods: 1, Nodes: []string{"node-b"}, Flows: 1, BytesIn: 920_110, BytesOut: 12_443_190, Rate: 81_300, WouldDeny: 14, History: wave(5, 81_300)},
		{Namespace: "default", Name: "deploy/shell", Pods: 1, Nodes: []string{"node-a"}, BytesOut: 240, Denied: 7, Dropped: 1204, History: wave(6, 40)},
	}
}

// DBAllow is a policy as a person would write it.
const DBAllow = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db-allow
  namespace: shop
spec:
  podSelector:
    matchLabels:
      app: db  # one replica
  policyTypes:
  - Ingress
  ingress:
  - from:
    - podSelector:
        matchLabels: {app: cart}
    ports:
    - protocol: TCP
      port: 5432
  - from:
    - podSelector:
        matchExpressions:
        - {key: app, operator: In, values: [orders, "web"]}
    ports:
    - port: 5432
`

func shopPolicies() []*store.PolicyRow {
	in := func(i int) store.RuleAt { return store.RuleAt{Direction: flow.Ingress, Index: i} }
	p := func(name, origin string, current, candidate bool, pods int, hits, would uint64) *store.PolicyRow {
		return &store.PolicyRow{Kind: flow.NetworkPolicy, Namespace: "shop", Name: name, Origin: origin, Current: current, Candidate: candidate, Selected: pods, Hits: hits, WouldDeny: would, YAML: DBAllow}
	}
	dbAllow := p("db-allow", "db.yaml", false, true, 1, 2134, 14)
	dbAllow.RuleHits = map[store.RuleAt]uint64{in(0): 2101, in(1): 19, in(-1): 14}
	cart := p("cart-allow", "cluster", true, true, 2, 3904, 0)
	cart.Warnings = []string{"rule 1 names the port \"metrics\", which no selected pod has: it matches nothing"}
	other := &store.PolicyRow{Kind: "CiliumNetworkPolicy", Namespace: "shop", Name: "l7", Origin: "cluster", NotEvaluated: "this kind is listed but not evaluated; what it does shows up as observed drops only", YAML: "kind: CiliumNetworkPolicy\n"}
	return []*store.PolicyRow{
		cart, dbAllow, p("default-deny", "cluster", true, true, 8, 19, 0),
		other, p("orders-allow", "cluster", true, true, 2, 9114, 0), p("orders-egress", "egress.yaml", false, false, 2, 0, 0),
	}
}

func shopNodes() []*store.NodeRow {
	ok := []store.Feature{{Name: "tcx", Present: true}, {Name: "drops", Present: true}}
	return []*store.NodeRow{
		{Node: "node-a", Phase: "live", Kernel: "6.18.2-amd64", Hook: "tcx", Endpoints: 14, Features: ok, RSS: 17 << 20, MapBytes: 6 << 20, CPU: 0.004, Conns: 312, RingFill: 0.02, SentRate: 8_100, Programs: programs(0.003, 310)},
		{
			Node: "node-b", Phase: "live", Kernel: "6.1.0-28-amd64", Hook: "clsact", Endpoints: 11, Failed: 1, Features: append([]store.Feature{{Name: "drop-reasons", Why: "the kernel has no BTF for skb_drop_reason; reasons are numbers"}}, ok...),
			RSS: 18 << 20, MapBytes: 6 << 20, CPU: 0.011, Conns: 207, RingFill: 0.11, SentRate: 12_400, Loss: store.Loss{Thinned: 312}, Others: []string{"cil_from_container"}, Programs: programs(0.009, 420),
		},
	}
}

func shopIsolation() []flow.Isolation {
	return []flow.Isolation{
		{Type: flow.IsolationEvent, Node: "node-a", After: "policy", Count: 12, P50Seconds: 0.18, P99Seconds: 0.74},
		{Type: flow.IsolationEvent, Node: "node-a", After: "ready", Count: 31, P50Seconds: 0.09, P99Seconds: 0.4},
		{Type: flow.IsolationEvent, Node: "node-b", After: "policy", Count: 4, Missed: 1, P50Seconds: 1.1, P99Seconds: 2.3},
	}
}

func programs(share float64, ns time.Duration) []store.ProgramCost {
	return []store.ProgramCost{
		{Name: "ebpol_egress", PerRun: ns, Rate: share * 1e9 * 0.7 / float64(ns), Share: share * 0.7},
		{Name: "ebpol_ingress", PerRun: ns - 20, Rate: share * 1e9 * 0.28 / float64(ns), Share: share * 0.28},
		{Name: "ebpol_drop", PerRun: 950, Rate: 12, Share: share * 0.02},
	}
}

func shopTimeline() []flow.Event {
	at := func(s int) time.Time { return Start.Add(time.Duration(s-300) * time.Second) }
	return []flow.Event{
		{Type: flow.FlowEvent, Time: at(0), Node: "node-b", Direction: flow.Ingress, Protocol: flow.TCP, Source: batch(41904), Destination: db(5432), Verdict: flow.Allow},
		{Type: flow.VerdictEvent, Time: at(120), Node: "node-b", Direction: flow.Ingress, Protocol: flow.TCP, Source: batch(41904), Destination: db(5432), Verdict: flow.Allow, Candidate: flow.Deny, CandidateIsolatedBy: []flow.Rule{*rule("db-allow", -1)}},
		{Type: flow.OutcomeEvent, Time: at(150), Node: "node-b", Direction: flow.Ingress, Protocol: flow.TCP, Source: web(40112), Destination: orders(8080), Verdict: flow.Allow, Candidate: flow.Allow, Observed: flow.Dropped, Reason: "IP_RPFILTER", Culprit: "reverse path filter", Agreement: flow.AllowedButDropped},
		{Type: flow.DNSEvent, Time: at(160), Node: "node-b", Direction: flow.Egress, Protocol: flow.UDP, Source: orders(53211), Destination: service("kube-system/kube-dns", "10.96.0.10", 53), Answer: &flow.Answer{Question: "paymnets.example.com", Type: "A", Code: "NXDOMAIN"}},
		{Type: flow.DropEvent, Time: at(180), Node: "node-b", Protocol: flow.TCP, Source: intruder(50122), Destination: db(5432), Reason: "NETFILTER_DROP", Location: "nft_do_chain+0x41c"},
		{Type: flow.LossEvent, Time: at(200), Node: "node-b", Lost: 312, Reason: "thinned to stay within 512 KiB/s"},
		{Type: flow.GapEvent, Time: at(220), Node: "node-a", Reason: "the connection to the API server was idle for 4.2 s"},
		{Type: flow.PodEvent, Time: at(230), Node: "node-b", Source: batch(0), Note: "came, is ready"},
		{Type: flow.PolicyEvent, Time: at(240), Rule: &flow.Rule{Kind: flow.NetworkPolicy, Namespace: "shop", Name: "db-allow"}, Note: "NetworkPolicy shop/db-allow is dry-run now, was off"},
		{Type: flow.CloseEvent, Time: at(260), Node: "node-a", Protocol: flow.TCP, Source: web(40101), Destination: cart(8080), Packets: 88, Bytes: 60_320},
	}
}
