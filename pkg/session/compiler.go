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
	out, err := c.Compiler.Compile(compile.Input(in))
	if err != nil {
		return nil, err
	}
	return policyRules{out}, nil
}

type policyRules struct{ out *compile.Output }

func (c policyRules) Node(name string) *ruleset.Pages { return c.out.Pages(name) }

// Coarse lists the pods whose rules were more than bits.
func (c policyRules) Coarse() []compile.Warning { return c.out.Coarse() }

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
