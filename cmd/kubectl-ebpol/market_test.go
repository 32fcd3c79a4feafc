// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

const marketPolicy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
  - from: [{podSelector: {matchLabels: {app: report}}}]
    ports: [{port: 5432}]
`

// market is a small world whose recording never changes: web (two pods, of
// which one is quiet) asks db and an address outside, a report has come and
// gone, an intruder is denied.
func market() *identity.World {
	w := &identity.World{
		Pods: map[string]*identity.Pod{}, Namespaces: map[string]*identity.Namespace{}, Services: map[string]*identity.Service{},
		Nodes:      map[string]*identity.Node{"n1": {Name: "n1", IPs: addrs("192.168.0.1"), Ready: true, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}},
		ClusterDNS: addrs("10.96.0.10"),
	}
	pod := func(namespace, name, workload, ip, app string, ports ...identity.NamedPort) {
		w.Pods[namespace+"/"+name] = &identity.Pod{
			Namespace: namespace, Name: name, UID: name, Workload: workload, Node: "n1", IPs: addrs(ip), Ports: ports, Ready: true,
			Labels: map[string]string{"app": app, "pod-template-hash": "6c8d5"},
		}
		w.Namespaces[namespace] = &identity.Namespace{Name: namespace, Labels: map[string]string{"kubernetes.io/metadata.name": namespace}}
	}
	pod("shop", "web-6c8d5-a", "deploy/web", "10.0.0.1", "web", identity.NamedPort{Name: "http", Protocol: flow.TCP, Number: 8080})
	pod("shop", "web-6c8d5-b", "deploy/web", "10.0.0.2", "web", identity.NamedPort{Name: "http", Protocol: flow.TCP, Number: 8080})
	pod("shop", "db-0", "sts/db", "10.0.0.3", "db")
	pod("shop", "report-29384-x", "cronjob/report", "10.0.0.4", "report")
	pod("edge", "gateway-7f6b9-x", "deploy/gateway", "10.0.0.5", "gateway")
	pod("default", "intruder", "pod/intruder", "10.0.0.6", "intruder")
	pod("kube-system", "coredns-x", "deploy/coredns", "10.0.0.7", "kube-dns")
	service := func(namespace, name, ip string, p flow.Protocol, port, target uint16, backends ...string) {
		s := &identity.Service{Namespace: namespace, Name: name, Type: "ClusterIP", IPs: addrs(ip), Ports: []identity.ServicePort{{Protocol: p, Port: port}}}
		for _, b := range addrs(backends...) {
			s.Ports[0].Backends = append(s.Ports[0].Backends, identity.Backend{IP: b, Port: target, Node: "n1", Ready: true})
		}
		w.Services[s.Key()] = s
	}
	service("kube-system", "kube-dns", "10.96.0.10", flow.UDP, 53, 53, "10.0.0.7")
	service("shop", "db", "10.96.0.20", flow.TCP, 5432, 5432, "10.0.0.3")
	return w
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func marketFrames() []*wire.Frame {
	at := began
	var out []*wire.Frame
	add := func(node string, f *wire.Frame) {
		at = at.Add(time.Second)
		f.Node, f.TimeNs = node, at.UnixNano()
		out = append(out, f)
	}
	w := market()
	endpoints := map[string]ruleset.EndpointID{"shop/web-6c8d5-a": 1, "shop/web-6c8d5-b": 2, "shop/db-0": 3, "shop/report-29384-x": 4}
	var encoder wire.WorldEncoder
	world := func() {
		for _, m := range encoder.Next(w, func(p *identity.Pod) ruleset.EndpointID { return endpoints[p.Key()] }) {
			add("", &wire.Frame{Body: &wire.Frame_World{World: m}})
		}
	}
	world()
	add("", &wire.Frame{Body: &wire.Frame_RuleNames{RuleNames: &wire.RuleNames{Sets: []*wire.SetNames{{
		Set: 1, Direction: 1, IsolateStart: 2, BaselineStart: 3, Bits: []*wire.RuleName{
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Index: 0},
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Index: 1},
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Index: -1},
		},
	}}}}})
	add("", &wire.Frame{Body: &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{Policies: []*wire.PolicyState{
		{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Origin: "cluster", Current: true, Candidate: true, Selected: 1, Yaml: marketPolicy},
		{Kind: "CiliumNetworkPolicy", Namespace: "shop", Name: "l7", Origin: "cluster", Current: true, NotEvaluated: "a policy of Cilium: its meaning is not evaluated here"},
	}}}})
	var states []*wire.EndpointState
	for id := range uint32(4) {
		states = append(states, &wire.EndpointState{Id: id + 1, Attached: true})
	}
	add("n1", &wire.Frame{Body: &wire.Frame_ProbeState{ProbeState: &wire.ProbeState{Phase: "live", SinceNs: at.UnixNano()}}})
	add("n1", &wire.Frame{Body: &wire.Frame_EndpointStates{EndpointStates: &wire.EndpointStates{States: states}}})
	id := uint64(0)
	connect := func(endpoint, direction uint32, protocol flow.Protocol, local string, lport uint32, peer string, pport uint32, verdict, bit uint32, change func(*wire.Flow)) {
		id++
		f := &wire.Flow{
			Id: id, Kind: wire.Flow_NEW, Endpoint: endpoint, Direction: direction, Protocol: uint32(protocol), LocalIp: addrs(local)[0].AsSlice(), LocalPort: lport,
			PeerIp: addrs(peer)[0].AsSlice(), PeerPort: pport, Verdict: verdict, Bit: bit, PacketsIn: 3, BytesIn: 200,
			PacketsOut: 3, BytesOut: 200, TcpFlags: 0x1a, TcpFlagsIn: 0x1a, TcpFlagsOut: 0x1a, AnswerNs: 1_000_000,
		}
		if bit != 0 || verdict == 2 {
			f.Set = 1
		}
		if change != nil {
			change(f)
		}
		add("n1", &wire.Frame{Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{f}}}})
		if f.GetPreexisting() {
			return // stays open
		}
		add("n1", &wire.Frame{Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{{
			Id: id, Kind: wire.Flow_CLOSE, CloseReason: "fin", PacketsIn: 5, BytesIn: 400, PacketsOut: 5, BytesOut: 400, TcpFlags: 0x1b,
			TcpFlagsIn: 0x1b, TcpFlagsOut: 0x1b, AnswerNs: 1_000_000, BackendIp: f.GetBackendIp(), BackendPort: f.GetBackendPort(),
		}}}}})
	}
	const in, outward = 1, 2
	for i := range uint32(3) {
		connect(1, in, flow.TCP, "10.0.0.1", 8080, "10.0.0.5", 40000+i, 1, 0, nil)
	}
	toDB := func(f *wire.Flow) {
		f.Service, f.BackendIp, f.BackendPort = true, addrs("10.0.0.3")[0].AsSlice(), 5432
	}
	connect(1, outward, flow.UDP, "10.0.0.1", 50000, "10.96.0.10", 53, 1, 0, nil)
	connect(1, outward, flow.TCP, "10.0.0.1", 41000, "10.96.0.20", 5432, 1, 0, toDB)
	connect(3, in, flow.TCP, "10.0.0.3", 5432, "10.0.0.1", 41000, 1, 1, nil)
	connect(3, in, flow.TCP, "10.0.0.3", 5432, "10.0.0.1", 41001, 1, 1, func(f *wire.Flow) { f.Preexisting = true })
	connect(3, in, flow.TCP, "10.0.0.3", 5432, "10.0.0.4", 42000, 1, 2, nil)
	connect(4, outward, flow.TCP, "10.0.0.4", 42000, "10.96.0.20", 5432, 1, 0, toDB)
	connect(3, in, flow.TCP, "10.0.0.3", 5432, "10.0.0.6", 43000, 2, 3, nil)
	connect(1, outward, flow.TCP, "10.0.0.1", 44000, "203.0.113.7", 443, 1, 0, nil)
	connect(1, outward, flow.TCP, "10.0.0.1", 44001, "203.0.113.9", 443, 1, 0, nil)
	w.Pods["shop/report-29384-x"] = &identity.Pod{ // its run is over
		Namespace: "shop", Name: "report-29384-x", UID: "report-29384-x", Workload: "cronjob/report", Node: "n1", Done: true, Labels: w.Pods["shop/report-29384-x"].Labels,
	}
	gone := *w
	w = &gone
	world()
	return out
}

// writeMarket keeps the market's session in a file.
func writeMarket(path string) error {
	frames := marketFrames()
	src := &scripted{frames: make(chan *wire.Frame)} // none may pass before the file is open
	tee, err := record.Create(path, src, record.Options{Source: "test", Program: "test"})
	if err != nil {
		return err
	}
	go func() {
		defer close(src.frames)
		for _, f := range frames {
			src.frames <- f
		}
	}()
	for range tee.Frames() {
	}
	return tee.Close(context.Background())
}
