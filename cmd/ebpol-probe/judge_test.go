// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/testkit"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/kernel"
)

// fakeJudge answers by the tables in Go.
type fakeJudge struct {
	rules  ruleset.Ruleset
	closed int
}

func (f *fakeJudge) Apply(d *ruleset.Delta) error {
	f.rules = ruleset.Ruleset{Generation: d.Generation, Sets: d.PutSets, Matches: d.PutMatches, Endpoints: d.PutEndpoints}
	return nil
}

func (f *fakeJudge) Judge(p ruleset.Packet) (ruleset.Result, error) {
	return ruleset.NewTable(&f.rules).Judge(p), nil
}

func (f *fakeJudge) Close() error { f.closed++; return nil }

var local, peer = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")

// closedPod is isolated against ingress, and nothing is allowed.
func closedPod() *ruleset.Ruleset {
	s := ruleset.Set{ID: 1, IsolateStart: 0, BaselineStart: 1}
	s.Deny.Add(0)
	s.Always.Add(0)
	s.Current.Add(0)
	return &ruleset.Ruleset{Generation: 1, Sets: []ruleset.Set{s}, Endpoints: []ruleset.Endpoint{{IP: local, ID: 1, Ingress: 1}}}
}

func question(id uint64, d flow.Direction) *wire.Flow {
	return &wire.Flow{
		Id: id, Direction: uint32(d), Protocol: uint32(flow.TCP), LocalIp: wire.AddrBytes(local), PeerIp: wire.AddrBytes(peer), LocalPort: 80, PeerPort: 80,
	}
}

// judged runs the command over some frames.
func judged(t *testing.T, k func() (judger, error), frames ...*wire.Frame) (out []*wire.Frame, code int, said string) {
	t.Helper()
	var in, got, errOut bytes.Buffer
	w := wire.NewWriter(&in)
	for _, f := range frames {
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	p := &program{in: io.NopCloser(&in), out: writeCloser{&got}, errOut: &errOut, loadJudge: k}
	code = p.main([]string{"judge"})
	for r := wire.NewReader(&got); ; {
		f, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, code, errOut.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
}

type writeCloser struct{ io.Writer }

func (writeCloser) Close() error { return nil }

func rulesFrame(t *testing.T, r *ruleset.Ruleset) *wire.Frame {
	t.Helper()
	d, err := ruleset.Diff(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	return &wire.Frame{Body: &wire.Frame_Delta{Delta: wire.DeltaParts(d)[0]}}
}

func ask(list ...*wire.Flow) *wire.Frame {
	return &wire.Frame{Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: list}}}
}

func checkJudge(t *testing.T, k func() (judger, error)) {
	t.Helper()
	out, code, said := judged(t, k, rulesFrame(t, closedPod()), ask(question(7, flow.Ingress), question(8, flow.Egress)))
	if code != exitOK || len(out) != 1 {
		t.Fatalf("exit %d, %q, %d frames", code, said, len(out))
	}
	list := out[0].GetFlows().GetFlows()
	if len(list) != 2 || list[0].GetId() != 7 || wire.Verdict(list[0].GetVerdict()) != flow.Deny || list[0].GetBit() != 1 || list[0].GetSet() != 1 ||
		wire.Verdict(list[0].GetCandidate()) != flow.Allow || list[1].GetId() != 8 || wire.Verdict(list[1].GetVerdict()) != flow.Allow {
		t.Errorf("%+v", list)
	}
}

func TestJudge(t *testing.T) {
	k := &fakeJudge{}
	checkJudge(t, func() (judger, error) { return k, nil })
	if k.closed != 1 {
		t.Errorf("closed %d times", k.closed)
	}
	bad := question(9, flow.Ingress)
	bad.PeerIp = []byte{1}
	if _, code, said := judged(t, func() (judger, error) { return k, nil }, ask(bad)); code != exitError || !strings.Contains(said, "question 9") {
		t.Errorf("exit %d, %q", code, said)
	}
	if _, code, said := judged(t, func() (judger, error) { return nil, errors.New("no BPF here") }); code != exitError || !strings.Contains(said, "no BPF") {
		t.Errorf("exit %d, %q", code, said)
	}
}

func TestJudgeByTheKernel(t *testing.T) {
	testkit.NeedsRoot(t)
	checkJudge(t, func() (judger, error) { return kernel.Open(kernel.Options{Conns4: 64, Conns6: 64}) })
}
