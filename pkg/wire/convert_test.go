// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

func bits(ii ...int) (b ruleset.Bitmap) {
	for _, i := range ii {
		b.Add(i)
	}
	return b
}

func delta(n int) *ruleset.Delta {
	d := &ruleset.Delta{
		From: 3, Generation: 4,
		PutSets:       []ruleset.Set{{ID: 1, Always: bits(2), Deny: bits(2, 255), Pass: bits(0), AdminEnd: 1, IsolateStart: 2, BaselineStart: 3, Ranges: true, Current: bits(0, 1, 2), Candidate: bits(2), Enforced: bits(2)}},
		PutPorts:      []ruleset.Port{{Set: 1, Protocol: 6, Port: 80, Class: 1}},
		PutPortRanges: []ruleset.PortRange{{Set: 1, Protocol: 17, Port: 0x8000, Bits: 1, Class: 2}},
		PutServices:   []ruleset.Service{{IP: netip.MustParseAddr("10.96.0.10"), Protocol: 17, Port: 53, Class: 9}},
		PutEndpoints:  []ruleset.Endpoint{{IP: netip.MustParseAddr("fd00::1"), ID: 7, Ingress: 1}},
		DelEndpoints:  []netip.Addr{netip.MustParseAddr("10.0.0.9")},
		DelServices:   []ruleset.Service{{IP: netip.MustParseAddr("10.96.0.11"), Protocol: 6, Port: 1}},
		DelPeers:      []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		DelMatches:    []ruleset.Match{{Set: 5, Peer: 6, Ports: ruleset.ServicePorts}},
		DelPortRanges: []ruleset.PortRange{{Set: 5, Protocol: 6, Port: 0, Bits: 0, Class: 1}},
		DelPorts:      []ruleset.Port{{Set: 5}},
		DelSets:       []ruleset.SetID{5},
	}
	for i := range n {
		d.PutMatches = append(d.PutMatches, ruleset.Match{Set: 1, Peer: ruleset.ClassID(i), Ports: 1, Bits: bits(i % 256), Alt: bits(1), Open: ruleset.Modes(i % 4)})
		d.PutPeers = append(d.PutPeers, ruleset.Peer{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Class: ruleset.ClassID(i), Flags: ruleset.PeerPod})
	}
	return d
}

func TestDeltaRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 100_000} {
		d := delta(n)
		parts := DeltaParts(d)
		if n == 100_000 && len(parts) < 5 {
			t.Errorf("%d entries in %d parts", n, len(parts))
		}
		var j DeltaJoiner
		for i, p := range parts {
			b, err := Append(nil, &Frame{Body: &Frame_Delta{p}})
			if err != nil {
				t.Fatalf("part %d of %d: %v", i, len(parts), err)
			}
			_, w, _ := readUvarint(&sliceReader{b})
			f, err := Decode(b[w:])
			if err != nil {
				t.Fatal(err)
			}
			got, err := j.Add(f.GetDelta())
			if err != nil {
				t.Fatal(err)
			}
			if last := i == len(parts)-1; (got != nil) != last {
				t.Fatalf("part %d of %d: whole %v", i, len(parts), got != nil)
			}
			if got != nil && !reflect.DeepEqual(got, d) {
				t.Errorf("n=%d: not what was sent", n)
			}
		}
	}
	if parts := DeltaParts(&ruleset.Delta{Generation: 1}); len(parts) != 1 || parts[0].GetMore() {
		t.Errorf("an empty delta has one part that ends it, not %v", parts)
	}
}

type sliceReader struct{ b []byte }

func (s *sliceReader) ReadByte() (byte, error) {
	b := s.b[0]
	s.b = s.b[1:]
	return b, nil
}

func TestDeltaOutOfRange(t *testing.T) {
	four := []byte{10, 0, 0, 1}
	for name, m := range map[string]*Delta{
		"address of 3 bytes":     {PutEndpoints: []*RuleEndpoint{{Ip: four[:3], Id: 1}}},
		"no address":             {DelEndpoints: [][]byte{nil}},
		"prefix too long":        {PutPeers: []*Peer{{Ip: four, Bits: 33}}},
		"prefix with host bits":  {PutPeers: []*Peer{{Ip: four, Bits: 8}}},
		"port":                   {PutPorts: []*Port{{Set: 1, Port: 65536}}},
		"protocol":               {PutPorts: []*Port{{Set: 1, Protocol: 256}}},
		"class":                  {PutMatches: []*Match{{Set: 1, Ports: 1 << 16}}},
		"bitmap":                 {PutSets: []*Set{{Id: 1, Deny: make([]uint64, ruleset.Words+1)}}},
		"boundary":               {PutSets: []*Set{{Id: 1, AdminEnd: ruleset.Bits + 1}}},
		"set 0":                  {PutSets: []*Set{{}}},
		"range bits":             {PutPortRanges: []*PortRange{{Set: 1, Bits: 17}}},
		"range with low bits":    {PutPortRanges: []*PortRange{{Set: 1, Port: 3, Bits: 15}}},
		"flags":                  {PutPeers: []*Peer{{Ip: four, Bits: 32, Flags: 256}}},
		"service without a port": {PutServices: []*Service{{Ip: four, Port: 1 << 17}}},
	} {
		t.Run(name, func(t *testing.T) {
			var j DeltaJoiner
			if d, err := j.Add(m); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v, %v", d, err)
			}
			if d, err := j.Add(&Delta{Generation: 1}); err != nil || d == nil {
				t.Errorf("after it: %v, %v", d, err)
			}
		})
	}
	var j DeltaJoiner
	if _, err := j.Add(&Delta{Generation: 1, More: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Add(&Delta{Generation: 2}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a part of another generation: %v", err)
	}
}

func world(n int) *identity.World {
	w := &identity.World{
		Namespaces: map[string]*identity.Namespace{"shop": {Name: "shop", Labels: map[string]string{"a": "b"}}},
		Nodes:      map[string]*identity.Node{"n1": {Name: "n1", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}, Ready: true}},
		Pods:       map[string]*identity.Pod{},
		Services: map[string]*identity.Service{"shop/web": {
			Namespace: "shop", Name: "web", Type: "ClusterIP", IPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, ClientAffinity: true,
			Ports: []identity.ServicePort{{Name: "http", Protocol: flow.TCP, Port: 80, NodePort: 30080, Backends: []identity.Backend{{IP: netip.MustParseAddr("10.244.0.5"), Port: 8080, Node: "n1", Ready: true}}}},
		}},
		ClusterDNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Scope:      []string{"shop"},
	}
	for i := range n {
		p := &identity.Pod{
			Namespace: "shop", Name: fmt.Sprint("web-", i), UID: fmt.Sprint("u", i), Labels: map[string]string{"app": "web"}, Node: "n1",
			IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), netip.MustParseAddr("fd00::5")}, Workload: "deploy/web", Ready: true,
			Ports: []identity.NamedPort{{Name: "http", Protocol: flow.TCP, Number: 8080}}, Created: time.Unix(0, 1e18),
		}
		w.Pods[p.Key()] = p
	}
	return w
}

