// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/explain"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
)

// A block is cut where answers change: every address of a part has the part's
// answer, and the parts are the whole block.
func TestPartsOfABlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, policies := gen.World(t), gen.Policies(t)
		b := batch(t, w, policies, explain.All)
		block := rapid.SampledFrom([]string{"10.0.0.0/8", "10.0.1.0/24", "192.168.0.0/16", "172.16.0.0/12", "fd00::/16", "fd00:1::/64", "0.0.0.0/0"}).Draw(t, "block")
		p := gen.Packet(t, w)
		q := explain.Query{From: block, To: p.Destination.String(), Protocol: p.Protocol.String(), Port: explain.Port{Number: p.Port}}
		in := netip.MustParsePrefix(block)
		if in.Addr().Is4() != p.Destination.Is4() {
			return
		}
		parts, err := b.Parts(&q)
		if err != nil {
			t.Fatal(err)
		}
		asked := []netip.Addr{in.Addr(), p.Source}
		for _, pod := range w.Pods {
			asked = append(asked, pod.IPs...)
		}
		for _, n := range w.Nodes {
			asked = append(asked, n.IPs...)
		}
		for _, ip := range asked {
			if !in.Contains(ip) {
				continue
			}
			one := q
			one.From = ip.String()
			packet, err := b.Packet(&one)
			if err != nil {
				t.Fatal(err)
			}
			want, err := b.Evaluate(packet)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for i := range parts {
				if holds(parts[i].From, ip) {
					found++
					if parts[i].Verdict != want.Verdict {
						t.Fatalf("%s to %s %s %d: %s, its part %s: %s", ip, q.To, q.Protocol, p.Port, want.Verdict, parts[i].From, parts[i].Verdict)
					}
				}
			}
			if found != 1 {
				t.Fatalf("%s is in %d parts", ip, found)
			}
		}
	})
}

func holds(part string, ip netip.Addr) bool {
	if p, err := netip.ParsePrefix(part); err == nil {
		return p.Contains(ip)
	}
	return part == ip.String()
}

// What names stand for, and what is said about those that stand for nothing.
func TestNames(t *testing.T) {
	w, policies := shopWorld(t)
	add := func(ns, name, workload string, labels map[string]string, ips ...string) {
		p := &identity.Pod{Namespace: ns, Name: name, Workload: workload, Labels: labels, Node: "n1", Ready: true}
		for _, ip := range ips {
			p.IPs = append(p.IPs, netip.MustParseAddr(ip))
		}
		w.Pods[p.Key()] = p
	}
	add("shop", "web-1", "deploy/two", map[string]string{"app": "two"}, "10.0.1.11")
	add("shop", "web-2", "deploy/two", map[string]string{"app": "two"}, "10.0.1.12")
	add("svc", "db", "", nil, "10.0.2.1")
	add("other", "lonely", "", nil, "10.0.2.2")
	add("other", "twin", "", nil, "10.0.2.3")
	add("third", "twin", "", nil, "10.0.2.4")
	add("shop", "waits", "", nil)
	b := batch(t, w, policies, explain.Reference)
	b.SetNamespace("shop")
	for _, c := range []struct{ from, want string }{
		{"lab:app", `from: pod "shop/lab:app" doesn't exist`},
		{"shop/wen", `did you mean one of ["shop/web"`},
		{"deploy/tow", `did you mean one of ["shop/deploy/two"`},
		{"lonely", `pod "shop/lonely" doesn't exist; did you mean "other/lonely"?`},
		{"twin", `but there are ["other/twin" "third/twin"]: say which`},
		{"two", `did you mean "deploy/two"?`},
		{"svc/db", `may be pod "db" of namespace "svc" or svc "db" of namespace "shop"`},
		{"pod/db@svc", ""},
		{"svc/db@shop", ""},
		{"labels:app=cart@shop", ""},
		{"labels:app=crat@shop", `selects no pod of namespace "shop"; did you mean one of ["app=cart"`},
		{"labels:app=cart@shp", `namespace "shp" doesn't exist; did you mean one of ["shop"]`},
		{"labels:app in (", "unable to parse"},
		{"waits", `pod "shop/waits" has no address yet`},
		{"shop/done", "has ended"},
		{"node/n3", `did you mean one of ["n1" "n2"]`},
		{"::ffff:10.0.0.0/104", "write it as IPv4"},
		{"a/b/c/d", "names nothing"},
	} {
		_, err := b.Parts(&explain.Query{From: c.from, To: "10.0.1.3", Port: explain.Port{Number: 5432}})
		switch {
		case err == nil && c.want != "", err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.from, err, c.want)
		}
	}
	parts, err := b.Parts(&explain.Query{From: "deploy/two", To: "shop/db", Port: explain.Port{Number: 5432}})
	if err != nil || len(parts) != 2 || parts[1].From != "shop/web-2" || explain.Differ(parts) {
		t.Errorf("%v, %+v", err, parts)
	}
	parts, err = b.Parts(&explain.Query{From: "10.0.1.0/30", To: "shop/db", Port: explain.Port{Number: 5432}})
	if err != nil || len(parts) != 4 || !explain.Differ(parts) {
		t.Errorf("%v, %+v", err, parts)
	}
	if text := b.TextOfParts(parts); !strings.Contains(text, "10.0.1.2 (shop/cart) to shop/db  ✓ allowed: ingress by shop/db rule 0") {
		t.Error(text)
	}
	if _, err := b.Packet(&explain.Query{From: "10.0.1.0/30", To: "shop/db"}); err == nil || !strings.Contains(err.Error(), "has no one answer") {
		t.Errorf("a block without one answer: %v", err)
	}
}
