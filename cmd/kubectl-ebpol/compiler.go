// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/session"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// compiler lets a session compile without knowing the compiler.
type compiler struct{ *compile.Compiler }

// newCompiler makes the real one.
func newCompiler() session.Compiler { return compiler{compile.New()} }

// Compile implements [session.Compiler].
func (c compiler) Compile(in session.Input) (session.Compiled, error) {
	modes := make([]compile.PolicyMode, len(in.Policies))
	for i, p := range in.Policies {
		modes[i] = compile.PolicyMode(p)
	}
	out, err := c.Compiler.Compile(compile.Input{Generation: in.Generation, World: in.World, Policies: modes, Endpoints: in.Endpoints})
	if err != nil {
		return nil, err
	}
	return compiled{out}, nil
}

type compiled struct{ out *compile.Output }

// Node implements [session.Compiled].
func (c compiled) Node(name string) *ruleset.Ruleset { return c.out.Node(name) }

// Names implements [session.Compiled].
func (c compiled) Names(id ruleset.SetID) *wire.SetNames {
	n := c.out.Names(id)
	if n.Set == 0 {
		return nil
	}
	m := &wire.SetNames{
		Set: uint32(n.Set), Direction: uint32(n.Direction),
		IsolateStart: uint32(n.IsolateStart), BaselineStart: uint32(n.BaselineStart), //nolint:gosec // at most ruleset.Bits
	}
	for _, b := range n.Bits {
		m.Bits = append(m.Bits, wire.NewRuleName(b.Rule, b.CandidateOnly))
	}
	return m
}
