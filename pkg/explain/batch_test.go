// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebpol/kubectl-ebpol/pkg/explain"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
	"github.com/ebpol/kubectl-ebpol/pkg/policy/corpus/gen"
)

func batch(t interface{ Fatal(...any) }, w *identity.World, policies []*policy.Policy, e explain.Engine) *explain.Batch {
	b, err := explain.NewBatch(w, policies, e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What doesn't fit the tables is refused with the limit and what to do; the
// reference has none.
func TestMoreKindsOfPortsThanFit(t *testing.T) {
	w, _ := shopWorld(t)
	much := &policy.Policy{Kind: flow.NetworkPolicy, Tier: policy.Network, Namespace: "shop", Name: "much", IsolatesIngress: true, Subject: policy.Subject{Namespaces: policy.Everything(), Pods: policy.Everything()}}
	for _, protocol := range []flow.Protocol{flow.TCP, flow.UDP} {
		for port := uint16(1); port < 40_000; port++ {
			much.Ingress = append(much.Ingress, policy.Rule{AnyPeer: true, Action: policy.Accept, Ports: []policy.Port{{Protocol: protocol, From: port, To: port}}})
		}
	}
	_, err := explain.NewBatch(w, []*policy.Policy{much}, explain.Compiled)
	if err == nil || !strings.Contains(err.Error(), "at most 65535 fit: write ranges instead of single ports") || !strings.Contains(err.Error(), "--engine reference") {
		t.Errorf("compiled: %v", err)
	}
	batch(t, w, []*policy.Policy{much}, explain.Reference)
}

// Both engines give the same lines, letter by letter, but for which of several
// equal reasons is named where policies have equal priorities.
func TestEnginesGiveTheSameLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, policies := gen.World(t), gen.Policies(t)
		var in strings.Builder
		for i := range 20 {
			p := gen.Packet(t, w)
			fmt.Fprintf(&in, `{"id":%d,"from":%q,"to":%q,"protocol":%q,"port":%d}`+"\n", i, p.Source, p.Destination, p.Protocol, p.Port)
		}
		lines := map[explain.Engine]string{}
		for _, e := range []explain.Engine{explain.Reference, explain.Compiled, explain.Kernel, explain.All} {
			var out bytes.Buffer
			b := batch(t, w, policies, e)
			if e == explain.Kernel {
				b.UseKernel(&judger{})
			}
			if err := b.Run(strings.NewReader(in.String()), &out); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(out.String()) {
				var a struct {
					ID      json.RawMessage
					Verdict string
				}
				if err := json.Unmarshal([]byte(line), &a); err != nil {
					t.Fatalf("%s: %v: %s", e, err, line)
				}
				lines[e] += fmt.Sprintf("%s %s\n", a.ID, a.Verdict)
			}
		}
		if lines[explain.Compiled] != lines[explain.Reference] || lines[explain.All] != lines[explain.Reference] || lines[explain.Kernel] != lines[explain.Reference] {
			t.Fatalf("reference:\n%s\ncompiled:\n%s", lines[explain.Reference], lines[explain.Compiled])
		}
	})
}

const shop = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: cart}}}]
    ports: [{port: pg}]
