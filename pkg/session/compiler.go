// SPDX-License-Identifier: Apache-2.0

package session

import (
	"github.com/ebpol/kubectl-ebpol/pkg/policy/compile"
	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// PolicyCompiler is pkg/policy/compile's compiler, for [Config.NewCompiler].
func PolicyCompiler() Compiler { return policyCompiler{compile.New()} }

type policyCompiler struct{ *compile.Compiler }

func (c policyCompiler) Compile(in Input) (Compiled, error) {
	modes := make([]compile.PolicyMode, len(in.Policies))
	for i, p := range in.Policies {
		modes[i] = compile.PolicyMode(p)
	}
	out, err := c.Compiler.Compile(compile.Input{Generation: in.Generation, World: in.World, Policies: modes, Endpoints: in.Endpoints})
	if err != nil {
		return nil, err
	}
	return policyRules{out}, nil
}

type policyRules struct{ out *compile.Output }

func (c policyRules) Node(name string) *ruleset.Ruleset { return c.out.Node(name) }

func (c policyRules) Names(id ruleset.SetID) *wire.SetNames {
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
