// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/ebpol/kubectl-ebpol/bpf"
)

// TestStack adds up the frames of the deepest calls as Linux 6.1 does, which
// refuses what takes more than 512 bytes. Newer kernels allow that, so nobody
// would notice here.
func TestStack(t *testing.T) {
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"flow": bpf.LoadFlow, "drop": bpf.LoadDrop, "who": bpf.LoadWho, "host": bpf.LoadHost,
	} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		for program, p := range spec.Programs {
			frames, calls := functions(p.Instructions)
			if len(frames) == 0 {
				t.Errorf("%s: %s has no functions", name, program)
			}
			if deep, way := deepest(program, frames, calls); deep > 512 {
				t.Errorf("%s: %d bytes of stack, at most 512: %v", name, deep, way)
			}
		}
	}
}

// functions finds how much of its frame each function uses, and whom it calls.
func functions(code asm.Instructions) (frames map[string]int, calls map[string][]string) {
	frames, calls = make(map[string]int), make(map[string][]string)
	function := ""
	var copied asm.Register // holds the frame's address for the next instruction
	isCopy := false
	use := func(offset int) { frames[function] = max(frames[function], -offset) }
	for i := range code {
		ins := &code[i]
		// Blocks have no symbols of their own: those that are there are functions'.
		if s := ins.Symbol(); s != "" {
			function = s
			frames[s] = 0
		}
		op := ins.OpCode
		switch {
		case ins.IsFunctionReference():
			calls[function] = append(calls[function], ins.Reference())
		case op.Class().IsLoad() && ins.Src == asm.RFP, op.Class().IsStore() && ins.Dst == asm.RFP:
			use(int(ins.Offset))
		case isCopy && op.Class() == asm.ALU64Class && op.ALUOp() == asm.Add && op.Source() == asm.ImmSource && ins.Dst == copied:
			use(int(ins.Constant))
		}
		isCopy = op.Class() == asm.ALU64Class && op.ALUOp() == asm.Mov && op.Source() == asm.RegSource && ins.Src == asm.RFP
		copied = ins.Dst
	}
	return frames, calls
}

func deepest(function string, frames map[string]int, calls map[string][]string) (deep int, way []string) {
	for _, callee := range calls[function] {
		if d, w := deepest(callee, frames, calls); d > deep {
			deep, way = d, w
		}
	}
	return deep + (max(frames[function], 1)+31)/32*32, append([]string{function}, way...)
}
