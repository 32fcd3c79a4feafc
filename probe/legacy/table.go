// SPDX-License-Identifier: Apache-2.0

// Package legacy reads the rules of the old iptables from the kernel, and finds
// the one that dropped a packet: the kernel tells of it by nothing but counters.
// It only reads.
package legacy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rule is one rule of a table.
type Rule struct {
	Family  string // "iptables-legacy" or "ip6tables-legacy"
	Table   string
	Chain   string
	Number  int // in its chain, from 1; 0: the chain's policy
	Target  string
	Comment string
	Packets uint64 // that met it, as the kernel has counted
}

// layout is where the fields of an entry stand: struct ipt_entry, ip6t_entry.
type layout struct {
	level, address                    int
	interfaces, proto, flags, inverse int
	target, next, counters, elements  int
}

var (
	layout4 = layout{unix.SOL_IP, 4, 16, 80, 82, 83, 88, 90, 96, 112}
	layout6 = layout{unix.SOL_IPV6, 16, 64, 128, 131, 132, 140, 142, 152, 168}
)

const (
	getInfo     = 64 // IPT_SO_GET_INFO
	getEntries  = 65 // IPT_SO_GET_ENTRIES
	infoSize    = 84
	entriesHead = 40
	nameSize    = 32
	maxBlob     = 16 << 20
	hooks       = 5
)

// table is one as the kernel gives it.
type table struct {
	layout
	name      string
	blob      []byte
	entry     [hooks]uint32
	underflow [hooks]uint32
	valid     uint32
	at        map[uint32]position
}

// position is which rule of which chain an offset is.
type position struct {
	chain  string
	number int
}

var errBroken = errors.New("the kernel's table of rules can't be read")

// read reads a table of the namespace that the thread is in.
func read(name string, v6 bool) (*table, error) {
	t := &table{layout: layout4, name: name}
	family := unix.AF_INET
	if v6 {
		t.layout, family = layout6, unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("read rules of iptables-legacy: %w", err)
	}
	defer unix.Close(fd)
	info := make([]byte, infoSize)
	copy(info, name)
	if err := t.ask(fd, getInfo, info); err != nil {
		return nil, err
	}
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(info[at:]) }
	t.valid = u32(nameSize)
	for i := range hooks {
		t.entry[i], t.underflow[i] = u32(nameSize+4+4*i), u32(nameSize+4+4*hooks+4*i)
	}
	size := u32(infoSize - 4)
	if size > maxBlob {
		return nil, errBroken
	}
	b := make([]byte, entriesHead+int(size))
	copy(b, name)
	binary.NativeEndian.PutUint32(b[nameSize:], size)
	if err := t.ask(fd, getEntries, b); err != nil {
		return nil, err
	}
	t.blob = b[entriesHead:]
	return t, t.number()
}

func (t *table) ask(fd, what int, b []byte) error {
	n := uint32(len(b)) //nolint:gosec // bounded
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(t.level), uintptr(what), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return fmt.Errorf("read table %q of iptables-legacy: %w", t.name, errno)
	}
	return nil
}

var hookChains = [hooks]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// number walks all entries and says of which chain each is.
func (t *table) number() error {
	t.at = map[uint32]position{}
	chain, n := "", 0
	for at := uint32(0); int(at) < len(t.blob); {
		e, err := t.entryAt(at)
		if err != nil {
			return err
		}
		for h := range hooks {
			if t.valid&(1<<h) != 0 && t.entry[h] == at {
				chain, n = hookChains[h], 0
			}
		}
		if e.target == "ERROR" {
			chain, n = text(e.data), 0
		} else {
			n++
			t.at[at] = position{chain, n}
		}
		at += e.size
	}
	return nil
}

// entry is a rule as it stands in a table.
type entry struct {
	head    []byte
	size    uint32
	matches []extension
	target  string // "" is a verdict
	data    []byte // of the target
	packets uint64
}

type extension struct {
	name string
	data []byte
}

func (t *table) entryAt(at uint32) (*entry, error) {
	if int(at)+t.elements > len(t.blob) {
		return nil, errBroken
	}
	b := t.blob[at:]
	target, next := int(binary.NativeEndian.Uint16(b[t.layout.target:])), int(binary.NativeEndian.Uint16(b[t.next:]))
	if target < t.elements || target+nameSize > next || next > len(b) {
		return nil, errBroken
	}
	e := &entry{head: b[:t.elements], size: uint32(next), packets: binary.NativeEndian.Uint64(b[t.counters:])} //nolint:gosec // 16 bits
	for m := t.elements; m+nameSize <= target; {
		n := int(binary.NativeEndian.Uint16(b[m:]))
		if n < nameSize || m+n > target {
			return nil, errBroken
		}
		e.matches = append(e.matches, extension{text(b[m+2 : m+nameSize-1]), b[m+nameSize : m+n]})
		m += n
	}
	e.target, e.data = text(b[target+2:target+nameSize-1]), b[target+nameSize:next]
	return e, nil
}

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// covers says whether an address is in what an entry has at the offset, whose
// mask stands two addresses on.
func (t *table) covers(e *entry, at int, ip netip.Addr) bool {
	want, mask, have := e.head[at:at+t.address], e.head[at+2*t.address:at+3*t.address], ip.AsSlice()
	for i := range have {
		if (have[i]^want[i])&mask[i] != 0 {
			return false
		}
	}
	return true
}
