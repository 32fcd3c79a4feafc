// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/lines"
	"github.com/ebpol/kubectl-ebpol/pkg/record"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// scripted is a session of given frames. It stays open after the last unless
// over is set.
type scripted struct {
	frames chan *wire.Frame
	err    error
	closed int
}

func newScripted(over bool, err error, list ...*wire.Frame) *scripted {
	s := &scripted{frames: make(chan *wire.Frame, len(list)), err: err}
	for _, f := range list {
		s.frames <- f
	}
	if over {
		close(s.frames)
	}
	return s
}

func (s *scripted) Frames() <-chan *wire.Frame  { return s.frames }
func (s *scripted) Err() error                  { return s.err }
func (s *scripted) Close(context.Context) error { s.closed++; return nil }

var began = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// shopFrames are a probe that comes up and sees web talk to db: one allowed
// flow, one that the candidate would deny, one real drop and a benign one.
func shopFrames() []*wire.Frame {
	ip := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	at := began.UnixNano()
	next := func(node string, f *wire.Frame) *wire.Frame {
		at += int64(time.Second)
		f.Node, f.TimeNs = node, at
		return f
	}
	flow := func(id uint64, bit, candidate, candidateBit uint32) *wire.Flow {
		return &wire.Flow{
			Id: id, Kind: wire.Flow_NEW, Endpoint: 2, Direction: 1, Protocol: 6, LocalIp: ip("10.0.0.2"), LocalPort: 5432, PeerIp: ip("10.0.0.1"),
			PeerPort: 40000 + uint32(id), Set: 1, Verdict: 1, Bit: bit, Candidate: candidate, CandidateBit: candidateBit, PacketsIn: 1, BytesIn: 60,
		}
	}
	drop := func(reason string) *wire.Drop {
		return &wire.Drop{
			ReasonName: reason, Location: "nf_hook_slow+0x2a", Protocol: 6, Endpoint: 2, Src: ip("10.0.0.1"), Dst: ip("10.0.0.2"), Sport: 40009, Dport: 5432, Length: 60,
		}
	}
	return []*wire.Frame{
		next("n1", &wire.Frame{Body: &wire.Frame_ProbeState{ProbeState: &wire.ProbeState{Phase: "creating", SinceNs: at}}}),
		next("", &wire.Frame{Body: &wire.Frame_World{World: &wire.World{Reset_: true, Pods: []*wire.Pod{
			{Namespace: "shop", Name: "web-1", Uid: "1", Node: "n1", Ips: [][]byte{ip("10.0.0.1")}, Workload: "deploy/web"},
			{Namespace: "shop", Name: "db-0", Uid: "2", Node: "n1", Ips: [][]byte{ip("10.0.0.2")}, Workload: "sts/db", Endpoint: 2},
		}}}}),
		next("", &wire.Frame{Body: &wire.Frame_RuleNames{RuleNames: &wire.RuleNames{Sets: []*wire.SetNames{{
			Set: 1, Direction: 1, IsolateStart: 1, BaselineStart: 2, Bits: []*wire.RuleName{
				{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Index: 0}, {Kind: "NetworkPolicy", Namespace: "shop", Name: "strict", Index: -1, CandidateOnly: true},
			},
		}}}}}),
		next("", &wire.Frame{Body: &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{HasCandidate: true, Policies: []*wire.PolicyState{
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Origin: "cluster", Current: true, Candidate: true, Selected: 1},
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "strict", Origin: "strict.yaml", Candidate: true, Selected: 1},
		}}}}),
		next("n1", &wire.Frame{Body: &wire.Frame_ProbeState{ProbeState: &wire.ProbeState{Phase: "live", SinceNs: at}}}),
		next("n1", &wire.Frame{Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{flow(1, 1, 1, 1), flow(2, 1, 2, 2)}}}}),
		next("n1", &wire.Frame{Body: &wire.Frame_Drops{Drops: &wire.Drops{Drops: []*wire.Drop{drop("NETFILTER_DROP"), drop("TCP_OLD_DATA")}}}}),
	}
}

func testGlobals() (*globals, *bytes.Buffer, *bytes.Buffer) {
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	return &globals{IOStreams: streams}, out, errOut
}

// What is said of the whole session is told where nobody looks at a screen.
func TestWarningsOfASession(t *testing.T) {
	g, out, errOut := testGlobals()
	notice := func(l wire.Notice_Level, text string) *wire.Frame {
		return &wire.Frame{TimeNs: 1, Body: &wire.Frame_Notice{Notice: &wire.Notice{Level: l, Text: text}}}
	}
	src := newScripted(true, nil, append(shopFrames(), notice(wire.Notice_WARN, "pod \"shop/db\" has more\nrules than fit"), notice(wire.Notice_INFO, "all is well"))...)
	if err := g.runSession(t.Context(), src, view{lines: eachEvent{Printer: lines.New(out, lines.Short)}, progress: true}); err != nil {
		t.Fatal(err)
	}
	if p := errOut.String(); strings.Count(p, "warning: pod \"shop/db\" has more rules than fit\n") != 1 || strings.Contains(p, "all is well") {
		t.Errorf("progress %q", p)
	}
}

