// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/explain"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

// judger stands in for a kernel.
type judger struct {
	lies  flow.Verdict // that it tells; 0: none
	fails error
	asked int
}

func (j *judger) Judge(rules *ruleset.Ruleset, packets []ruleset.Packet) ([]ruleset.Result, error) {
	j.asked++
	table := ruleset.NewTable(rules)
	var out []ruleset.Result
	for _, p := range packets {
		r := table.Judge(p)
		if j.lies != 0 {
			r.Current.Verdict = j.lies
		}
		out = append(out, r)
	}
	return out, j.fails
}

const cartToDB = `{"id":1,"from":"shop/cart","to":"shop/db","port":5432}` + "\n"

func TestKernelEngine(t *testing.T) {
	w, policies := shopWorld(t)
	want := `{"id":1,"verdict":"allow","ingress":{"verdict":"allow","rule":{"kind":"NetworkPolicy","namespace":"shop","name":"db","index":0}},"egress":{"verdict":"allow"}}` + "\n"
	for _, e := range []explain.Engine{explain.Kernel, explain.All} {
		b := batch(t, w, policies, e)
		j := &judger{}
		b.UseKernel(j)
		var out bytes.Buffer
		if err := b.Run(strings.NewReader(strings.Repeat(cartToDB, 50)), &out); err != nil || out.String() != strings.Repeat(want, 50) {
			t.Errorf("%s: %v\n%s", e, err, out.String())
		}
		if j.asked != 2 { // once for each node
			t.Errorf("%s: rules were loaded %d times", e, j.asked)
		}
	}
}

func TestKernelThatDisagrees(t *testing.T) {
	w, policies := shopWorld(t)
	b := batch(t, w, policies, explain.All)
	b.UseKernel(&judger{lies: flow.Deny})
	var out bytes.Buffer
	if err := b.Run(strings.NewReader(cartToDB), &out); err == nil || !strings.Contains(out.String(), "the engines disagree: TCP 10.0.1.2 to 10.0.1.3 port 5432, egress: reference allow, compiled allow, kernel deny; this is a bug of ours") {
		t.Errorf("%v: %s", err, out.String())
	}
	p, err := b.Packet(&explain.Query{From: "shop/cart", To: "shop/db", Port: explain.Port{Number: 5432}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.SideBySide(p)
	var disagreement *explain.DisagreementError
	if !errors.As(err, &disagreement) || !strings.Contains(text, "kernel      ✗ denied") || !strings.Contains(text, "reference   ✓ allowed") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestKernelThatFails(t *testing.T) {
	w, policies := shopWorld(t)
	b := batch(t, w, policies, explain.Kernel)
	if err := b.Run(strings.NewReader(cartToDB), &bytes.Buffer{}); err == nil {
		t.Error("answered without a kernel")
	}
	b.UseKernel(&judger{fails: errors.New("it is gone")})
	if err := b.Run(strings.NewReader(cartToDB), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "it is gone") {
		t.Errorf("got %v", err)
	}
}

// small is a judger that holds as many pod addresses as a kernel does.
type small struct{ judger }

func (j *small) Judge(rules *ruleset.Ruleset, packets []ruleset.Packet) ([]ruleset.Result, error) {
	if n := len(rules.Endpoints); n > 2048 {
		return nil, fmt.Errorf("%d pod addresses", n)
	}
	return j.judger.Judge(rules, packets)
}

// A node of a file may have more pods than a kernel holds at once.
func TestKernelWithMorePodsThanItHolds(t *testing.T) {
	w, policies := shopWorld(t)
	var questions strings.Builder
	db := w.Pods["shop/db"]
	for i := range 4500 {
		p := *db
		p.Name, p.IPs = fmt.Sprint("db", i), []netip.Addr{netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})} //nolint:gosec // two halves
		w.Pods[p.Key()] = &p
		fmt.Fprintf(&questions, `{"from":"shop/cart","to":"shop/%s","port":%d}`+"\n", p.Name, 5432+i%2)
	}
	b := batch(t, w, policies, explain.All)
	b.UseKernel(&small{})
	var out bytes.Buffer
	err := b.Run(strings.NewReader(questions.String()), &out)
	answers, denied := strings.Count(out.String(), "\n"), strings.Count(out.String(), `"isolatedBy"`)
	if err != nil || answers != 4500 || denied != 2250 {
		t.Errorf("%v, %d answers, %d denied: %.300s", err, answers, denied, out.String())
	}
}
