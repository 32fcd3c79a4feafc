// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/bpf"
)

// symbols names addresses of the kernel. The kernel itself does it where it
// can (5.13), without the right to list them all; else /proc/kallsyms.
type symbols struct {
	system  system
	mu      sync.Mutex
	program *ebpf.Program
	address *ebpf.Variable
	text    *ebpf.Variable
	maps    []*ebpf.Map
	cache   map[uint64]string
}

// maxSymbols bounds the cache: a kernel has far fewer places that drop.
const maxSymbols = 4096

func (s *symbols) load(p *ebpf.ProgramSpec, all *ebpf.CollectionSpec, types *btf.Cache) {
	spec := all.Copy()
	spec.Programs = map[string]*ebpf.ProgramSpec{bpf.DropProgEbpolSymbol: p.Copy()}
	for name := range spec.Maps {
		if !strings.HasPrefix(name, ".") {
			delete(spec.Maps, name)
		}
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return // kallsyms, then
	}
	defer c.Close()
	s.program = c.DetachProgram(bpf.DropProgEbpolSymbol)
	s.address, s.text = c.Variables[bpf.DropVarSymbolAddress], c.Variables[bpf.DropVarSymbolName]
	for name := range c.Maps {
		s.maps = append(s.maps, c.DetachMap(name))
	}
}

// name is "function+0x12", or the address in hexadecimal.
func (s *symbols) name(address uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.cache[address]; ok {
		return n
	}
	n := s.ask(address)
	if n == "" {
		n = fmt.Sprintf("%#x", address)
	}
	if len(s.cache) >= maxSymbols {
		clear(s.cache)
	}
	s.cache[address] = n
	return n
}

func (s *symbols) ask(address uint64) string {
	if s.program == nil {
		return s.system.symbol(address)
	}
	if err := s.address.Set(address); err != nil {
		return ""
	}
	if _, err := s.program.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
		return s.system.symbol(address)
	}
	text := make([]byte, s.text.Size())
	if err := s.text.Get(text); err != nil {
		return ""
	}
	// "function+0x12/0x340 [module]"
	n, rest, _ := strings.Cut(unix.ByteSliceToString(text), "/")
	if _, module, ok := strings.Cut(rest, " "); ok {
		n += " " + module
	}
	return n
}

// known says whether the kernel names its functions, in whichever way.
func (s *symbols) known() bool { return s.program != nil || s.system.symbolsShown() }

func (s *symbols) close() error {
	var first error
	for _, m := range s.maps {
		if err := m.Close(); err != nil && first == nil {
			first = err
		}
	}
	if s.program != nil {
		if err := s.program.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