func TestLinesOfASession(t *testing.T) {
	g, out, errOut := testGlobals()
	src := newScripted(true, nil, shopFrames()...)
	if err := g.runSession(t.Context(), src, view{lines: eachEvent{Printer: lines.New(out, lines.Short)}, progress: true}); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{"allowed ", "would-deny", "shop/web-1:40001", "shop/db-0:5432", "by shop/db rule 0", "NETFILTER_DROP", "unanswered"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "TCP_OLD_DATA") || strings.Count(got, "\n") != 5 {
		t.Errorf("noise:\n%s", got)
	}
	if p := errOut.String(); !strings.Contains(p, "node n1: creating the probe's pod") || !strings.Contains(p, "node n1: live in ") {
		t.Errorf("progress %q", p)
	}
	if src.closed != 1 {
		t.Errorf("closed %d times", src.closed)
	}
}

func TestChangesOnlyAndASummary(t *testing.T) {
	g, out, errOut := testGlobals()
	if err := g.runSession(t.Context(), newScripted(true, nil, shopFrames()...), view{lines: newChanges(out, errOut, lines.JSON)}); err != nil {
		t.Fatal(err)
	}
	objects := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(objects) != 2 {
		t.Fatalf("%d objects:\n%s", len(objects), out)
	}
	var e flow.Event
	var sum summary
	if err := errors.Join(json.Unmarshal([]byte(objects[1]), &sum)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(objects[0], `"candidateIsolatedBy":[{"kind":"NetworkPolicy","namespace":"shop","name":"strict"}]`) {
		t.Errorf("event %s %v", objects[0], e)
	}
	if sum.Type != "summary" || sum.Flows != 2 || sum.WouldDeny != 1 || len(sum.Policies) != 1 || sum.Policies[0].Hits != 1 {
		t.Errorf("summary %+v", sum)
	}
}

func TestEveryEndCloses(t *testing.T) {
	broken := errors.New("the probe is gone")
	for name, c := range map[string]struct {
		src  *scripted
		v    view
		want error
	}{
		"source breaks":  {newScripted(true, broken), view{}, broken},
		"reader is gone": {newScripted(false, nil, shopFrames()...), view{lines: eachEvent{Printer: lines.New(gone{}, lines.Short)}}, syscall.EPIPE},
		"time is over":   {newScripted(false, nil, shopFrames()...), view{limit: time.Millisecond}, nil},
		"start refused":  {newScripted(false, nil, shopFrames()...), view{ready: func(context.Context, *store.Store) error { return errDeclined }}, errDeclined},
		"never live":     {newScripted(true, broken), view{ready: func(context.Context, *store.Store) error { return nil }}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			g, _, _ := testGlobals()
			if err := g.runSession(t.Context(), c.src, c.v); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if c.src.closed != 1 {
				t.Errorf("closed %d times", c.src.closed)
			}
		})
	}
}

type gone struct{}

func (gone) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

func TestTopAsATable(t *testing.T) {
	g, out, _ := testGlobals()
	v := view{lines: &table{out: lines.New(out, lines.Wide), w: out, format: lines.Wide, by: "workload"}}
	if err := g.runSession(t.Context(), newScripted(true, nil, shopFrames()...), v); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "NAMESPACE") || !strings.Contains(got, "sts/db") || !strings.Contains(got, "n1") {
		t.Errorf("table\n%s", got)
	}
}

// writeRecording keeps the shop's session in a file.
func writeRecording(path string) error { return writeFrames(path, shopFrames()) }

func writeFrames(path string, frames []*wire.Frame) error {
	src := newScripted(false, nil, frames...)
	tee, err := record.Create(path, src, record.Options{Source: "test", Program: "test"})
	if err != nil {
		return err
	}
	close(src.frames)
	for range tee.Frames() {
	}
	return tee.Close(context.Background())
}

func TestRecordedSessionIsTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.ebpol")
	if err := writeRecording(path); err != nil {
		t.Fatal(err)
	}
	var outs [2]string
	for i := range outs {
		g, out, _ := testGlobals()
		v := view{lines: eachEvent{Printer: lines.New(out, lines.JSON)}}
		var err error
		if i == 0 {
			err = g.runSession(t.Context(), newScripted(true, nil, shopFrames()...), v)
		} else {
			var p *record.Player
			if p, err = record.Open(path, record.Play{}); err == nil {
				err = g.runSession(t.Context(), p, v)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		outs[i] = out.String()
	}
	if outs[0] != outs[1] || outs[0] == "" {
		t.Errorf("live:\n%s\nreplayed:\n%s", outs[0], outs[1])
	}
}

func TestManyNodesAreAskedFor(t *testing.T) {
	g, _, _ := testGlobals()
	if err := g.askForMany(20, false); err != nil {
		t.Error(err)
	}
	if err := g.askForMany(21, true); err != nil {
		t.Error(err)
	}
	if err := g.askForMany(21, false); err == nil || !strings.Contains(err.Error(), "21 nodes") || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("got %v", err)
	}
}

var _ io.Writer = gone{}
