// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// judger is a loaded program that is attached to nothing.
type judger interface {
	Apply(d *ruleset.Delta) error
	Judge(p ruleset.Packet) (ruleset.Result, error)
	Close() error
}

// judge answers questions by the loaded BPF program, over stdin and stdout,
// until stdin ends: it takes Delta frames as rules, and Flows frames as
// questions that it gives back in order with their verdicts filled in. No
// packet is sent, and nothing is attached.
func (p *program) judge(_ context.Context, args []string) (err error) {
	if err := parse(p.flags("judge"), args); err != nil {
		return err
	}
	if p.in == os.Stdin {
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
			return fmt.Errorf("ask to end with the parent: %w", err)
		}
	}
	k, err := p.loadJudge()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	var joiner wire.DeltaJoiner
	in, out := wire.NewReader(p.in), wire.NewWriter(p.out)
	for {
		f, err := in.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch b := f.GetBody().(type) {
		case *wire.Frame_Delta:
			d, err := joiner.Add(b.Delta)
			if err != nil {
				return err
			}
			if d == nil {
				continue
			}
			if err := k.Apply(d); err != nil {
				return err
			}
		case *wire.Frame_Flows:
			for _, q := range b.Flows.GetFlows() {
				if err := answer(k, q); err != nil {
					return err
				}
			}
			if err := out.Write(f); err != nil {
				return err
			}
		}
	}
}

// answer fills in what the program says about the connection.
func answer(k judger, q *wire.Flow) error {
	local, lok := wire.Addr(q.GetLocalIp())
	peer, pok := wire.Addr(q.GetPeerIp())
	p := ruleset.Packet{Direction: flow.Direction(q.GetDirection()), Local: local, Peer: peer} //nolint:gosec // checked below
	port := q.GetLocalPort()
	if p.Direction == flow.Egress {
		port = q.GetPeerPort()
	}
	if !lok || !pok || q.GetDirection() < uint32(flow.Ingress) || q.GetDirection() > uint32(flow.Egress) ||
		q.GetProtocol() > math.MaxUint8 || port > math.MaxUint16 || local.Is4() != peer.Is4() {
		return fmt.Errorf("%w: question %d is about no packet", wire.ErrMalformed, q.GetId())
	}
	p.Protocol, p.Port = flow.Protocol(q.GetProtocol()), uint16(port)
	r, err := k.Judge(p)
	if err != nil {
		return err
	}
	q.Set, q.Service, q.Enforced = uint32(r.Set), r.Service, r.Drop
	q.Verdict, q.Bit, q.Alt = uint32(r.Current.Verdict), uint32(r.Current.Bit+1), uint32(r.Current.Alt) //nolint:gosec // -1 and up
	q.Candidate, q.CandidateBit = uint32(r.Candidate.Verdict), uint32(r.Candidate.Bit+1)                //nolint:gosec // -1 and up
	return nil
}