func TestWorldRoundTripAndChanges(t *testing.T) {
	w := world(20_000)
	ids := map[string]ruleset.EndpointID{"shop/web-0": 1, "shop/web-1": 2}
	id := func(p *identity.Pod) ruleset.EndpointID { return ids[p.Key()] }
	var enc WorldEncoder
	var dec WorldDecoder
	parts := enc.Next(w, id)
	if len(parts) < 3 {
		t.Errorf("20,000 pods in %d parts", len(parts))
	}
	for _, m := range parts {
		if size := proto.Size(m); size > MaxFrame {
			t.Fatalf("part of %d bytes", size)
		}
		dec.Apply(m)
	}
	if got := dec.World(); !reflect.DeepEqual(got, w) {
		t.Error("the first world is not what was sent")
	}
	before := dec.World()
	if dec.Pod(2).Name != "web-1" {
		t.Errorf("endpoint 2 is %v", dec.Pod(2))
	}
	if parts := enc.Next(w, id); len(parts) != 0 {
		t.Errorf("nothing changed, yet %d messages", len(parts))
	}

	// One pod is gone, one has a new identity, one new label.
	next := world(0)
	next.Namespaces, next.Services, next.Nodes = w.Namespaces, w.Services, w.Nodes
	maps.Copy(next.Pods, w.Pods)
	delete(next.Pods, "shop/web-0")
	next.Pods["shop/web-5"] = &identity.Pod{Namespace: "shop", Name: "web-5", Done: true}
	ids["shop/web-1"] = 3
	parts = enc.Next(next, id)
	if len(parts) != 1 || len(parts[0].GetPods()) != 2 || len(parts[0].GetGone()) != 1 || parts[0].GetReset_() {
		t.Fatalf("change: %v", parts)
	}
	dec.Apply(parts[0])
	if !reflect.DeepEqual(dec.World(), next) {
		t.Error("the second world is not what was sent")
	}
	if !reflect.DeepEqual(before, w) {
		t.Error("a world that was handed out has changed")
	}
	if dec.Pod(1).Name != "web-0" || dec.Pod(2).Name != "web-1" || dec.Pod(3).Name != "web-1" {
		t.Error("gone endpoints must keep their names for the last flows")
	}

	var late WorldDecoder
	for _, m := range enc.Whole() {
		late.Apply(m)
	}
	if !reflect.DeepEqual(late.World(), next) || late.Pod(3) == nil {
		t.Error("Whole() is not the last world")
	}
}

func TestFlowTuple(t *testing.T) {
	f := &Flow{Endpoint: 1, Direction: 1, Protocol: 6, LocalIp: []byte{10, 0, 0, 1}, PeerIp: []byte{10, 0, 0, 2}, LocalPort: 80, PeerPort: 4000}
	tu, d, ok := f.Tuple()
	if !ok || d != flow.Ingress || tu.String() != "TCP 10.0.0.2:4000 -> 10.0.0.1:80" {
		t.Errorf("ingress: %v %v %v", tu, d, ok)
	}
	f.Direction = 2
	if tu, d, _ = f.Tuple(); d != flow.Egress || tu.String() != "TCP 10.0.0.1:80 -> 10.0.0.2:4000" {
		t.Errorf("egress: %v %v", tu, d)
	}
	for _, bad := range []*Flow{{}, {Endpoint: 1, Direction: 1}, {Endpoint: 1, Direction: 3, LocalIp: f.LocalIp, PeerIp: f.PeerIp}, {Endpoint: 1, Direction: 1, LocalIp: f.LocalIp, PeerIp: f.PeerIp, PeerPort: 70000}} {
		if _, _, ok := bad.Tuple(); ok {
			t.Errorf("%v has no tuple", bad)
		}
	}
	dr := &Drop{Protocol: 17, Src: []byte{10, 0, 0, 1}, Dst: []byte{10, 0, 0, 2}, Sport: 1, Dport: 53}
	if tu, ok := dr.Tuple(); !ok || tu.String() != "UDP 10.0.0.1:1 -> 10.0.0.2:53" {
		t.Errorf("drop: %v %v", tu, ok)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "a\xffb": "a\uFFFDb", "äöü": "äö", "aaaaaa": "aaaaa"} {
		limit := 5
		got := Clean(in, limit)
		if got != want || !utf8.ValidString(got) {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}
