// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestCastIsConsistent(t *testing.T) {
	c := Shop()
	w := c.World(time.Unix(0, 0))
	if len(w.Pods) != len(c.Actors) {
		t.Errorf("%d pods for %d actors: two share a name", len(w.Pods), len(c.Actors))
	}
	seen := map[netip.Addr]string{}
	for _, a := range c.Actors {
		if w.Namespaces[a.Namespace] == nil {
			t.Errorf("namespace of %q is missing", a.Key())
		}
		for _, ip := range a.IPs {
			if other, ok := seen[ip]; ok {
				t.Errorf("%q and %q share %s", a.Key(), other, ip)
			}
			seen[ip] = a.Key()
		}
		for _, services := range []bool{true, false} {
			s, err := c.script(a, services)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Calls) > 0 && len(s.Resolver) != 2 {
				t.Errorf("%q has %d resolvers, want one of each family", a.Key(), len(s.Resolver))
			}
		}
	}
	for _, d := range c.Denials {
		if c.Actor(d.From) == nil || c.Actor(d.To) == nil {
			t.Errorf("denial %v names nobody", d)
		}
	}
	if len(w.ClusterDNS) != 2 {
		t.Errorf("cluster DNS is %v, want one address of each family", w.ClusterDNS)
	}
}

func TestDNS(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	v4, v6 := netip.MustParseAddr("10.96.0.20"), netip.MustParseAddr("fd96::20")
	go func() {
		ended <- serveDNS(ctx, server, map[string][]netip.Addr{"web.shop." + zone: {v4, v6}})
	}()
	at := server.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, c := range []struct {
		kind dnsmessage.Type
		want netip.Addr
	}{{dnsmessage.TypeA, v4}, {dnsmessage.TypeAAAA, v6}} {
		got, err := lookup(ctx, at, "web.shop."+zone, c.kind)
		if err != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.kind, got, err, c.want)
		}
	}
	if _, err := lookup(ctx, at, "nobody."+zone, dnsmessage.TypeA); err == nil {
		t.Error("a name that nobody has was found")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// TestPodServesAndCalls runs a whole pod on the loopback: it calls itself, and
// ends when its standard input does.
func TestPodServesAndCalls(t *testing.T) {
	port := freePort(t)
	s := script{
		Name: "both", IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Listen: []Port{{"postgres", port, Database}},
		Calls:  []Call{{Kind: Database, To: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String(), Every: time.Millisecond, Bytes: 100, Keep: 2}},
	}
	in, w := io.Pipe()
	r, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- RunPod(t.Context(), in, out) }()
	if err := json.NewEncoder(w).Encode(s); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := io.ReadFull(r, line); err != nil || string(line) != "ready\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	c, err := net.Dial("tcp", s.Calls[0].To)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if err := query(c, 70_000); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := <-ended; err != nil {
		t.Errorf("the pod ended with %v", err)
	}
}

func TestPodRefusesNonsense(t *testing.T) {
	if err := RunPod(t.Context(), strings.NewReader("not json"), io.Discard); err == nil {
		t.Error("a pod without a part runs")
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}
