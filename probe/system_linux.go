// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// system is what a kernel tells of itself in files: its types and its symbols.
type system struct {
	files fs.FS // of the root folder; nil: this machine's
}

// errNoTypes: without them no program can be fitted to the running kernel.
var errNoTypes = errors.New("this kernel has no BTF (/sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF)")

const (
	typesFile   = "sys/kernel/btf/vmlinux"
	symbolsFile = "proc/kallsyms"
)

func (s system) open(name string) (fs.File, error) {
	if s.files != nil {
		return s.files.Open(name)
	}
	return os.Open("/" + name)
}

// types are the running kernel's; kept has them for whoever needs them next,
// because to decode them takes as long as to load a dozen programs. The error is
// errNoTypes if it has none.
func (s system) types(kept *btf.Cache) (*btf.Spec, error) {
	f, err := s.open(typesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoTypes
	}
	if err != nil {
		return nil, fmt.Errorf("read the kernel's BTF: %w", err)
	}
	defer f.Close()
	if s.files == nil {
		return kept.Kernel()
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		return nil, fmt.Errorf("read the kernel's BTF: %w", err)
	}
	return btf.LoadSpecFromReader(bytes.NewReader(b.Bytes()))
}

// symbol is the name of what stands at an address, by the list of all symbols;
// empty: not known. The list is read once for each new address; there are few.
func (s system) symbol(address uint64) string {
	best, name := uint64(0), ""
	_ = s.symbols(func(at uint64, called string) bool { // what can't be read names nothing
		if at != 0 && at <= address && at >= best {
			best, name = at, called
		}
		return true
	})
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%s+%#x", name, address-best)
}

// symbolsShown says whether the list has addresses: who may not read them sees
// noughts.
func (s system) symbolsShown() bool {
	shown := false
	_ = s.symbols(func(at uint64, _ string) bool { // likewise
		shown = at != 0
		return !shown
	})
	return shown
}

func (s system) symbols(each func(at uint64, name string) bool) error {
	f, err := s.open(symbolsFile)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		at, err := strconv.ParseUint(fields[0], 16, 64)
		if err == nil && !each(at, fields[2]) {
			return nil
		}
	}
	return lines.Err()
}
