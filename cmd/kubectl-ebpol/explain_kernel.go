// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ebpol/kubectl-ebpol/pkg/explain"
	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// useKernel lets this machine's kernel take part, if it was asked for: a child
// process loads the program and judges packets that are sent nowhere. For all
// engines it is left out with a sentence where that can't be done.
func (c *explainCommand) useKernel(ctx context.Context, b *explain.Batch) (end func(), err error) {
	engine := explain.Engine(c.engine)
	if engine != explain.Kernel && (engine != explain.All || !c.asked) {
		return func() {}, nil
	}
	j, err := c.openJudge(ctx)
	switch {
	case err == nil:
		b.UseKernel(j)
		return func() { _ = j.stream.Close() }, nil
	case engine == explain.All:
		fmt.Fprintf(c.ErrOut, "the kernel is not asked: %s\n", oneLine(err))
		return func() {}, nil
	}
	return nil, fmt.Errorf("--engine kernel can't be used here: %w", err)
}

func (c *explainCommand) openJudge(ctx context.Context) (*kernelJudge, error) {
	path, err := findProbe(c.probe)
	if err != nil {
		return nil, err
	}
	stream, err := session.Child(path, "judge").Dial(ctx)
	if err != nil {
		return nil, err
	}
	j := &kernelJudge{stream: stream, r: wire.NewReader(stream), w: wire.NewWriter(stream)}
	if _, err := j.Judge(&ruleset.Ruleset{}, nil); err != nil { // says whether it could load the program
		_ = stream.Close()
		if os.Geteuid() != 0 {
			return nil, errors.New("loading the BPF program takes root: run this with sudo")
		}
		return nil, err
	}
	return j, nil
}

// kernelJudge is a probe that only judges.
type kernelJudge struct {
	stream io.ReadWriteCloser
	r      *wire.Reader
	w      *wire.Writer
	rules  *ruleset.Ruleset // that it holds
	loaded uint64           // how often rules were loaded
}

// questionsAFrame keeps frames far below [wire.MaxFrame].
const questionsAFrame = 2000

// Judge implements [explain.Judger].
func (j *kernelJudge) Judge(rules *ruleset.Ruleset, packets []ruleset.Packet) ([]ruleset.Result, error) {
	if err := j.load(rules); err != nil {
		return nil, err
	}
	out := make([]ruleset.Result, 0, len(packets))
	for {
		n := min(len(packets), questionsAFrame)
		answers, err := j.ask(packets[:n])
		if err != nil {
			return nil, err
		}
		out = append(out, answers...)
		if packets = packets[n:]; len(packets) == 0 {
			return out, nil
		}
	}
}

// load replaces the rules that the probe holds.
func (j *kernelJudge) load(rules *ruleset.Ruleset) error {
	if j.rules == rules {
		return nil
	}
	d, err := ruleset.Diff(nil, rules)
	if err != nil {
		return err
	}
	j.loaded++
	d.Generation = j.loaded
	for _, part := range wire.DeltaParts(d) {
		if err := j.w.Write(&wire.Frame{Body: &wire.Frame_Delta{Delta: part}}); err != nil {
			return j.why(err)
		}
	}
	j.rules = rules
	return nil
}

func (j *kernelJudge) ask(packets []ruleset.Packet) ([]ruleset.Result, error) {
	questions := &wire.Flows{}
	for i, p := range packets {
		questions.Flows = append(questions.Flows, &wire.Flow{
			Id: uint64(i) + 1, Direction: uint32(p.Direction), Protocol: uint32(p.Protocol),
			LocalIp: wire.AddrBytes(p.Local), PeerIp: wire.AddrBytes(p.Peer), LocalPort: uint32(p.Port), PeerPort: uint32(p.Port),
		})
	}
	if err := j.w.Write(&wire.Frame{Body: &wire.Frame_Flows{Flows: questions}}); err != nil {
		return nil, j.why(err)
	}
	f, err := j.r.Read()
	if err != nil {
		return nil, err
	}
	list := f.GetFlows().GetFlows()
	if len(list) != len(packets) {
		return nil, fmt.Errorf("%w: %d answers to %d questions", wire.ErrMalformed, len(list), len(packets))
	}
	out := make([]ruleset.Result, len(list))
	for i, a := range list {
		out[i] = ruleset.Result{
			Set: ruleset.SetID(a.GetSet()), Drop: a.GetEnforced(), Service: a.GetService(),
			Current:   ruleset.Judgement{Verdict: wire.Verdict(a.GetVerdict()), Bit: int(a.GetBit()) - 1, Alt: flow.Verdict(a.GetAlt())}, //nolint:gosec // a verdict
			Candidate: ruleset.Judgement{Verdict: wire.Verdict(a.GetCandidate()), Bit: int(a.GetCandidateBit()) - 1},
		}
	}
	return out, nil
}

// why is what the probe said before it ended, rather than that its pipe is broken.
func (j *kernelJudge) why(err error) error {
	if _, said := j.r.Read(); said != nil && !errors.Is(said, io.EOF) {
		return said
	}
	return err
}