`

func shopWorld(t testing.TB) (*identity.World, []*policy.Policy) {
	t.Helper()
	o, err := policy.Parse([]byte(shop), "shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return gen.Shop(), o.Policies
}

func TestLines(t *testing.T) {
	w, policies := shopWorld(t)
	for _, c := range []struct{ query, want string }{
		{
			`{"id":"1","from":"shop/cart","to":"shop/db","protocol":"TCP","port":5432}`,
			`{"id":"1","verdict":"allow","ingress":{"verdict":"allow","rule":{"kind":"NetworkPolicy","namespace":"shop","name":"db","index":0}},"egress":{"verdict":"allow"}}`,
		},
		{`{"id":{"n":2},"from":"shop/web","to":"10.0.1.3","port":"pg"}`, `"error":"port \"pg\": \"10.0.1.3\" has no port of that name and protocol TCP"`},
		{
			`{"id":3,"from":"shop/web","to":"shop/db","port":"pg"}`,
			`{"id":3,"verdict":"deny","ingress":{"verdict":"deny","isolatedBy":[{"kind":"NetworkPolicy","namespace":"shop","name":"db"}]},"egress":{"verdict":"allow"}}`,
		},
		{`{"id":4,"from":"8.8.8.8","to":"shop/db","protocol":"udp","port":53}`, `"egress":{"verdict":"allow","reason":"no pod of this cluster"}`},
		{`{"id":5,"from":"shop/carts","to":"shop/db","port":80}`, `did you mean one of`},
		{`{"id":6,"from":"shop/cart","to":"shop/db","port":70000}`, `must be between 0 and 65535`},
		{`{"id":6,"from":"shop/cart","to":"shop/db","port":80.5}`, `port 80.5: must be a whole number between 0 and 65535`},
		{`{"id":6,"from":"shop/cart","to":"shop/db:5432/TCP"}`, `to: \"shop/db:5432/TCP\": a port stands in \"port\" here`},
		{`{"id":6,"from":"0.0.0.0/0","to":"shop/db","port":5432}`, `allow): ask about one of them`},
		{`{"id":7,"from":"shop/cart","to":"shop/db","protocol":"ICMP"}`, `"verdict":"contested"`},
		{`{"id":8,"from":"shop/cart","to":"svc/db@shop","port":5432}`, `{"id":8,"verdict":"allow"`},
		{`{"id":9,"from":"labels:app=cart@shop","to":"deploy/db@shop","port":5432}`, `{"id":9,"verdict":"allow"`},
		{`{"id":10,"from":"shop/cart"`, `"error":`},
		{`{"id":11,"from":"shop/done","to":"shop/db","port":1}`, `has ended`},
	} {
		var out bytes.Buffer
		_ = batch(t, w, policies, explain.All).Run(strings.NewReader(c.query+"\n"), &out)
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.query, out.String(), c.want)
		}
	}
}

// BenchmarkBatch counts by the time of the processors, which is what a busy
// machine gives: queries a second of one core, parsing and printing included.
func BenchmarkBatch(b *testing.B) {
	w, policies := shopWorld(b)
	var in bytes.Buffer
	for i := range b.N {
		fmt.Fprintf(&in, `{"id":"%d","from":"shop/web","to":"shop/db","protocol":"TCP","port":%d}`+"\n", i, i%65536)
	}
	e := batch(b, w, policies, explain.Compiled)
	b.ResetTimer()
	before := processorTime(b)
	if err := e.Run(&in, io.Discard); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/(processorTime(b)-before).Seconds(), "queries/s/core")
}

// A query is read alike by the fast way and by the way for everything.
func TestScan(t *testing.T) {
	w, policies := shopWorld(t)
	for _, line := range []string{
		`{"id":"1","from":"shop/cart","to":"shop/db","protocol":"TCP","port":5432}`,
		` { "port" : 0 , "to":"shop/db","from":"10.0.1.2" , "id" : 7 } `,
		`{"from":"shop/cart","to":"shop/db","port":65535,"protocol":"SCTP"}`,
		`{"from":"shop/cart","to":"shop/db","port":65536}`,
		`{"from":"shop/cart","to":"shop/db","port":00}`,
		`{"from":"shop/cart","to":"shop/db","port":80.0}`,
		`{"from":"shop/cart","to":"shop/db","port":-1}`,
		`{"from":"shop/cart","to":"shop/db","port":"5432"}`,
		`{"from":"shop/c\u0061rt","to":"shop/db","port":5432}`,
		`{"FROM":"shop/cart","to":"shop/db","port":5432,"more":[1]}`,
		`{"id":null,"from":"shop/cart","to":"shop/db","port":1}`,
		`{"id":1.5e3,"from":"shop/cart","to":"shop/db","port":1}`,
		`{"id":01,"from":"shop/cart","to":"shop/db","port":1}`,
		`{"from":"shop/cart","to":"shop/db","port":1}}`,
		`{"from":"shop/cart","to":"shop/db","port":1} x`,
		`{"from":"shop/cart","to":"shop/db","port":1,}`,
		`{}`, `[]`, `{"from"`, `{"from":"shop/cart`,
	} {
		var got, want bytes.Buffer
		e := batch(t, w, policies, explain.Compiled)
		_ = e.Run(strings.NewReader(line), &got)
		_ = e.Run(strings.NewReader(explain.Slowly(line)), &want)
		if got.String() != want.String() {
			t.Errorf("%s\ngot  %swant %s", line, got.String(), want.String())
		}
	}
}
